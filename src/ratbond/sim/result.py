"""What came of a simulation, as plain data: rates are bit/s, one for each full second; times are seconds or ms, as named."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Datagram:
    """One packet of a stream."""

    sent_s: float
    delay_ms: float | None  # None: it never came


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load has come to."""

    name: str
    goodput_bps: tuple[float, ...]  # payload: what a program would have read
    resent_segments: int = 0  # by the TCP inside, of downloads and uploads
    datagrams: tuple[Datagram, ...] = ()  # of a stream, in the order in which they were sent
    duplicates: int = 0  # datagrams that came again

    def mean_bps(self, from_s: int = 0, to_s: int | None = None) -> float:
        """Mean goodput between two full seconds; 0 when there is none."""
        seconds = self.goodput_bps[from_s:to_s]
        return sum(seconds) / len(seconds) if seconds else 0.0

    @property
    def lost(self) -> int:
        """How many of a stream's datagrams never came."""
        return sum(datagram.delay_ms is None for datagram in self.datagrams)

    @property
    def loss(self) -> float:
        """The share of them."""
        return self.lost / len(self.datagrams) if self.datagrams else 0.0

    def delay_ms(self, share: float, from_s: float = 0.0) -> float | None:
        """What this share (0 to 1) of the datagrams that came took at most, of those sent from a moment on."""
        delays = sorted(d.delay_ms for d in self.datagrams if d.delay_ms is not None and d.sent_s >= from_s)
        return delays[min(len(delays) - 1, int(share * len(delays)))] if delays else None


@dataclass(frozen=True, slots=True)
class LinkResult:
    """What one link has carried: the tunnel's own datagrams with their IP headers, as a meter at the provider counts."""

    name: str
    up_bps: tuple[float, ...]
    down_bps: tuple[float, ...]

    def total_bytes(self, from_s: int = 0, to_s: int | None = None) -> float:
        """Bytes both ways between two full seconds."""
        return (sum(self.up_bps[from_s:to_s]) + sum(self.down_bps[from_s:to_s])) / 8


@dataclass(frozen=True, slots=True)
class Result:
    """All of it."""

    seconds: float
    loads: tuple[LoadResult, ...]
    links: tuple[LinkResult, ...]
    repaired_packets: int  # sent again by the bond, over whichever link was best
    copied_packets: int  # of which a second copy went over another link
    queue_dropped_packets: int  # by the bond's own queues, which is how they tell a TCP to slow down

    def load(self, name: str) -> LoadResult:
        """The load of a name. Raises KeyError."""
        for load in self.loads:
            if load.name == name:
                return load
        raise KeyError(name)

    def link(self, name: str) -> LinkResult:
        """The link of a name. Raises KeyError."""
        for link in self.links:
            if link.name == name:
                return link
        raise KeyError(name)
