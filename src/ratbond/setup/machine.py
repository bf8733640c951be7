"""What this machine looks like to somebody who sets ratbond up: its WANs, its LANs, its own address. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_interface

from ratbond.links.choice import LinkPolicy, choose_links
from ratbond.links.model import MAIN_TABLE, Snapshot, WanLink
from ratbond.models import Family, IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class Lan:
    """A network of this machine that is no WAN."""

    device: str
    network: IPNetwork


def wans(snapshot: Snapshot, left_out: Iterable[str] = ()) -> list[WanLink]:
    """The links that a client would take by itself."""
    policy = LinkPolicy(families=(Family.V4, Family.V6), left_out=frozenset(left_out))
    return choose_links(snapshot, policy)


def lans(snapshot: Snapshot) -> list[Lan]:
    """The IPv4 networks whose hosts may want to use the bond."""
    outside = {link.index for link in wans(snapshot)} | {r.index for r in snapshot.default_routes}
    found = []
    for address in snapshot.addresses:
        device = snapshot.device_at(address.index)
        inside = (
            device is not None
            and device.up
            and not device.loopback
            and device.kind not in {"tun", "wireguard"}
        )
        if device and inside and address.index not in outside and address.address.version == 4:
            network = ip_interface(f"{address.address}/{address.prefix_length}").network
            if network.prefixlen < network.max_prefixlen - 1:
                found.append(Lan(device.name, network))
    return found


def own_address(snapshot: Snapshot) -> IPAddress | None:
    """The address by which others find this machine: a public one if there is any, else that of the default route."""
    routes = sorted(
        (r for r in snapshot.default_routes if r.table == MAIN_TABLE and not r.dead),
        key=lambda r: (r.family, r.metric),
    )
    usable = [a for a in snapshot.addresses if a.usable and not a.link_local and not a.address.is_loopback]
    ranked = [
        a.address for r in routes for a in usable if a.index == r.index and a.address.version == r.family
    ]
    public = [a.address for a in usable if a.address.is_global]
    return next(iter([*(a for a in ranked if a.is_global), *public, *ranked]), None)
