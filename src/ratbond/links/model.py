"""The kernel's picture of the network, reduced to what the choice of WAN links needs; and a chosen link."""

from __future__ import annotations

from dataclasses import dataclass

from ratbond.models import Family, IPAddress

MAIN_TABLE = 254
LOCAL_TABLE = 255


@dataclass(frozen=True, slots=True)
class Device:
    """A network interface."""

    index: int
    name: str
    kind: str  # IFLA_INFO_KIND: "veth", "wireguard", "tun", "ppp"; "" for plain hardware
    up: bool  # set up by the administrator (IFF_UP)
    carrier: bool  # able to carry packets (IFF_RUNNING)
    loopback: bool = False
    port_of: str = ""  # IFLA_INFO_SLAVE_KIND: "bridge", "bond", "vrf"; "" when it has no master


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface."""

    index: int
    address: IPAddress
    prefix_length: int
    secondary: bool = False  # IPv4: not the first of its subnet; IPv6: temporary (RFC 8981)
    usable: bool = True  # neither tentative, deprecated nor found to be a duplicate
    link_local: bool = False


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """One next hop of a default route; a multipath route is several of these."""

    index: int
    family: Family
    table: int
    metric: int
    gateway: IPAddress | None = None
    preferred_source: IPAddress | None = None
    dead: bool = False  # RTNH_F_DEAD or RTNH_F_LINKDOWN: the kernel will not use it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at one moment."""

    devices: tuple[Device, ...] = ()
    addresses: tuple[Address, ...] = ()
    default_routes: tuple[DefaultRoute, ...] = ()

    def device_named(self, name: str) -> Device | None:
        """The device of that name."""
        return next((d for d in self.devices if d.name == name), None)

    def device_at(self, index: int) -> Device | None:
        """The device of that index."""
        return next((d for d in self.devices if d.index == index), None)


@dataclass(frozen=True, slots=True)
class WanLink:
    """A way to the Internet. It is its device: two modems with the same subnet and address are two links."""

    index: int
    device: str
    source: IPAddress
    gateway: IPAddress | None  # None: point to point, or on the link
    named: bool = False  # by the user

    @property
    def family(self) -> Family:
        """The family of its source address."""
        return Family.of(self.source)
