"""What a test has found, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

_SCHEMA: Final = 1
_AS_MUCH: Final = 0.85  # of what the links carry one by one: TCP and the tunnel's own take their part
_LOSSY: Final = 0.01
_FAR_MS: Final = 50.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What TCP carried, in bit/s."""

    down_bps: float
    up_bps: float

    def of(self, direction: str) -> float:
        """One of them."""
        return self.down_bps if direction == "down" else self.up_bps


@dataclass(frozen=True, slots=True)
class LinkFound:
    """A link alone, and its part in the bond."""

    name: str
    alone: Rates | None  # None: it was not measured
    in_bond: Rates  # what it carried of the bond's packets
    why_not: str = ""  # it was not measured alone
    tier: str = "primary"
    rtt_ms: float = 0.0  # the shortest
    loss: float = 0.0  # of what was sent over it alone: what had to be sent again
    used_bytes: int = 0  # datagrams, both ways, by the whole test


@dataclass(frozen=True, slots=True)
class Found:
    """All of it."""

    links: tuple[LinkFound, ...]
    bond: Rates
    seconds: float  # of each measurement
    scheduler: str

    def as_json(self) -> dict[str, Any]:
        """Plain data with the verdict."""
        return {"schema": _SCHEMA, **asdict(self), "verdict": list(verdict(self))}


def text(found: Found) -> str:
    """A table and the verdict."""
    rows = [("LINK", "DOWN", "UP", "RTT", "USED")]
    for link in found.links:
        rates = (_rate(link.alone.down_bps), _rate(link.alone.up_bps)) if link.alone else ("-", "-")
        rows.append((link.name, *rates, f"{link.rtt_ms:.0f} ms", octets(link.used_bytes)))
    whole = octets(sum(link.used_bytes for link in found.links))
    rows.append(("the bond", _rate(found.bond.down_bps), _rate(found.bond.up_bps), "", whole))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *verdict(found)]) + "\n"


def verdict(found: Found) -> Iterator[str]:
    """What the bond adds, which link holds it back, and what was left out; a sentence each."""
    measured = [link for link in found.links if link.alone]
    if len(measured) < 2:
        yield "With fewer than two links measured there is nothing to compare the bond with."
    else:
        yield from (_of_direction(found, measured, direction) for direction in ("down", "up"))
    for link in found.links:
        if link.why_not:
            yield f"{link.name} was not measured alone: {link.why_not}."


def _of_direction(found: Found, links: list[LinkFound], direction: str) -> str:
    alone = {link.name: link.alone.of(direction) for link in links if link.alone}
    best, together = max(alone, key=lambda name: alone[name]), sum(alone.values())
    bond = found.bond.of(direction)
    word = "Down" if direction == "down" else "Up"
    if together == 0 or alone[best] == 0:
        return f"{word}: nothing came through any link alone."
    added = bond / alone[best] - 1
    share = f"{bond / together:.0%} of what its links carry one by one"
    gain = (
        f"the bond adds {added:.0%} to {best} alone"
        if added >= 0.01
        else f"the bond is no faster than {best} alone"
    )
    if bond >= _AS_MUCH * together:
        return f"{word}: {gain}; {share}."
    holding = max(links, key=lambda link: alone[link.name] - link.in_bond.of(direction))
    part = f"{_rate(holding.in_bond.of(direction))} of the {_rate(alone[holding.name])} that it can"
    return f"{word}: {gain}, {share}. {holding.name} holds it back: it carried {part}{_why(found, holding, links)}."


def _why(found: Found, link: LinkFound, links: list[LinkFound]) -> str:
    """What is likely."""
    nearest_ms = min(other.rtt_ms for other in links)
    if link.tier != "primary":
        return f", as it is {link.tier}"
    if found.scheduler != "adaptive":
        return f"; {found.scheduler} does not go by what links can carry (--balance-adaptive does)"
    if link.loss >= _LOSSY:
        return f"; it loses packets ({link.loss:.1%} were sent again)"
    if link.rtt_ms > nearest_ms + _FAR_MS:
        return f"; it is far ({link.rtt_ms:.0f} ms, where another has {nearest_ms:.0f} ms)"
    return ""


def _rate(bps: float) -> str:
    return f"{bps / 1e6:.1f} Mbit/s"


def octets(count: int) -> str:
    """Megabytes, as providers count."""
    return f"{count / 1e6:.1f} MB"
