"""Plain values that more than one part of the program speaks of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ratbond._core import Preference as EnginePreference

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Family(IntEnum):
    """The version of the Internet Protocol."""

    V4 = 4
    V6 = 6

    @classmethod
    def of(cls, value: IPAddress | IPInterface | IPNetwork) -> Family:
        """The family of an address."""
        return cls(value.version)


@dataclass(frozen=True, slots=True)
class HostPort:
    """``host:port`` as written on a command line; an IPv6 host stands in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Reads ``192.0.2.1:12345``, ``[2001:db8::1]:12345`` or ``vps.example.org:12345``.

        Raises ValueError with one line for the user.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text!r} has no port: write address:port, such as 192.0.2.1:12345")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [2001:db8::1]:12345")
        if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
        if not host or any(c.isspace() or c in "/[]" for c in host):
            raise ValueError(f"{text!r}: {host!r} is neither an address nor a host name")
        return cls(host, int(port))

    @property
    def literal(self) -> IPAddress | None:
        """The host as an address; None when it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_RATE = re.compile(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)")
_RATE_UNITS = {"kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}


def parse_rate(text: str) -> int:
    """``20mbit`` in bit/s. Raises ValueError with one line for the user."""
    found = _RATE.fullmatch(text.strip().lower())
    bps = int(float(found[1]) * _RATE_UNITS[found[2]]) if found else 0
    if bps < 1:
        raise ValueError(f"{text!r} is no rate: write a number with its unit, such as 20mbit or 512kbit")
    return bps


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that goes over a link, in bit/s of IP packets; None: no cap."""

    up_bps: int | None = None
    down_bps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Caps:
        """Reads ``5mbit/20mbit`` (up, down), ``20mbit`` for both, or ``-`` for none of one.

        Raises ValueError with one line for the user.
        """
        up, slash, down = text.partition("/")
        try:
            caps = [None if part.strip() == "-" else parse_rate(part) for part in (up, down if slash else up)]
        except ValueError as error:
            raise ValueError(f"{error}; up/down: 5mbit/20mbit, or - for no cap") from None
        return cls(*caps)

    def __str__(self) -> str:
        return f"{_rate(self.up_bps)}/{_rate(self.down_bps)}"


class Tier(StrEnum):
    """When a link is used."""

    PRIMARY = "primary"  # always
    SECONDARY = "secondary"  # for what the primary links cannot carry
    BACKUP = "backup"  # when no other link is up


MAX_WEIGHT = 1000

_QUOTA = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)\s*/\s*(day|week|month)", re.IGNORECASE)
_PERIODS: dict[str, Literal["day", "week", "month"]] = {"day": "day", "week": "week", "month": "month"}
_SIZES = {"mb": 10**6, "gb": 10**9, "tb": 10**12}


@dataclass(frozen=True, slots=True)
class LinkQuota:
    """What a link may carry in a time, both ways, counted as a provider does: IP packets. And what becomes of it then."""

    limit_bytes: int
    per: Literal["day", "week", "month"]
    then: Literal["backup", "stop"] = "backup"

    @classmethod
    def parse(cls, text: str, then: Literal["backup", "stop"] = "backup") -> LinkQuota:
        """Reads ``50GB/month``. Raises ValueError with one line for the user."""
        found = _QUOTA.fullmatch(text.strip())
        limit_bytes = int(float(found[1]) * _SIZES[found[2].lower()]) if found else 0
        if found is None or limit_bytes == 0:
            raise ValueError(f"{text!r} is no quota: write 50GB/month; MB, GB or TB, a day, week or month")
        return cls(limit_bytes, _PERIODS[found[3].lower()], then)

    @property
    def words_for_end(self) -> str:
        """What becomes of the link when it has carried all it may."""
        return "it carries nothing" if self.then == "stop" else "it is a backup"

    def __str__(self) -> str:
        unit, size = next((u, s) for u, s in reversed(_SIZES.items()) if self.limit_bytes >= s or u == "mb")
        return f"{self.limit_bytes / size:g}{unit.upper()}/{self.per}"


