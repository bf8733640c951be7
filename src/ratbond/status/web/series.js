// The samples of the last ten minutes, as columns: what the charts draw. Its shape is that of the stream's
// `history` and `sample` messages: {at_s: [..], links: [{session, name, tx_bps: [..], ..}], sessions: [..]}.

export const FIGURES = ["tx_bps", "rx_bps", "rtt_ms", "loss", "queued_bytes", "retransmits_per_s"];
const LIMIT = 600;

export class Series {
  #at = [];
  #links = new Map();
  #queues = new Map(); // in front of all links of a session

  /** Forgets all, and takes a whole history. */
  reset(columns) {
    this.#at = [];
    this.#links.clear();
    this.#queues.clear();
    this.append(columns);
  }

  /** Adds what is newer than all there is. */
  append({ at_s: times, links, sessions }) {
    const before = this.#at.length;
    this.#at.push(...times);
    for (const link of links) {
      const key = keyOf(link.session, link.name);
      if (!this.#links.has(key)) this.#links.set(key, blank(link, before));
      const known = this.#links.get(key);
      for (const figure of FIGURES) known[figure].push(...link[figure]);
    }
    for (const { session, queued_bytes: queued } of sessions) {
      if (!this.#queues.has(session)) this.#queues.set(session, Array(before).fill(null));
      this.#queues.get(session).push(...queued);
    }
    for (const queue of this.#queues.values()) while (queue.length < this.#at.length) queue.push(null);
    for (const known of this.#links.values()) {
      for (const figure of FIGURES) while (known[figure].length < this.#at.length) known[figure].push(null);
    }
    this.#trim();
  }

  /** The names of a session's links, those that are gone but still remembered included. */
  names(session) {
    return [...this.#links.values()].filter((link) => link.session === session).map((link) => link.name).sort(byName);
  }

  get times() {
    return this.#at;
  }

  column(session, name, figure) {
    return this.#links.get(keyOf(session, name))?.[figure] ?? Array(this.#at.length).fill(null);
  }

  /** What waits in front of all links of a session. */
  queue(session) {
    return this.#queues.get(session) ?? Array(this.#at.length).fill(null);
  }

  #trim() {
    const excess = this.#at.length - LIMIT;
    if (excess <= 0) return;
    this.#at.splice(0, excess);
    for (const queue of this.#queues.values()) queue.splice(0, excess);
    for (const [key, link] of this.#links) {
      for (const figure of FIGURES) link[figure].splice(0, excess);
      if (link.tx_bps.every((value) => value === null)) this.#links.delete(key);
    }
  }
}

/** Sums from the bottom up: the last column is the whole. What is not there counts as nothing. */
export function stacked(columns) {
  const sums = [];
  for (const column of columns) {
    const below = sums.at(-1);
    sums.push(column.map((value, i) => (value ?? 0) + (below ? below[i] : 0)));
  }
  return sums;
}

export const byName = (a, b) => a.localeCompare(b, undefined, { numeric: true });

const keyOf = (session, name) => `${session} ${name}`;

function blank({ session, name }, length) {
  return { session, name, ...Object.fromEntries(FIGURES.map((figure) => [figure, Array(length).fill(null)])) };
}
