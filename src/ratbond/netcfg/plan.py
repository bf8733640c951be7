"""The plan: what one end of a tunnel wants of the system, as data. Pure.

What goes through the tunnel has a table of its own and four kinds of rules, all of one priority just above the
main table's, so that they come after everybody else's rules (the kernel numbers those of others downwards from there):

    from <a link's source> lookup main        what was sent from a WAN's address goes out as before
    to <the server> lookup main               and so does what is sent to the server itself
    lookup main suppress_prefixlength 0       all that main knows, but for its default routes: LANs, the WANs' subnets
    lookup <table>                            default dev tun660

With ``--route`` the last two are there for each network alone, those of the longest prefix first:

    to 198.51.100.0/24 lookup main suppress_prefixlength 24
    to 198.51.100.0/24 lookup <table>             198.51.100.0/24 dev tun660

so that what main knows more exactly, a LAN inside that network say, stays where it is, and what it knows as exactly or less does not.

With ``--no-leak`` the rules are there whether the bond is up or not, and the table says at its end that those networks are
unreachable: what finds no tunnel does not fall through to main's default routes. The rules by source are left out, since they
let through what is bound to a WAN's address.

So the WANs' own default routes stay where they are, the LAN stays reachable, and what others route by rules of their own
is left alone. The tunnel's own datagrams need none of it: their sockets are bound to their devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from ratbond.forward import PortForward
from ratbond.models import Family, IPAddress, IPInterface, IPNetwork

MAIN_TABLE = 254
RULE_PRIORITY = 32765  # the last before main's 32766; among equals the kernel keeps the order of their making
UPLINK_PRIORITY = 99  # matches only datagrams of sockets bound to a named device, to the server
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_TABLE_BASE = 0x7262_0000  # "rb": far from the numbers that people choose
_UPLINK_TABLE_BASE = 0x7263_0000


@dataclass(frozen=True, slots=True)
class Up:
    """Set a device up, with this MTU."""

    device: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Address:
    """Give a device an address."""

    device: str
    interface: IPInterface


@dataclass(frozen=True, slots=True)
class Route:
    """A route in one of our own tables, or to a network behind a client in the main one."""

    destination: IPNetwork
    device: str
    table: int
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Barrier:
    """The last route of one of our own tables: what found no other to this network does not go on to the next table."""

    destination: IPNetwork
    table: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule."""

    family: Family
    priority: int
    table: int
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    out_device: str | None = None
    suppress_prefix_length: int | None = None


@dataclass(frozen=True, slots=True)
class LooseReversePath:
    """Do not drop what arrives on a device although the way back leads elsewhere (RFC 3704, 2.4): rp_filter 2, where it was 1."""

    device: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Forward packets of this family between interfaces, which a host does not and a router does."""

    family: Family


@dataclass(frozen=True, slots=True)
class Translation:
    """Give packets between a tunnel and others the address of the interface that they leave through.

    ``owner`` names the end whose doing it is: an nftables table and comments carry it.
    """

    owner: str
    device: str
    towards_tunnel: (
        bool  # what enters the tunnel (a client, for its LAN), or what leaves it (a server, for its clients)
    )
    masquerade: bool = True  # all but what is routed; or nothing
    routed: tuple[
        IPNetwork, ...
    ] = ()  # behind this end, keep their addresses and may be reached from the other
    inside: tuple[IPNetwork, ...] = ()  # the tunnel's own networks


@dataclass(frozen=True, slots=True)
class PortForwards:
    """Lead ports of this host to hosts behind the peer. ``owner`` as of a :class:`Translation`, and not the same."""

    owner: str
    device: str
    forwards: tuple[PortForward, ...]


NatStep = Translation | PortForwards
Step = Up | Address | Route | Barrier | Rule | LooseReversePath | Forwarding | NatStep
Plan = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Uplink:
    """A WAN link, as far as the plan cares. ``gateway`` only where the kernel finds no such way by itself."""

    device: str
    source: IPAddress
    server: IPAddress
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an end of a tunnel wants at this moment."""

    tunnel_id: int
    tun: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()  # none before a peer has been met
    through: tuple[IPNetwork, ...] = ()  # the networks that go through the tunnel
    uplinks: tuple[Uplink, ...] = field(default=())
    families: tuple[Family, ...] = (Family.V4, Family.V6)  # that the kernel has switched on
    networks: tuple[IPNetwork, ...] = ()  # behind the peer
    translation: Translation | None = None
    forwards: PortForwards | None = None
    fenced: tuple[IPNetwork, ...] = ()  # the networks that are reached through the tunnel or not at all
    server: IPAddress | None = None  # where it is known without links


