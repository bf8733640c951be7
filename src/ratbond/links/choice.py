"""Which interfaces are WAN links. Pure: a snapshot and a policy go in, links and reasons come out.

The rules, first to last:

1. What the user names is a link, whatever it is, as soon as it is up and has an address; what the user leaves out
   is none. The tunnel's own device never is, not even when named.
2. Every device with a default route outside the main table is a link: somebody has set up policy routing.
3. If there is no such route, every device with a default route in the main table is one, whatever the metric.
4. Loopback, WireGuard, tun and tap devices, bridge and bond ports, and addresses inside the tunnel never are.
5. A device that is down or has no carrier is none, nor is one whose default route the kernel calls dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ratbond.links.model import LOCAL_TABLE, MAIN_TABLE, Address, DefaultRoute, Device, Snapshot, WanLink
from ratbond.models import Family, IPAddress, IPNetwork, WanSpec

_TUNNEL_KINDS = frozenset({"tun", "tap", "wireguard", "ifb"})


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """What the user and the tunnel want of the choice."""

    families: tuple[Family, ...] = (Family.V4,)  # of the server's addresses, best first
    named: tuple[WanSpec, ...] = ()
    left_out: frozenset[str] = frozenset()
    own_devices: frozenset[str] = frozenset()  # the tunnel's
    tunnel_networks: tuple[IPNetwork, ...] = ()
    keep_sources: Mapping[int, IPAddress] = field(
        default_factory=dict
    )  # by device index: in use, kept while valid


def choose_links(snapshot: Snapshot, policy: LinkPolicy) -> list[WanLink]:
    """The WAN links, at most one a device, in the order of the devices' indices."""
    specs = {spec.device: spec for spec in policy.named}
    links = []
    for device in sorted(snapshot.devices, key=lambda d: d.index):
        for family in policy.families:
            link = _link_of(snapshot, policy, device, family, specs.get(device.name))
            if link:
                links.append(link)
                break
    return links


def why_not(snapshot: Snapshot, policy: LinkPolicy, index: int) -> str:
    """Why the device that was a link is none any more, in a few words for the log."""
    device = snapshot.device_at(index)
    if device is None:
        return "interface gone"
    if not device.up:
        return "interface down"
    if not device.carrier:
        return "carrier lost"
    if device.name in policy.left_out:
        return "left out by --no-wan"
    routes = [r for r in snapshot.default_routes if r.index == index and r.family in policy.families]
    is_named = any(spec.device == device.name for spec in policy.named)
    if not is_named and not _candidates(snapshot, policy, routes):
        return "carrier lost" if any(r.dead for r in routes) else "default route withdrawn"
    if not any(a.index == index and a.usable for a in snapshot.addresses):
        return "address removed"
    return "no longer a WAN"


def why_not_yet(snapshot: Snapshot, policy: LinkPolicy, spec: WanSpec) -> str:
    """Why an interface that the user names is no link yet, in a few words for the log."""
    device = snapshot.device_named(spec.device)
    if device is None:
        return "there is no such interface yet"
    if not device.up:
        return "it is down"
    if not device.carrier:
        return "it has no carrier"
    families = " or ".join(f"IPv{family}" for family in policy.families)
    return f"it does not have the address {spec.address}" if spec.address else f"it has no {families} address"


def _link_of(
    snapshot: Snapshot, policy: LinkPolicy, device: Device, family: Family, spec: WanSpec | None
) -> WanLink | None:
    if not (device.up and device.carrier) or device.name in policy.own_devices | policy.left_out:
        return None
    if spec is None and not _may_be_wan(device):
        return None
    routes = [r for r in snapshot.default_routes if r.index == device.index and r.family == family]
    usable = _candidates(snapshot, policy, routes)
    if spec is None and not usable:
        return None
    route = usable[0] if usable else None
    source = _source(snapshot, policy, device, family, route, spec)
    if source is None:
        return None
    gateway = route.gateway if route else None
    if spec and spec.gateway and Family.of(spec.gateway) == family:
        gateway = spec.gateway
    return WanLink(device.index, device.name, source, gateway, named=spec is not None)


def _may_be_wan(device: Device) -> bool:
    return (
        not device.loopback and device.kind not in _TUNNEL_KINDS and device.port_of not in {"bridge", "bond"}
    )


def _candidates(snapshot: Snapshot, policy: LinkPolicy, routes: Iterable[DefaultRoute]) -> list[DefaultRoute]:
    """Those of the routes that make a link, best metric first."""
    policy_routing = any(_outside_main(snapshot, policy, route) for route in snapshot.default_routes)
    alive = [r for r in routes if not r.dead and r.table != LOCAL_TABLE]
    if policy_routing:
        alive = [r for r in alive if r.table != MAIN_TABLE]
    return sorted(alive, key=lambda r: (r.metric, r.table))


def _outside_main(snapshot: Snapshot, policy: LinkPolicy, route: DefaultRoute) -> bool:
    """Whether the route shows that policy routing is set up; a VPN's own table does not."""
    device = snapshot.device_at(route.index)
    if device is None or device.name in policy.own_devices or not _may_be_wan(device):
        return False
    return route.table not in {MAIN_TABLE, LOCAL_TABLE}


def _source(
    snapshot: Snapshot,
    policy: LinkPolicy,
    device: Device,
    family: Family,
    route: DefaultRoute | None,
    spec: WanSpec | None,
) -> IPAddress | None:
    """The address to send from, as the kernel would choose it, steady while the one in use stays valid."""
    own = [
        a
        for a in snapshot.addresses
        if a.index == device.index and Family.of(a.address) == family and a.usable and not a.link_local
        and not any(a.address in network for network in policy.tunnel_networks)
    ]  # fmt: skip
    valid = {a.address for a in own}
    if spec and spec.address:
        return spec.address if spec.address in valid else None
    if route and route.preferred_source in valid:
        return route.preferred_source
    kept = policy.keep_sources.get(device.index)
    if kept in valid:
        return kept
    gateway = spec.gateway if spec and spec.gateway else route.gateway if route else None
    best = min(own, key=lambda a: (a.secondary, not _on_link(a, gateway)), default=None)
    return best.address if best else None


def _on_link(address: Address, gateway: IPAddress | None) -> bool:
    """Whether the gateway lies in the address's subnet."""
    if gateway is None or gateway.version != address.address.version:
        return False
    shift = address.address.max_prefixlen - address.prefix_length
    return int(address.address) >> shift == int(gateway) >> shift
