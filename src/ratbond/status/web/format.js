// Figures and sentences as people read them. Pure; the units are those of `ratbond status`.

/** A rate: 12300000 is "12.3 Mbit/s". */
export function bits(bps) {
  const units = ["bit/s", "kbit/s", "Mbit/s"];
  for (const unit of units) {
    if (bps < 999.5) return `${unit === "bit/s" || bps >= 99.95 ? bps.toFixed(0) : bps.toFixed(1)} ${unit}`;
    bps /= 1000;
  }
  return `${bps.toFixed(2)} Gbit/s`;
}

/** An amount: 2500000 is "2.5 MB". */
export function octets(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 999.5) return `${unit === "B" ? bytes.toFixed(0) : bytes.toFixed(1)} ${unit}`;
    bytes /= 1000;
  }
  return `${bytes.toFixed(1)} TB`;
}

/** A share: 0.015 is "1.5 %". */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A whole share, for words: 0.683 is "68 %". */
export const wholePercent = (share) => `${Math.round(100 * share)} %`;

export const milliseconds = (ms) => (ms > 0 ? `${ms < 99.95 ? ms.toFixed(1) : ms.toFixed(0)} ms` : "not known");

/** A time span: 90061 is "1 d 1 h". */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A moment (seconds since 1970) in the reader's clock. */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** An event of the log as a sentence: its words, with the link's name in place of "link". */
export function sentence({ text, facts }) {
  const name = facts.link;
  if (name && text.startsWith("link ")) return name + text.slice(4);
  return text[0].toUpperCase() + text.slice(1) + (name ? ` (${name})` : "");
}

/** What is left to say of an event: its reason, then its other facts. */
export function because({ facts }) {
  const { why, what, link, session, links_up: up, ...rest } = facts;
  const words = [why ?? what, up === undefined ? undefined : `${count(Number(up), "link")} up`];
  for (const [key, value] of Object.entries(rest)) if (value) words.push(`${key.replaceAll("_", " ")} ${value}`);
  return words.filter(Boolean).join(", ");
}

const GOOD = new Set(["link joined the bond", "the bond is up"]);

/** How an event is marked: "good", "bad" or "plain". */
export const mood = ({ text, level }) => (GOOD.has(text) ? "good" : level === "info" ? "plain" : "bad");
