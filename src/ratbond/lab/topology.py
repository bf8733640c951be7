"""Names and addresses of a lab, and the commands that make it so. Pure: nothing here touches the system.

::

     rb-NAME-cli                    rb-NAME-wan                     rb-NAME-srv
    ┌─────────────────┐      ┌────────────────────────┐      ┌──────────────────────┐
    │ wan1 10.77.1.2 ═╪══════╪═ cli1  (emulator) srv1 ═╪══════╪═ isp1 10.77.1.1      │
    │ wan2 10.77.2.2 ═╪══════╪═ cli2  (emulator) srv2 ═╪══════╪═ isp2 10.77.2.1      │
    │                 │      │                        │      │ lo   203.0.113.1     │
    └─────────────────┘      └────────────────────────┘      └──────────────────────┘

The emulator is a wire: it has no addresses, and the gateway of ``wan1`` is ``isp1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SERVER_IPV4 = "203.0.113.1"  # TEST-NET-3, RFC 5737
SERVER_IPV6 = "2001:db8:ffff::1"  # documentation prefix, RFC 3849

MAX_LINKS = 99
_FIRST_CLIENT_HOST = 2
_LAST_CLIENT_HOST = 254

# Settings of the kernel that a lab's hosts get. The IPv6 ones make addresses usable at once and let them survive an
# interface going down, as IPv4's do.
_HOST_SYSCTLS = (
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.keep_addr_on_down=1",
    "net.ipv6.conf.default.keep_addr_on_down=1",
)
# The emulator's ends are a wire's: a wire has nothing to say of its own.
_WIRE_SYSCTLS = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
# A provider drops packets whose source is not the address that it gave (BCP 38).
_SERVER_SYSCTLS = (*_HOST_SYSCTLS, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=1")


@dataclass(frozen=True)
class Namespaces:
    """The network namespaces of a lab."""

    client: str
    wan: str
    server: str

    @classmethod
    def of(cls, lab: str) -> Namespaces:
        """Name the namespaces of the lab of this name."""
        return cls(client=f"rb-{lab}-cli", wan=f"rb-{lab}-wan", server=f"rb-{lab}-srv")

    def __iter__(self) -> Iterator[str]:
        yield from (self.client, self.wan, self.server)


@dataclass(frozen=True)
class LinkPlan:
    """Names and addresses of one link, numbered from 1."""

    number: int
    subnet: int = 77
    client_host: int = _FIRST_CLIENT_HOST  # moves on with each new address

    @property
    def client_interface(self) -> str:
        """The client's WAN interface, which is also the link's name."""
        return f"wan{self.number}"

    @property
    def server_interface(self) -> str:
        """The far end, at the server."""
        return f"isp{self.number}"

    @property
    def client_port(self) -> str:
        """The emulator's end of the client's interface."""
        return f"cli{self.number}"

    @property
    def server_port(self) -> str:
        """The emulator's end of the server's interface."""
        return f"srv{self.number}"

    @property
    def client_ipv4(self) -> str:
        """The client's address on this link."""
        return f"10.{self.subnet}.{self.number}.{self.client_host}"

    @property
    def gateway_ipv4(self) -> str:
        """The next hop of the client's default route."""
        return f"10.{self.subnet}.{self.number}.1"

    @property
    def client_ipv6(self) -> str:
        """The client's IPv6 address on this link."""
        return f"2001:db8:{self.subnet}:{self.number}::{self.client_host:x}"

    @property
    def gateway_ipv6(self) -> str:
        """The next hop of the client's IPv6 default route."""
        return f"2001:db8:{self.subnet}:{self.number}::1"

    @property
    def client_mac(self) -> str:
        """Locally administered, so that neighbours can be written down before the interface exists."""
        return f"02:00:00:{self.subnet:02x}:{self.number:02x}:02"

    @property
    def server_mac(self) -> str:
        """The gateway's."""
        return f"02:00:00:{self.subnet:02x}:{self.number:02x}:01"

    @property
    def metric(self) -> int:
        """Of the default route: the first link is preferred."""
        return 100 * self.number

    def renumbered(self) -> LinkPlan:
        """Move on to the next client address."""
        following = self.client_host + 1 if self.client_host < _LAST_CLIENT_HOST else _FIRST_CLIENT_HOST
        return LinkPlan(self.number, self.subnet, following)


def sysctls(namespaces: Namespaces) -> dict[str, tuple[str, ...]]:
    """Choose the kernel's settings for each namespace."""
    return {
        namespaces.client: _HOST_SYSCTLS,
        namespaces.wan: _WIRE_SYSCTLS,
        namespaces.server: _SERVER_SYSCTLS,
    }


def wire_commands(link: LinkPlan) -> list[str]:
    """Make both cables of a link in the emulator's namespace."""
    return [
        f"link add {link.client_port} type veth peer name {link.client_interface} address {link.client_mac}",
        f"link add {link.server_port} type veth peer name {link.server_interface} address {link.server_mac}",
        f"link set {link.client_port} up",
        f"link set {link.server_port} up",
    ]


def plug_commands(link: LinkPlan, namespaces: Namespaces) -> list[str]:
    """Give the outer ends of the cables to client and server."""
    return [
        f"link set {link.client_interface} netns {namespaces.client}",
        f"link set {link.server_interface} netns {namespaces.server}",
    ]


def client_commands(link: LinkPlan) -> list[str]:
    """Address, gateway and default route of a link at the client."""
    return [
        f"link set {link.client_interface} up",
        *client_address_commands(link, "add"),
        *client_neighbour_commands(link),
        *default_route_commands(link, "replace"),
    ]


def client_address_commands(link: LinkPlan, verb: str) -> list[str]:
    """``add`` or ``del`` the client's addresses."""
    return [
        f"addr {verb} {link.client_ipv4}/24 dev {link.client_interface}",
        f"addr {verb} {link.client_ipv6}/64 dev {link.client_interface}"
        + (" nodad" if verb == "add" else ""),
    ]


def client_neighbour_commands(link: LinkPlan) -> list[str]:
    """Write the gateway down as a permanent neighbour: else a blackhole shows as an unreachable host."""
    return [
        f"neigh replace {gateway} lladdr {link.server_mac} dev {link.client_interface} nud permanent"
        for gateway in (link.gateway_ipv4, link.gateway_ipv6)
    ]


def default_route_commands(link: LinkPlan, verb: str) -> list[str]:
    """``replace`` or ``del`` the client's default routes over a link."""
    return [
        f"route {verb} default via {gateway} dev {link.client_interface} metric {link.metric}"
        for gateway in (link.gateway_ipv4, link.gateway_ipv6)
    ]


def server_commands(link: LinkPlan) -> list[str]:
    """Make the far end of a link, and the client's address known there."""
    return [
        f"link set {link.server_interface} up",
        f"addr add {link.gateway_ipv4}/24 dev {link.server_interface}",
        f"addr add {link.gateway_ipv6}/64 dev {link.server_interface} nodad",
        *server_neighbour_commands(link, "replace"),
    ]


def server_neighbour_commands(link: LinkPlan, verb: str) -> list[str]:
    """``replace`` or ``del`` the client as a permanent neighbour of the server."""
    tail = f"lladdr {link.client_mac} dev {link.server_interface}" + (
        " nud permanent" if verb != "del" else ""
    )
    return [f"neigh {verb} {address} {tail}" for address in (link.client_ipv4, link.client_ipv6)]


def public_address_commands() -> list[str]:
    """Give the server addresses that belong to no link."""
    return ["link set lo up", f"addr add {SERVER_IPV4}/32 dev lo", f"addr add {SERVER_IPV6}/128 dev lo"]
