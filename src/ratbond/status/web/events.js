// What happened, the newest first.

import { byId, el } from "./dom.js";
import { because, clock, mood, sentence } from "./format.js";

const SHOWN = 50;
const MARK = { good: "✓", bad: "!", plain: "·" };
const list = byId("events");

export function showEvent(event) {
  const kind = mood(event);
  const time = el("time", { datetime: new Date(event.at_s * 1000).toISOString(), text: clock(event.at_s) });
  const why = because(event);
  list.prepend(
    el("li", { class: kind }, time, el("span", { class: "mark", "aria-hidden": "true", text: MARK[kind] }),
      el("span", {}, el("b", { text: sentence(event) }), why ? el("span", { class: "why", text: ` – ${why}` }) : "")),
  );
  while (list.children.length > SHOWN) list.lastElementChild.remove();
  byId("events-none").hidden = true;
}

export function clearEvents() {
  list.replaceChildren();
  byId("events-none").hidden = false;
}
