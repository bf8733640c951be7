"""What is known of the bond: the stream's messages laid together. No terminal in here.

A link is the sum of its conversations, as on the dashboard; one that has left stays, with the reason, for as long as
the stream remembers it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FIGURES: Final = ("tx_bps", "rx_bps", "rtt_ms", "loss", "queued_bytes", "retransmits_per_s")
KEPT_SAMPLES: Final = 600
KEPT_EVENTS: Final = 100
_DIGITS: Final = re.compile(r"([0-9]+)")
_WORST_LAST: Final = ("up", "suspect", "connecting", "dead")

Column = deque[float | None]
Key = tuple[int, str]  # session, link


@dataclass(frozen=True, slots=True)
class Link:
    """One link now. ``raw`` has the status of its conversations; empty when it has left."""

    session: int
    name: str
    state: str  # up, suspect, connecting, dead, out
    why: str = ""  # it is not up
    rx_bps: float = 0.0
    tx_bps: float = 0.0
    rtt_ms: float = 0.0
    loss: float = 0.0
    queued_bytes: int = 0
    retransmits_per_s: float = 0.0
    raw: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Picture:
    """All that the stream has told so far."""

    status: Mapping[str, Any] | None = None
    lost: str = ""  # why nothing comes at present
    at_s: Column = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))
    columns: dict[Key, dict[str, Column]] = field(default_factory=dict)
    events: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))

    def take(self, name: str, data: Any) -> None:
        """Lays one message of the stream to the others."""
        match name:
            case "history":
                self.at_s.clear()
                self.columns.clear()
                self.events.clear()
                self._append(data)
            case "sample":
                self._append(data)
            case "event":
                self.events.append(data)
            case "status":
                self.status, self.lost = data, ""
            case "lost":
                self.lost = data

    def links(self, session: Mapping[str, Any]) -> list[Link]:
        """A session's links by name, those that have left included."""
        convs: dict[str, list[Mapping[str, Any]]] = {}
        for conv in session["links"]:
            convs.setdefault(conv["name"], []).append(conv)
        number = session["id"]
        found = [self._link(number, name, rows) for name, rows in convs.items()]
        hosts = {_host_of(name) for name in convs}
        for other, name in self.columns:
            if other == number and _host_of(name) not in hosts:
                found.append(Link(number, name, "out", self._why(name)))
        return sorted(found, key=lambda link: natural(link.name))

    def column(self, session: int, link: str, figure: str) -> list[float | None]:
        """A link's past, the newest last."""
        columns = self.columns.get((session, link))
        return list(columns[figure]) if columns else []

    def total(self, session: int, figure: str) -> list[float | None]:
        """The sum over a session's links at each moment."""
        rows = [list(columns[figure]) for (number, _), columns in self.columns.items() if number == session]
        return [sum(value or 0.0 for value in moment) for moment in zip(*rows, strict=True)]

    def _append(self, data: Mapping[str, Any]) -> None:
        before, fresh = len(self.at_s), len(data["at_s"])
        self.at_s.extend(data["at_s"])
        said = {(link["session"], link["name"]): link for link in data["links"]}
        for key in said:
            if key not in self.columns:
                past: list[None] = [None] * before
                self.columns[key] = {figure: deque(past, maxlen=KEPT_SAMPLES) for figure in FIGURES}
        for key, columns in list(self.columns.items()):
            for figure in FIGURES:
                columns[figure].extend(said[key][figure] if key in said else [None] * fresh)
            if all(value is None for value in columns["tx_bps"]):
                del self.columns[key]

    def _link(self, session: int, name: str, convs: list[Mapping[str, Any]]) -> Link:
        state = min((conv["state"] for conv in convs), key=_WORST_LAST.index)
        rtts = [conv["rtt_ms"] for conv in convs if conv["rtt_ms"] > 0]
        again = self.column(session, name, "retransmits_per_s")
        return Link(
            session,
            name,
            "out" if state == "dead" else state,
            why="" if state == "up" else self._why(name),
            rx_bps=sum(conv["rates"]["rx_bps"] for conv in convs),
            tx_bps=sum(conv["rates"]["tx_bps"] for conv in convs),
            rtt_ms=sum(rtts) / len(rtts) if rtts else 0.0,
            loss=max(conv["loss"] for conv in convs),
            queued_bytes=sum(conv["queued_bytes"] for conv in convs),
            retransmits_per_s=(again[-1] or 0.0) if again else 0.0,
            raw=tuple(convs),
        )

    def _why(self, name: str) -> str:
        for event in reversed(self.events):
            facts = event["facts"]
            if facts.get("link") == name and facts.get("why"):
                return str(facts["why"])
        return ""


def _host_of(name: str) -> str:
    """A server names links by address and port: one that comes back has another port, and is no second link."""
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdigit() else name


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts wan2 before wan10."""
    return tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(_DIGITS.split(name)))