@dataclass(frozen=True, slots=True)
class Preference:
    """What the user wants of a link."""

    tier: Tier = Tier.PRIMARY
    rate: Caps = Caps()
    weight: int = 1  # flows or packets for each of another; the adaptive scheduler measures instead

    @classmethod
    def parse(cls, parts: list[str]) -> Preference:
        """Reads ``tier=backup``, ``rate=5mbit/20mbit`` and ``weight=3``. Raises ValueError with one line for the user."""
        preference = cls()
        for part in parts:
            key, _, value = (word.strip() for word in part.partition("="))
            if key == "tier":
                preference = replace(preference, tier=parse_tier(value))
            elif key == "rate":
                preference = replace(preference, rate=Caps.parse(value))
            elif key == "weight":
                preference = replace(preference, weight=parse_weight(value))
            else:
                raise ValueError(f"{part!r}: after a comma stands tier=, rate= or weight=")
        return preference

    def for_engine(self) -> EnginePreference:
        """As the engine takes it."""
        return {
            "tier": self.tier.value,
            "up_bps": self.rate.up_bps,
            "down_bps": self.rate.down_bps,
            "weight": self.weight,
        }

    def __str__(self) -> str:
        words = [
            f"tier={self.tier}" if self.tier is not Tier.PRIMARY else "",
            f"rate={self.rate}" if self.rate != Caps() else "",
            f"weight={self.weight}" if self.weight != 1 else "",
        ]
        return ",".join(filter(None, words))


def _rate(bps: int | None) -> str:
    if bps is None:
        return "-"
    return f"{bps // 1000}kbit" if bps < 1_000_000 and bps % 1000 == 0 else f"{bps / 1e6:.12g}mbit"


def parse_tier(text: str) -> Tier:
    """Raises ValueError with one line for the user."""
    if text not in set(Tier):
        raise ValueError(f"{text!r} is no tier: write {', '.join(Tier)}")
    return Tier(text)


def parse_weight(text: str) -> int:
    """Raises ValueError with one line for the user."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_WEIGHT:
        raise ValueError(f"{text!r} is no weight: write a number from 1 to {MAX_WEIGHT}")
    return int(text)


@dataclass(frozen=True, slots=True)
class WanSpec:
    """A WAN that the user names: ``IFACE[=ADDRESS][@GATEWAY]``, and after commas what is wanted of it."""

    device: str
    address: IPAddress | None = None
    gateway: IPAddress | None = None
    preference: Preference = field(default_factory=Preference)

    @classmethod
    def parse(cls, text: str) -> WanSpec:
        """Reads ``wwan0``, ``eth1=192.0.2.7``, ``eth1@192.0.2.1``, ``wwan0,tier=backup,rate=5mbit/20mbit`` or all of it.

        Raises ValueError with one line for the user.
        """
        way, *parts = text.split(",")
        try:
            preference = Preference.parse(parts)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        rest, at, gateway = way.partition("@")
        device, equals, address = rest.partition("=")
        if not is_device_name(device):
            raise ValueError(
                f"{text!r}: {device!r} cannot be an interface's name; write IFACE[=ADDRESS][@GATEWAY]"
            )
        try:
            spec = cls(
                device,
                ip_address(address) if equals else None,
                ip_address(gateway) if at else None,
                preference,
            )
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; write IFACE[=ADDRESS][@GATEWAY]") from None
        if spec.address and spec.gateway and spec.address.version != spec.gateway.version:
            raise ValueError(f"{text!r}: the address and the gateway must be of one family")
        return spec

    def __str__(self) -> str:
        address = f"={self.address}" if self.address else ""
        gateway = f"@{self.gateway}" if self.gateway else ""
        return ",".join(filter(None, [f"{self.device}{address}{gateway}", str(self.preference)]))


def is_device_name(name: str) -> bool:
    """Whether the kernel would take this as an interface's name (dev_valid_name: 1 to 15 bytes, no slash, colon, space)."""
    return (
        0 < len(name.encode()) < 16
        and name not in {".", ".."}
        and not any(c in "/:" or c.isspace() for c in name)
    )
