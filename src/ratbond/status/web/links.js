// A card for each link: its state, what it does and why, its figures.

import { colourOf } from "./colours.js";
import { Keyed, byId, el, say } from "./dom.js";
import { bits, duration, milliseconds, octets, percent } from "./format.js";
import { STATE, doing } from "./model.js";

const cards = new Keyed(byId("links"), makeCard);

/** `about` is what a card must know of the whole: totals, scheduler, role, directions, session. */
export function showLinks(links, about) {
  cards.update(links.map((link) => ({ link, about })), ({ link }) => `${about.session} ${link.name}`);
  byId("links-none").hidden = links.length > 0;
}

const FIGURES = [
  ["Round trip", (link) => milliseconds(link.rtt_ms)],
  ["Loss", (link) => percent(link.loss)],
  ["Queue", (link) => octets(link.queued_bytes)],
  ["Sent again", (link) => String(link.retransmits)],
  ["Carried", (link) => octets(link.tx_bytes + link.rx_bytes)],
  ["Up for", (link) => (link.uptime_s ? duration(link.uptime_s) : "–")],
];

function makeCard({ link: { name }, about }) {
  const state = el("span", { class: "state" });
  const what = el("p", { class: "doing" });
  const rates = about.ways.map((way) => ({ way, value: el("dd") }));
  const figures = FIGURES.map(([title, read]) => ({ title, read, value: el("dd") }));
  const list = el("dl", { class: "figures" });
  for (const { way, value } of rates) list.append(el("div", { class: "rate" }, el("dt", { text: `${way.arrow} ${way.name}` }), value));
  for (const { title, value } of figures) list.append(el("div", {}, el("dt", { text: title }), value));
  const ends = el("p", { class: "ends quiet" });
  const swatch = el("i", { class: `swatch colour-${colourOf(about.session, name)}` });
  const root = el("article", { class: "card" }, el("h3", {}, swatch, el("span", { text: name }), state), what, list, ends);
  return {
    root,
    update({ link, about: now }) {
      root.dataset.state = link.state;
      say(state, STATE[link.state]);
      say(what, doing(link, now.totals, now.scheduler, now.role));
      list.hidden = ends.hidden = link.state === "out";
      if (link.state === "out") return;
      for (const { way, value } of rates) say(value, bits(link[way.figure]));
      for (const { read, value } of figures) say(value, read(link));
      say(ends, `${link.source || "?"} → ${link.remote}`);
    },
  };
}
