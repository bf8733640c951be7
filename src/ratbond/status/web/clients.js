// A server's clients: a table, and which of them the rest of the page is about.

import { Keyed, byId, el, say } from "./dom.js";
import { bits, duration } from "./format.js";

let chosen = null;
let tell = () => {};
const rows = new Keyed(byId("clients-rows"), makeRow);

/** Calls back when another client is chosen. */
export const onChoice = (callback) => (tell = callback);

/** The session that the page is about: the chosen one, or the first that is up. */
export function current(sessions) {
  return sessions.find((session) => session.id === chosen) ?? sessions.find((session) => session.up) ?? sessions[0];
}

export function showClients(role, sessions) {
  byId("clients").hidden = role !== "server";
  byId("clients-none").hidden = sessions.length > 0;
  const shown = current(sessions)?.id;
  rows.update(sessions.map((session) => ({ session, shown: session.id === shown })), ({ session }) => session.id);
}

/** What a client is called: its name where it has one, else where it comes from. */
export function nameOf(session) {
  return session.client || session.links[0]?.remote || `session ${session.id}`;
}

function makeRow({ session: { id } }) {
  const button = el("button", { type: "button" });
  const cells = Array.from({ length: 5 }, (_, i) => el("td", i > 1 ? { class: "number" } : {}));
  const root = el("tr", {}, el("th", { scope: "row" }, button), ...cells);
  button.addEventListener("click", () => {
    chosen = id;
    tell();
  });
  return {
    root,
    update({ session, shown }) {
      const up = session.links.filter((link) => link.state === "up").length;
      button.setAttribute("aria-pressed", shown);
      say(button, nameOf(session));
      root.dataset.state = session.up ? "up" : "out";
      const texts = [
        session.up ? "up" : "down", `${up} of ${session.links.length}`, bits(session.rates.tx_bps), bits(session.rates.rx_bps),
        session.up ? duration(session.uptime_s) : "–",
      ];
      texts.forEach((text, i) => say(cells[i], text));
    },
  };
}
