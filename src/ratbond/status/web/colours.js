// One colour a link, the same in bars, cards and charts.

const COLOURS = 8;
const style = getComputedStyle(document.documentElement);
const given = new Map();

/** A number from 0 to 7 that a link keeps for as long as the page is open. */
export function colourOf(session, name) {
  const key = `${session} ${name}`;
  if (!given.has(key)) {
    const taken = [...given.keys()].filter((other) => other.startsWith(`${session} `)).length;
    given.set(key, taken % COLOURS);
  }
  return given.get(key);
}

/** A colour of the present theme, by the name of its variable in style.css. */
export const themed = (name) => style.getPropertyValue(`--${name}`).trim();

/** Two colours (#rrggbb) mixed; `share` is that of the first. */
export function mixed(first, second, share) {
  const parts = [1, 3, 5].map((at) => {
    const [a, b] = [first, second].map((colour) => parseInt(colour.slice(at, at + 2), 16));
    return Math.round(a * share + b * (1 - share));
  });
  return `rgb(${parts.join(" ")})`;
}

/** Calls back when the system changes between light and dark. */
export const onTheme = (callback) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