def plan(wanted: Wanted) -> Plan:
    """The steps, in the order in which they are to be done."""
    steps: list[Step] = [LooseReversePath(u.device) for u in wanted.uplinks if u.source.version == 4]
    for uplink in wanted.uplinks:
        steps += _way_to_server(wanted.tunnel_id, uplink)
    if wanted.addresses:
        steps.append(LooseReversePath(wanted.tun))
        steps += [Address(wanted.tun, i) for i in wanted.addresses if Family.of(i) in wanted.families]
        steps.append(Up(wanted.tun, wanted.mtu))
        steps += [
            Route(network, wanted.tun, MAIN_TABLE)
            for network in wanted.networks
            if Family.of(network) in wanted.families
        ]
        nat = [step for step in (wanted.translation, wanted.forwards) if step]
        if nat:
            steps += [Forwarding(family) for family in wanted.families]
            steps += nat
    for family in wanted.families:
        steps += _through_tunnel(wanted, family)
    return tuple(dict.fromkeys(steps))


def tunnel_addresses(
    network: IPv4Network, network6: IPv6Network, *, first: bool
) -> tuple[IPInterface, IPInterface]:
    """This end's addresses: the first or the second host of the /30 and of the /126."""
    host = 1 if first else 2
    return (
        ip_interface(f"{network[host]}/{network.prefixlen}"),
        ip_interface(f"{network6[host]}/{network6.prefixlen}"),
    )


def _through_tunnel(wanted: Wanted, family: Family) -> list[Step]:
    through = {n for n in wanted.through if Family.of(n) is family and wanted.addresses}
    fenced = {n for n in wanted.fenced if Family.of(n) is family}
    networks = sorted(through | fenced, key=lambda n: (-n.prefixlen, int(n.network_address)))
    if not networks:
        return []
    table = _TABLE_BASE + wanted.tunnel_id
    uplinks = [u for u in wanted.uplinks if Family.of(u.source) is family]
    sources = sorted({u.source for u in uplinks}, key=int) if not fenced else []
    servers = sorted({u.server for u in uplinks} | _known_server(wanted, family), key=int)
    steps: list[Step] = [Barrier(network, table) for network in networks if network in fenced]
    steps += [Route(network, wanted.tun, table) for network in networks if network in through]
    steps += [Rule(family, RULE_PRIORITY, MAIN_TABLE, source=ip_network(source)) for source in sources]
    steps += [Rule(family, RULE_PRIORITY, MAIN_TABLE, destination=ip_network(server)) for server in servers]
    for network in networks:
        to = network if network.prefixlen else None
        length = network.prefixlen
        steps += [
            Rule(family, RULE_PRIORITY, MAIN_TABLE, destination=to, suppress_prefix_length=length),
            Rule(family, RULE_PRIORITY, table, destination=to),
        ]
    return steps


def _known_server(wanted: Wanted, family: Family) -> set[IPAddress]:
    return {wanted.server} if wanted.server and Family.of(wanted.server) is family else set()


def _way_to_server(tunnel_id: int, uplink: Uplink) -> list[Step]:
    """A route to the server over a link's gateway, seen by sockets bound to that device alone."""
    if uplink.gateway is None:
        return []
    table = _UPLINK_TABLE_BASE + tunnel_id
    server = ip_network(uplink.server)
    family = Family.of(uplink.server)
    return [
        Route(server, uplink.device, table, uplink.gateway),
        Rule(family, UPLINK_PRIORITY, table, destination=server, out_device=uplink.device),
    ]
