// What the views show of a session, made from the status, the samples and the events. No page in here.

import { bits, clock, count, duration, because, wholePercent } from "./format.js";
import { byName } from "./series.js";

const QUIET_BPS = 20_000; // what liveness and other small talk may need

/** A session's links by name, conversations added up, with those that have left and are still remembered. */
export function linksOf(session, remembered, events) {
  const found = new Map();
  for (const conv of session.links) {
    const link = found.get(conv.name);
    found.set(conv.name, link ? joined(link, conv) : { ...conv, ...conv.rates });
  }
  const hosts = new Set([...found.keys()].map(hostOf));
  for (const name of remembered) if (!hosts.has(hostOf(name))) found.set(name, { name, state: "out" });
  const links = [...found.values()].sort((a, b) => byName(a.name, b.name));
  for (const link of links) {
    if (link.state === "dead") link.state = "out";
    if (link.state !== "up") link.event = lastOf(events, link.name);
  }
  return links;
}

/** A server names links by address and port: one that comes back has another port, and is no second link. */
const hostOf = (name) => name.replace(/:\d+$/, "");

/** The link's state in a word or two. */
export const STATE = { up: "working", suspect: "no answer", connecting: "connecting", out: "out of the bond" };

const ABSENCE = { suspect: "silent", connecting: "connecting", out: "out" };

/** What a link does, and why: one sentence. */
export function doing(link, totals, scheduler, role) {
  switch (link.state) {
    case "up":
      return carrying(link, totals, scheduler, role);
    case "suspect":
      return `Has not answered for ${duration(link.hello_age_s ?? 0)}; the other links carry its traffic.`;
    case "connecting":
      return `Waits for the ${role === "client" ? "server" : "client"} to answer${reason(link)}.`;
    default:
      return `Left${link.event ? ` at ${clock(link.event.at_s)}` : ""}${reason(link)}.`;
  }
}

/** The bond in one sentence, with what is wrong in a second one. */
export function verdict(session, links, waiting) {
  const up = links.filter((link) => link.state === "up");
  if (!session.up) {
    return { mood: "bad", text: "The bond is down", why: waiting ?? "No link works." };
  }
  const bad = links.filter((link) => link.state !== "up");
  const text =
    bad.length === 0
      ? `The bond is up on ${["", "its only link", "both links"][links.length] ?? `all ${links.length} links`}`
      : `The bond is up on ${up.length} of ${count(links.length, "link")}`;
  const why = bad.map((link) => `${link.name} is ${ABSENCE[link.state]}${reason(link)}.`).join(" ");
  return { mood: bad.length ? "warn" : "good", text, why: why || `For ${duration(session.uptime_s)}.` };
}

function carrying(link, totals, scheduler, role) {
  const [down, up] = role === "client" ? ["rx_bps", "tx_bps"] : ["tx_bps", "rx_bps"];
  if (totals[down] + totals[up] < QUIET_BPS) return "Ready; there is nothing to carry.";
  if (link[down] + link[up] < QUIET_BPS) {
    return scheduler === "consistent" ? "Ready; no flow is on it now (a flow keeps to its link)." : "Ready; carries nothing now.";
  }
  const [downWord, upWord] = role === "client" ? ["download", "upload"] : ["traffic to the client", "traffic from it"];
  const shares = [];
  if (totals[down] >= QUIET_BPS) shares.push(`${wholePercent(link[down] / totals[down])} of the ${downWord}`);
  if (totals[up] >= QUIET_BPS) shares.push(`${wholePercent(link[up] / totals[up])} of the ${upWord}`);
  return `Carries ${shares.join(" and ") || bits(link[down] + link[up])}.`;
}

function reason(link) {
  const why = link.event?.facts.why;
  return why ? `: ${why}` : "";
}

function lastOf(events, name) {
  return events.findLast((event) => event.facts.link === name && because(event));
}

function joined(a, b) {
  const order = ["up", "suspect", "connecting", "dead"];
  const sum = (figure) => a[figure] + b[figure];
  return {
    ...a,
    state: order[Math.min(order.indexOf(a.state), order.indexOf(b.state))],
    loss: Math.max(a.loss, b.loss),
    tx_bps: a.tx_bps + b.rates.tx_bps,
    rx_bps: a.rx_bps + b.rates.rx_bps,
    ...Object.fromEntries(
      ["tx_bytes", "rx_bytes", "queued_bytes", "queued_packets", "retransmits", "timeouts"].map((f) => [f, sum(f)]),
    ),
  };
}
