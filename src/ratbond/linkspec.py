"""What a user writes of an emulated or a simulated link, and what it means.

A specification is a list of parts with commas between them. ``80mbit`` is a rate, ``16ms`` a round-trip time, ``0.5%`` the
share of packets that are lost; all other parts are ``key=value`` or, for one direction, ``up.key=value`` and ``down.key=value``::

    80mbit,16ms
    30mbit,60ms,0.5%
    down=80mbit,up=20mbit,30ms,queue=100ms
    30mbit,60ms,jitter=4ms,loss=0.5%,down.burst=1%/8
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from ratbond.errors import RatbondError

if TYPE_CHECKING:
    from ratbond._core import LinkSettings

Direction = Literal["up", "down"]
DIRECTIONS: tuple[Direction, Direction] = ("up", "down")

_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z%]*)", re.IGNORECASE)
_RATE_UNITS = {"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIME_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SIZE_UNITS = {"b": 1, "kb": 1e3, "mb": 1e6}
_SWITCH = {"on": True, "off": False}


class SpecError(RatbondError):
    """A specification that cannot be read; the text says what would be right."""


@dataclass(frozen=True)
class LinkSpec:
    """Settings of both directions: a whole link, or changes of one."""

    up: LinkSettings = field(default_factory=lambda: cast("LinkSettings", {}))
    down: LinkSettings = field(default_factory=lambda: cast("LinkSettings", {}))

    @classmethod
    def parse(cls, text: str) -> LinkSpec:
        """Read a whole specification or changes.

        Raises:
            SpecError: it cannot be read.
        """
        settings: dict[Direction, dict[str, object]] = {"up": {}, "down": {}}
        for part in filter(None, (part.strip() for part in text.split(","))):
            directions, key, value = _split(part)
            read = _READERS.get(key)
            if read is None:
                raise SpecError(f"a link has no {key!r}; it has {', '.join(sorted(_READERS))}")
            for direction in directions:
                settings[direction].update(read(part, value))
        if not settings["up"] and not settings["down"]:
            raise SpecError("an empty link; write for example 80mbit,16ms")
        return cls(up=cast("LinkSettings", settings["up"]), down=cast("LinkSettings", settings["down"]))


def _split(part: str) -> tuple[tuple[Direction, ...], str, str]:
    """Say which directions a part is for, what it sets, and to what."""
    key, equals, value = part.partition("=")
    key = key.strip().lower()
    if not equals:
        unit = _unit(part)
        if unit in _RATE_UNITS:
            return DIRECTIONS, "rate", part
        if unit in _TIME_UNITS_MS:
            return DIRECTIONS, "rtt", part
        if unit == "%":
            return DIRECTIONS, "loss", part
        raise SpecError(
            f"{part!r} is neither a rate (80mbit), a round-trip time (16ms), a loss (0.5%) nor key=value"
        )
    for direction in DIRECTIONS:
        if key == direction:
            return (direction,), "rate", value
        if key.startswith(f"{direction}."):
            return (direction,), key.removeprefix(f"{direction}."), value
    return DIRECTIONS, key, value


def _unit(text: str) -> str:
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    return match[2].lower() if match else ""


def _measure(part: str, text: str, units: dict[str, float], example: str) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        raise SpecError(f"cannot read {part!r}; write for example {example}")
    return float(match[1]) * units[match[2].lower()]


def _time_ms(part: str, text: str) -> float:
    return _measure(part, text, _TIME_UNITS_MS, f"{part.partition('=')[0]}=20ms")


def _share(part: str, text: str) -> float:
    share = _measure(part, text, {"%": 0.01}, f"{part.partition('=')[0]}=0.5%")
    if share > 1:
        raise SpecError(f"{part!r} is above 100%")
    return share


def _rate(part: str, value: str) -> dict[str, object]:
    if value.strip().lower() == "unlimited":
        return {"rate_bps": 0}
    rate_bps = round(_measure(part, value, _RATE_UNITS, "80mbit"))
    if rate_bps == 0:
        raise SpecError(
            f"{part!r} is no rate; write unlimited, or blackhole=on for a link that carries nothing"
        )
    return {"rate_bps": rate_bps}


def _rtt(part: str, value: str) -> dict[str, object]:
    return {"delay_ms": _time_ms(part, value) / 2}


def _queue(part: str, value: str) -> dict[str, object]:
    if _unit(value) in _SIZE_UNITS:
        return {"queue_bytes": round(_measure(part, value, _SIZE_UNITS, "queue=64kb"))}
    return {"queue_ms": _measure(part, value, _TIME_UNITS_MS, "queue=100ms or queue=64kb")}


def _jitter(part: str, value: str) -> dict[str, object]:
    size, _, shape = value.partition("/")
    settings: dict[str, object] = {"jitter_ms": _time_ms(part, size)}
    if shape.strip():
        if shape.strip().lower() not in {"uniform", "normal", "exponential"}:
            raise SpecError(f"jitter is uniform, normal or exponential, not {shape!r}")
        settings["jitter_distribution"] = shape.strip().lower()
    return settings


def _burst(part: str, value: str) -> dict[str, object]:
    share, _, packets = value.partition("/")
    settings: dict[str, object] = {"burst_loss": _share(part, share)}
    if packets:
        settings["burst_packets"] = _measure(part, packets, {"": 1}, "burst=1%/8")
    return settings


def _reorder(part: str, value: str) -> dict[str, object]:
    share, _, held_back = value.partition("/")
    settings: dict[str, object] = {"reorder": _share(part, share)}
    if held_back:
        settings["reorder_ms"] = _time_ms(part, held_back)
    return settings


def _bytes(key: str) -> Callable[[str, str], dict[str, object]]:
    return lambda part, value: {
        key: round(_measure(part, value, {"": 1, "b": 1}, f"{part.split('=')[0]}=1400"))
    }


def _switch(key: str) -> Callable[[str, str], dict[str, object]]:
    def read(part: str, value: str) -> dict[str, object]:
        if value.strip().lower() not in _SWITCH:
            raise SpecError(f"{part!r} must be on or off")
        return {key: _SWITCH[value.strip().lower()]}

    return read


_READERS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "rate": _rate,
    "rtt": _rtt,
    "delay": lambda part, value: {"delay_ms": _time_ms(part, value)},
    "jitter": _jitter,
    "jitter-reorders": _switch("jitter_reorders"),
    "queue": _queue,
    "loss": lambda part, value: {"loss": _share(part, value)},
    "burst": _burst,
    "reorder": _reorder,
    "duplicate": lambda part, value: {"duplicate": _share(part, value)},
    "mtu": _bytes("mtu_bytes"),
    "overhead": _bytes("overhead_bytes"),
    "blackhole": _switch("blackhole"),
}
