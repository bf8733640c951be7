// Puts the page together: what the stream says goes into the model, and every view shows its part of it once a second.

import { Charts } from "./charts.js";
import { current, nameOf, onChoice, showClients } from "./clients.js";
import { colourOf, onTheme } from "./colours.js";
import { directions } from "./directions.js";
import { byId, say } from "./dom.js";
import { clearEvents, showEvent } from "./events.js";
import { follow } from "./feed.js";
import { because, duration } from "./format.js";
import { showLinks } from "./links.js";
import { linksOf, verdict } from "./model.js";
import { Series } from "./series.js";
import { showTotals } from "./totals.js";

const KEPT_EVENTS = 100;
const series = new Series();
let events = [];
let status = null;
let heard = Date.now();
const charts = await Charts.load(byId("charts"), series);

follow({
  history(columns) {
    series.reset(columns);
    const links = [...columns.links].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    for (const { session, name } of links) colourOf(session, name);
    events = [];
    clearEvents();
  },
  sample: (columns) => series.append(columns),
  event(event) {
    events = [...events.slice(1 - KEPT_EVENTS), event];
    showEvent(event);
  },
  status(data) {
    status = data;
    heard = Date.now();
    byId("stale").hidden = true;
    document.body.dataset.live = "yes";
    show();
  },
  lost() {
    document.body.dataset.live = "no";
    byId("stale").hidden = false;
    say(byId("stale"), `No connection to ratbond; trying again. What you see is ${duration((Date.now() - heard) / 1000)} old.`);
  },
});

onChoice(show);
onTheme(() => charts.rebuild());
byId("span").addEventListener("change", (change) => charts.reach(Number(change.target.value)));

function show() {
  const { role, sessions, scheduler } = status;
  showEnd();
  showClients(role, sessions);
  const session = current(sessions);
  byId("verdict").hidden = false;
  if (!session) {
    showVerdict({ mood: "warn", text: "No client has connected", why: "ratbond listens, and waits for one." });
    return;
  }
  const links = linksOf(session, series.names(session.id), events);
  const ways = directions(role);
  const totals = Object.fromEntries(ways.map(({ figure }) => [figure, links.reduce((sum, link) => sum + (link[figure] ?? 0), 0)]));
  showVerdict(verdict(session, links, waitingFor()));
  showTotals(session.id, links, ways);
  showLinks(links, { totals, scheduler, role, ways, session: session.id });
  charts.show(session.id, links.map((link) => link.name), ways, scheduler === "adaptive" || scheduler === "redundant");
}

function showEnd() {
  const { role, tunnel_id: tunnel, address, encryption, uptime_s: uptime, warnings, sessions } = status;
  const towards = role === "client" ? `client of ${address}` : `server at ${address}`;
  const session = role === "server" && current(sessions);
  say(byId("end"), `${towards}, tunnel ${tunnel}, ${encryption === "none" ? "not encrypted" : encryption}, running for ${duration(uptime)}`);
  document.title = session ? `${nameOf(session)} – ratbond` : "ratbond";
  const list = byId("warnings");
  if (list.childElementCount !== warnings.length) {
    list.replaceChildren(...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
}

function showVerdict({ mood, text, why }) {
  byId("verdict").dataset.mood = mood;
  say(byId("verdict-text"), text);
  say(byId("verdict-why"), why);
}

/** What the log says that the bond waits for. */
function waitingFor() {
  const event = events.findLast(({ text }) => text === "waiting");
  return event && because(event);
}
