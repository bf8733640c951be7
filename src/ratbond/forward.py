"""What a user writes of a port forward, and what it means: ports of the server that lead to a host behind a client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Final, Literal

from ratbond.models import Family, HostPort, IPAddress, IPNetwork

EXAMPLE: Final = "tcp/8443 -> 192.168.8.10:443"
_FORM: Final = re.compile(r"\s*(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?\s*->\s*(\S+)(?:\s+(masquerade))?\s*")
_PROTOCOLS: Final[dict[str, Literal["tcp", "udp"]]] = {"tcp": "tcp", "udp": "udp"}


@dataclass(frozen=True, slots=True)
class PortForward:
    """What comes to these ports of the server goes to the target, over the tunnel of the client that it is behind.

    It is for visitors of the target's family. With ``masquerade`` they come with the server's address in the tunnel.
    """

    protocol: Literal["tcp", "udp"]
    first: int
    last: int
    target: IPAddress
    target_port: int | None = None  # None: the port that the visitor has asked for
    masquerade: bool = False

    @classmethod
    def parse(cls, text: str) -> PortForward:
        """Reads ``tcp/8443 -> 192.168.8.10:443``, ``udp/5000-5010 -> [2001:db8::7]`` and either with `` masquerade`` behind it.

        Raises ValueError with one line for the user.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f'{text!r} is no port forward: write one such as "{EXAMPLE}"')
        protocol, low, high, where, masquerade = found.groups()
        first, last = int(low), int(high or low)
        if not 1 <= first <= last <= 65_535:
            raise ValueError(f"{text!r}: ports go from 1 to 65535, the lower one first")
        try:
            target, port = _target(where)
        except ValueError as error:
            raise ValueError(f'{text!r}: {error}; write one such as "{EXAMPLE}"') from None
        if port is not None and first != last:
            raise ValueError(f"{text!r}: a range keeps its ports: leave the port of the target out")
        if target.is_unspecified or target.is_loopback or target.is_multicast or target.is_link_local:
            raise ValueError(f"{text!r}: {target} is no host that a packet can be routed to")
        return cls(_PROTOCOLS[protocol], first, last, target, port, masquerade is not None)

    @property
    def ports(self) -> str:
        """As nft and people write them."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def listens(self) -> str:
        """The ports that it takes."""
        return f"{self.protocol}/{self.ports}"

    def takes(self, protocol: str, port: int) -> bool:
        """Whether what comes to this port is forwarded."""
        return self.protocol == protocol and self.first <= port <= self.last

    def meets(self, other: PortForward) -> bool:
        """Whether both take the same port from the same visitors."""
        return (
            Family.of(self.target) is Family.of(other.target)
            and self.protocol == other.protocol
            and self.first <= other.last
            and other.first <= self.last
        )

    def __str__(self) -> str:
        if self.target_port is not None:
            to = str(HostPort(str(self.target), self.target_port))
        else:
            to = f"[{self.target}]" if self.target.version == 6 else str(self.target)
        return f"{self.listens} -> {to}{' masquerade' if self.masquerade else ''}"


def with_targets(lan: Iterable[IPNetwork], forwards: Iterable[PortForward]) -> tuple[IPNetwork, ...]:
    """A client's networks, with those targets of forwards that are in none of them."""
    networks = tuple(lan)
    outside = (f.target for f in forwards if not any(f.target in network for network in networks))
    return tuple(dict.fromkeys((*networks, *map(ip_network, outside))))


def clash(forwards: Iterable[PortForward]) -> tuple[PortForward, PortForward] | None:
    """Two of them that take the same port; None when there are none."""
    return next(((one, other) for one, other in combinations(forwards, 2) if one.meets(other)), None)


def _target(text: str) -> tuple[IPAddress, int | None]:
    """An address, in brackets if it is of IPv6, and perhaps a port. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return ip_address(text[1:-1]), None
    if text.count(":") == 0:
        return ip_address(text), None
    place = HostPort.parse(text)
    return ip_address(place.host), place.port
