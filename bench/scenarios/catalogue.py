"""The scenarios: the links, what they could carry at best, and what we aim at."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

# What is left of a full packet for TCP's payload: 1,500 bytes less the tunnel's and TCP/IP's headers.
PAYLOAD_SHARE = 1390 / 1500
REDRAW_EVERY_S = 5.0
_REDRAWN_MBPS = (5.0, 60.0)


class Kind(Enum):
    """What is done in a scenario."""

    THROUGHPUT = "throughput"
    VARYING = "varying"
    PULLED = "pulled"
    OVERHEAD = "overhead"


@dataclass(frozen=True)
class WanLink:
    """One link, alike in both directions."""

    rate_mbps: float
    rtt_ms: float
    loss: float = 0.0
    more: str = ""  # further parts of the lab's specification

    @property
    def spec(self) -> str:
        """The link in the lab's words (docs/lab.md)."""
        parts = [f"{self.rate_mbps:g}mbit", f"{self.rtt_ms:g}ms"]
        if self.loss:
            parts.append(f"loss={self.loss * 100:g}%")
        return ",".join([*parts, *filter(None, [self.more])])


@dataclass(frozen=True)
class Target:
    """What we aim at: TCP goodput, and how much longer a ping may take than on idle links."""

    one_flow_mbps: float | None = None
    six_flows_mbps: float | None = None
    one_flow_share: float | None = None  # of the IP bytes that the links offer
    six_flows_share: float | None = None
    ping_over_idle_ms: float | None = None
    ramp_s: float | None = None
    overhead: float | None = None


@dataclass(frozen=True)
class Scenario:
    """The first link is the best alone."""

    name: str
    links: tuple[WanLink, ...]
    target: Target
    kind: Kind = Kind.THROUGHPUT
    words: str = ""

    @property
    def offered_mbps(self) -> float:
        """What the links deliver of IP, both together."""
        return sum(link.rate_mbps * (1 - link.loss) for link in self.links)

    @property
    def bound_mbps(self) -> float:
        """The best goodput there can be."""
        return self.offered_mbps * PAYLOAD_SHARE


_EQUAL = (WanLink(50, 20), WanLink(50, 20))

SCENARIOS = (
    Scenario(
        "equal",
        _EQUAL,
        Target(91, 91, ping_over_idle_ms=20, ramp_s=2),
        words="50 Mbit/s 20 ms, twice",
    ),
    Scenario(
        "dsl_lte",
        (WanLink(80, 16), WanLink(30, 60, 0.005, "jitter=4ms")),
        Target(98, 98, ping_over_idle_ms=40, ramp_s=6),
        words="80 Mbit/s 16 ms; 30 Mbit/s 60 ms, jitter 4 ms, 0.5 % loss",
    ),
    Scenario(
        "bad_link",
        (WanLink(50, 20), WanLink(50, 20, 0.2)),
        Target(79, 79, ping_over_idle_ms=60),
        words="50 Mbit/s 20 ms; the same with 20 % loss",
    ),
    Scenario(
        "satellite",
        (WanLink(50, 30), WanLink(50, 600)),
        Target(45, 75, ping_over_idle_ms=40),
        words="50 Mbit/s 30 ms; 50 Mbit/s 600 ms",
    ),
    Scenario(
        "bloated",
        (WanLink(40, 20), WanLink(20, 50, more="queue=2000ms")),
        Target(53, 53, ping_over_idle_ms=60),
        words="40 Mbit/s 20 ms; 20 Mbit/s 50 ms with a 2,000 ms queue",
    ),
    Scenario(
        "lossy",
        (WanLink(50, 40, 0.02), WanLink(50, 40, 0.02)),
        Target(87, 87, ping_over_idle_ms=60),
        words="50 Mbit/s 40 ms, 2 % loss, twice",
    ),
    Scenario(
        "four",
        (WanLink(20, 20), WanLink(10, 40), WanLink(5, 80), WanLink(2, 150)),
        Target(32, 33, ping_over_idle_ms=60),
        words="20, 10, 5, 2 Mbit/s at 20, 40, 80, 150 ms",
    ),
    Scenario(
        "varying",
        (WanLink(32.5, 20), WanLink(32.5, 20)),
        Target(one_flow_share=0.80, six_flows_share=0.85, ping_over_idle_ms=60),
        Kind.VARYING,
        words="20 ms, twice; each rate drawn anew every 5 s between 5 and 60 Mbit/s",
    ),
    Scenario("pulled", _EQUAL, Target(), Kind.PULLED, words="as equal; the busier link is pulled for 6 s"),
    Scenario("overhead", _EQUAL, Target(overhead=0.065), Kind.OVERHEAD, words="as equal; bulk TCP both ways"),
)


def redrawn_rates_mbps(seed: int, link: int, count: int) -> list[float]:
    """The rates of a link in ``varying``, one for each 5 s: the same for all who run with this seed."""
    chance = random.Random(f"{seed} {link}")
    return [round(chance.uniform(*_REDRAWN_MBPS), 2) for _ in range(count)]


def offered_mbps(rates_mbps: list[list[float]], from_s: float, until_s: float) -> float:
    """The mean of the links' rates together over a stretch of time, when each value holds for 5 s."""
    megabits = 0.0
    for link in rates_mbps:
        for number, rate in enumerate(link):
            begin_s = number * REDRAW_EVERY_S
            within_s = min(until_s, begin_s + REDRAW_EVERY_S) - max(from_s, begin_s)
            megabits += rate * max(0.0, within_s)
    return megabits / (until_s - from_s)
