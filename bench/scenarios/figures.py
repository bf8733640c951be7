"""Figures made of measured values. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_TCP_HEADERS_BYTES = 52  # IPv4 20, TCP 20, time stamps 12


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values does not exceed: nearest rank.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    return sorted(values)[rank - 1]


def ramp_s(rates: Sequence[tuple[float, float]], steady: float, window_s: float = 0.5) -> float | None:
    """When the rate first was 90 % of the steady one over a window, in seconds from the start; ``None`` when never.

    ``rates`` are (seconds it lasts, rate), one after the other from the start.
    """
    for last in range(len(rates)):
        lasted_s, amount = 0.0, 0.0
        for duration_s, rate in reversed(rates[: last + 1]):
            lasted_s += duration_s
            amount += duration_s * rate
            if lasted_s >= window_s * 0.99:
                if amount / lasted_s >= 0.9 * steady:
                    return sum(duration_s for duration_s, _ in rates[: last + 1])
                break
    return None


def longest_gap_s(arrivals_s: Sequence[float], from_s: float, until_s: float) -> float:
    """The longest time without an arrival between two moments."""
    moments = [from_s, *sorted(at_s for at_s in arrivals_s if from_s < at_s < until_s), until_s]
    return max(later - earlier for earlier, later in pairwise(moments))


def out_of_order(numbers: Sequence[int]) -> int:
    """How many came after one with a higher number; repetitions count once."""
    highest, late = -1, 0
    seen: set[int] = set()
    for number in numbers:
        if number not in seen:
            late += number < highest
            highest = max(highest, number)
            seen.add(number)
    return late


@dataclass(frozen=True)
class Received:
    """What a tunnel's device has counted at one moment as received: what came out of the tunnel."""

    bytes: int
    packets: int
    mtu_bytes: int


def tunnel_ip_bytes(before: Received, after: Received) -> float:
    """The bytes of IP packets that left the tunnel in one bulk TCP transfer, from its device's counters around it.

    With segmentation offload a device counts many segments as one packet with one header. The others' headers are
    added: as many as segments of full size would have had. That holds for one transfer; over a download and an
    upload together the download's joined packets would hide that the upload's acknowledgements were single ones.
    """
    packets = after.packets - before.packets
    payload = after.bytes - before.bytes - _TCP_HEADERS_BYTES * packets
    segments = max(float(packets), payload / (after.mtu_bytes - _TCP_HEADERS_BYTES))
    return payload + _TCP_HEADERS_BYTES * segments
