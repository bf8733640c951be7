// The few things that every view does with the page.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `text`, or any other) and children. */
export function el(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Sets a text only when it is another one, so that a selection and a screen reader are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Keeps one view for each key: makes the new ones, updates all in order, takes away the rest. */
export class Keyed {
  #views = new Map();

  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
  }

  update(items, keyOf) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, view] of this.#views) {
      if (!wanted.has(key)) {
        view.root.remove();
        this.#views.delete(key);
      }
    }
    items.forEach((item, position) => {
      const key = keyOf(item);
      if (!this.#views.has(key)) this.#views.set(key, this.make(item));
      const view = this.#views.get(key);
      if (this.parent.children[position] !== view.root) this.parent.insertBefore(view.root, this.parent.children[position] ?? null);
      view.update(item);
    });
  }
}
