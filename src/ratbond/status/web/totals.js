// The two big figures, each with a bar that shows which link carries how much of it.

import { colourOf } from "./colours.js";
import { Keyed, byId, el, say } from "./dom.js";
import { bits } from "./format.js";

const tiles = new Keyed(byId("totals"), makeTile);

/** `links` carry `rx_bps` and `tx_bps`; `ways` are the directions as the role names them. */
export function showTotals(session, links, ways) {
  tiles.update(
    ways.map((way) => ({ ...way, session, links: links.filter((link) => link[way.figure] !== undefined) })),
    (tile) => tile.figure,
  );
}

function makeTile() {
  const title = el("h2");
  const value = el("p", { class: "big" });
  const bar = el("div", { class: "share", "aria-hidden": "true" });
  const key = el("ul", { class: "key" });
  const segments = new Keyed(bar, makeSegment);
  const entries = new Keyed(key, makeEntry);
  return {
    root: el("div", { class: "tile" }, title, value, bar, key),
    update({ name, arrow, figure, session, links }) {
      const total = links.reduce((sum, link) => sum + link[figure], 0);
      const shares = links.map((link) => ({ link, bps: link[figure], total, colour: colourOf(session, link.name) }));
      say(title, `${arrow} ${name}`);
      say(value, bits(total));
      segments.update(shares, ({ link }) => link.name);
      entries.update(shares, ({ link }) => link.name);
    },
  };
}

function makeSegment({ colour }) {
  const root = el("span", { class: `colour-${colour}` });
  return {
    root,
    update({ bps, total }) {
      root.style.flexGrow = total > 0 ? bps / total : 0;
    },
  };
}

function makeEntry({ link, colour }) {
  const value = el("b");
  return {
    root: el("li", {}, el("i", { class: `swatch colour-${colour}` }), `${link.name} `, value),
    update({ bps }) {
      say(value, bits(bps));
    },
  };
}
