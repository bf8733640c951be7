"""What the dashboard and ``ratbond top`` follow: the last minutes of every link, and what happened.

Samples come once a second. A sample has one cell for each link of each session; with ``--mux`` a link's conversations
are added up. The memory is bounded in cells, so that a server with many clients remembers less far back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from ratbond.status.model import LinkStatus, Status

MAX_SAMPLES: Final = 600  # ten minutes
MAX_CELLS: Final = 12_000
MAX_EVENTS: Final = 100
MAX_FOLLOWERS: Final = 16

# What is remembered of a link, in the order of a cell.
COLUMNS: Final = ("tx_bps", "rx_bps", "rtt_ms", "loss", "queued_bytes", "retransmits_per_s")

Key = tuple[int, str]  # session, link


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the log, as data."""

    id: int
    at_s: float  # since 1970
    level: str  # "info", "warning", "error"
    text: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Sample:
    """One moment: the figures of each link, and the bytes that wait in front of all links of each session."""

    at_s: float
    cells: dict[Key, array[float]]
    queues: dict[int, int]


class Feed:
    """Remembers, and wakes those who follow. Belongs to the event loop's thread but for :meth:`tell`."""

    def __init__(self, max_cells: int = MAX_CELLS) -> None:
        self._max_cells = max_cells
        self._samples: deque[_Sample] = deque()
        self._cells = 0
        self._retransmits: dict[Key, int] = {}
        self._status: Status | None = None
        self._count = 0  # of all samples so far
        self._happenings: deque[Happening] = deque(maxlen=MAX_EVENTS)
        self._changed = asyncio.Event()
        self._closed = False
        self.followers = 0

    def add(self, status: Status, at_s: float) -> None:
        """Takes the next sample; ``at_s`` counts since 1970."""
        elapsed_s = max(at_s - self._samples[-1].at_s, 0.1) if self._samples else 1.0
        sample: dict[Key, array[float]] = {}
        before, self._retransmits = self._retransmits, {}
        for session in status.sessions:
            for name, convs in _by_name(session.links).items():
                key = (session.id, name)
                self._retransmits[key] = count = sum(link.retransmits for link in convs)
                fresh = max(count - before.get(key, count), 0)
                sample[key] = _cell(convs, fresh / elapsed_s)
        queues = {session.id: session.queued_bytes for session in status.sessions}
        self._samples.append(_Sample(at_s, sample, queues))
        self._cells += len(sample)
        while len(self._samples) > MAX_SAMPLES or (self._cells > self._max_cells and len(self._samples) > 1):
            self._cells -= len(self._samples.popleft().cells)
        self._count += 1
        self._status = status
        self._wake()

    def tell(self, at_s: float, level: str, text: str, facts: Mapping[str, str]) -> None:
        """Adds what happened."""
        number = self._happenings[-1].id + 1 if self._happenings else 1
        self._happenings.append(Happening(number, at_s, level, text, facts))
        self._wake()

    def happenings(self, after: int = 0) -> list[Happening]:
        """What happened, the oldest first."""
        return [h for h in self._happenings if h.id > after]

    def history(self, last: int = MAX_SAMPLES) -> dict[str, Any]:
        """The last samples, a column a figure: ``{"at_s": [..], "links": [{"session", "name", "tx_bps": [..], ..}], "sessions": ..}``."""
        samples = list(self._samples)[-last:]
        keys = dict.fromkeys(key for sample in samples for key in sample.cells)
        sessions = dict.fromkeys(session for sample in samples for session in sample.queues)
        return {
            "at_s": [round(sample.at_s, 2) for sample in samples],
            "sessions": [
                {"session": session, "queued_bytes": [sample.queues.get(session) for sample in samples]}
                for session in sessions
            ],
            "links": [
                {"session": session, "name": name}
                | {
                    column: [_figure(sample.cells.get((session, name)), i) for sample in samples]
                    for i, column in enumerate(COLUMNS)
                }
                for session, name in keys
            ],
        }

    async def follow(self) -> AsyncGenerator[tuple[str, Any]]:
        """Pairs of an event's name and its data, for as long as somebody listens; docs/status.md has the names.

        Who is slow misses samples, and holds up nobody.
        """
        self.followers += 1
        try:
            count, happened, told = self._count, 0, False
            yield "history", self.history()
            while not self._closed:
                changed = self._changed
                for happening in self.happenings(happened):
                    happened = happening.id
                    yield "event", asdict(happening)
                fresh, count = self._count - count, self._count
                if fresh:
                    yield "sample", self.history(fresh)
                if self._status and (fresh or not told):
                    told = True
                    yield "status", self._status.to_json()
                await changed.wait()
        finally:
            self.followers -= 1

    def close(self) -> None:
        """Lets go of all who follow."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class FeedHandler(logging.Handler):
    """Hands our own log records to a feed: what a user reads in the log is what the dashboard tells."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(logging.INFO)
        self._feed = feed
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listens to all our loggers for as long as the context lasts."""
        ours = logging.getLogger("ratbond")
        ours.addHandler(self)
        try:
            yield
        finally:
            ours.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes events that have facts; the regular statistics are no event."""
        event = getattr(record, "event", None)
        if event is None or event == "statistics" or self._loop.is_closed():
            return
        facts = {name: str(value) for name, value in getattr(record, "facts", {}).items()}
        self._loop.call_soon_threadsafe(
            self._feed.tell, record.created, record.levelname.lower(), event, facts
        )


def message(name: str, data: Any) -> str:
    """One message of a stream of server-sent events (WHATWG HTML, section 9.2)."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def _figure(cell: array[float] | None, column: int) -> float | None:
    return None if cell is None or math.isnan(cell[column]) else round(cell[column], 4)


def _by_name(links: tuple[LinkStatus, ...]) -> dict[str, list[LinkStatus]]:
    found: dict[str, list[LinkStatus]] = {}
    for link in links:
        found.setdefault(link.name, []).append(link)
    return found


def _cell(convs: list[LinkStatus], retransmits_per_s: float) -> array[float]:
    alive = [link for link in convs if link.state in {"up", "suspect"}]
    rtts = [link.rtt_ms for link in alive if link.rtt_ms > 0]
    return array(
        "f",
        (
            sum(link.rates.tx_bps for link in convs),
            sum(link.rates.rx_bps for link in convs),
            sum(rtts) / len(rtts) if rtts else float("nan"),
            max((link.loss for link in alive), default=0.0),
            sum(link.queued_bytes for link in convs),
            retransmits_per_s,
        ),
    )
