"""What the links carry, by the emulator's counters: nothing that ratbond says of itself enters here."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from ratbond.lab.errors import LabError

if TYPE_CHECKING:
    from types import TracebackType

    from ratbond.lab.lab import Lab

EVERY_S = 0.25
_KEPT = 240  # readings: one minute


@dataclass(frozen=True)
class Reading:
    """What one direction of each link has delivered so far."""

    at_s: float
    down_bytes: tuple[int, ...]
    up_bytes: tuple[int, ...]


def rates_mbps(readings: list[tuple[float, int]]) -> list[float]:
    """The rates between counters read at certain moments."""
    return [
        (bytes_after - bytes_before) * 8 / (after_s - before_s) / 1e6
        for (before_s, bytes_before), (after_s, bytes_after) in pairwise(readings)
        if after_s > before_s
    ]


def shares(before: Reading, after: Reading) -> tuple[float, ...]:
    """Which part of the download each link carried, 0 to 1."""
    carried = [late - early for early, late in zip(before.down_bytes, after.down_bytes, strict=True)]
    return tuple(part / max(1, sum(carried)) for part in carried)


class Meter:
    """Reads the counters four times a second, in a thread, for as long as the ``with`` block lasts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._readings: deque[Reading] = deque([self.read()], maxlen=_KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def read(self) -> Reading:
        """Look at the counters now."""
        links = self._lab.stats()["links"]
        return Reading(
            at_s=time.monotonic(),
            down_bytes=tuple(link["down"]["delivered_bytes"] for link in links),
            up_bytes=tuple(link["up"]["delivered_bytes"] for link in links),
        )

    def down_mbps(self, link: int) -> list[float]:
        """Rates of a link, counted from 0, towards the client, oldest first."""
        return rates_mbps([(reading.at_s, reading.down_bytes[link]) for reading in list(self._readings)])

    def up_mbps(self, link: int) -> list[float]:
        """The same towards the server."""
        return rates_mbps([(reading.at_s, reading.up_bytes[link]) for reading in list(self._readings)])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._readings.append(self.read())
            except LabError:
                return  # the lab is gone; whoever needs it will say so
