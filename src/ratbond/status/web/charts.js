// The charts, drawn by uPlot: rates stacked (the top is the bond), the rest a line for each link.

import { colourOf, mixed, themed } from "./colours.js";
import { el } from "./dom.js";
import { bits, milliseconds, octets, percent } from "./format.js";
import { stacked } from "./series.js";

const HEIGHT_PX = 190;
const QUEUE = { figure: "queued_bytes", name: "Queue", format: octets, least: 10_000 };
const SHARED = "all links"; // the name of the queue in front of them
const LINES = [
  { figure: "rtt_ms", name: "Round trip", format: milliseconds, least: 10 },
  { figure: "loss", name: "Loss", format: percent, least: 0.01 },
  QUEUE,
  { figure: "retransmits_per_s", name: "Sent again, each second", format: (value) => value.toFixed(0), least: 10 },
];

export class Charts {
  #reach_s = 120;
  #plots = [];
  #shape = "";
  #last = null;

  /** Loads uPlot; a copy that was built without it has no charts, and says so. */
  static async load(root, series) {
    try {
      const { default: Plot } = await import("./vendor/uPlot.esm.js");
      return new Charts(root, series, Plot);
    } catch {
      document.getElementById("charts-none").hidden = false;
      return new Charts(root, series, null);
    }
  }

  constructor(root, series, Plot) {
    Object.assign(this, { root, series, Plot });
    new ResizeObserver(() => this.#plots.forEach(({ plot, frame }) => plot.setSize({ width: frame.clientWidth, height: HEIGHT_PX }))).observe(root);
  }

  /** How many seconds back the charts go. */
  reach(seconds) {
    this.#reach_s = seconds;
    this.#draw();
  }

  /** Makes all charts anew, in the colours of the present theme. */
  rebuild() {
    this.#shape = "";
    if (this.#last) this.show(...this.#last);
  }

  /** `shared`: whether all links take from one queue. */
  show(session, names, ways, shared) {
    if (!this.Plot) return;
    this.#last = [session, names, ways, shared];
    const shape = JSON.stringify([session, names, shared]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      for (const { plot } of this.#plots) plot.destroy();
      const kinds = [...ways.map((way) => ({ ...way, format: bits, least: 100_000, stack: true })), ...LINES];
      // All frames first: how wide one is depends on how many there are.
      const frames = kinds.map(() => el("div", { class: "plot", role: "img" }));
      this.root.replaceChildren(
        ...kinds.map((kind, i) => el("figure", kind.stack ? { class: "stack" } : {}, el("figcaption", { text: kind.name }), frames[i])),
      );
      this.#plots = kinds.map((kind, i) => this.#make(kind, session, shared && kind === QUEUE ? [SHARED] : names, frames[i]));
    }
    this.#draw();
  }

  #make(kind, session, names, frame) {
    const made = { kind, session, names, frame, columns: [] };
    made.plot = new this.Plot(this.#options(made), [[], ...names.map(() => [])], frame);
    return made;
  }

  #options(made) {
    const { kind, names, session, frame } = made;
    const quiet = themed("quiet");
    const axis = { stroke: quiet, grid: { stroke: themed("grid"), width: 1 }, ticks: { show: false }, font: `12px ${themed("font")}` };
    return {
      width: frame.clientWidth,
      height: HEIGHT_PX,
      cursor: { sync: { key: "ratbond" }, drag: { x: false, y: false }, points: { show: !kind.stack } },
      legend: { live: true },
      scales: {
        x: { time: true, range: () => this.#window() },
        y: { range: (_, __, most) => [0, Math.max(most ?? 0, kind.least) * 1.1] },
      },
      axes: [
        { ...axis, size: 30, space: 70, values: (_, times) => times.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false })) },
        { ...axis, size: 78, values: (_, values) => values.map((value) => kind.format(value).replace("not known", "0")) },
      ],
      series: [{ label: "at" }, ...this.#order(kind, names).map((name) => this.#line(made, name, session))],
    };
  }

  #line(made, name, session) {
    const { kind } = made;
    const colour = themed(isShared(kind, name) ? "quiet" : `link-${colourOf(session, name)}`);
    return {
      label: name,
      stroke: colour,
      width: kind.stack ? 1.5 : 2,
      fill: kind.stack ? mixed(colour, themed("panel"), 0.7) : undefined,
      spanGaps: false,
      points: { show: false },
      value: (_, __, ___, at) => {
        const value = at === null || at === undefined ? null : made.columns[made.names.indexOf(name)]?.[at];
        return value === null || value === undefined ? "–" : kind.format(value);
      },
    };
  }

  /** A stack is painted from the top down, so that each area lies over the one that reaches higher. */
  #order = (kind, names) => (kind.stack ? [...names].reverse() : names);

  #window() {
    const now = this.series.times.at(-1) ?? Date.now() / 1000;
    return [now - this.#reach_s, now];
  }

  #column(session, name, kind) {
    return isShared(kind, name) ? this.series.queue(session) : this.series.column(session, name, kind.figure);
  }

  #draw() {
    const times = this.series.times;
    const from = times.findIndex((at) => at >= (times.at(-1) ?? 0) - this.#reach_s - 2);
    for (const made of this.#plots) {
      const { kind, session, names, plot, frame } = made;
      made.columns = names.map((name) => this.#column(session, name, kind).slice(from));
      const drawn = kind.stack ? stacked(made.columns).reverse() : made.columns;
      plot.setData([times.slice(from), ...drawn]);
      if (plot.cursor.idx === null || plot.cursor.left < 0) plot.setLegend({ idx: drawn[0]?.length ? drawn[0].length - 1 : null }, false);
      const now = names.map((name, i) => `${name} ${shown(kind, made.columns[i].at(-1))}`).join(", ");
      frame.setAttribute("aria-label", `${kind.name} over time; now: ${now}`);
    }
  }
}

const isShared = (kind, name) => kind === QUEUE && name === SHARED;

const shown = (kind, value) => (value === null || value === undefined ? "nothing" : kind.format(value));
