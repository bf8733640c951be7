"""Reads the kernel's interfaces, addresses and default routes (rtnetlink(7)) into a :class:`Snapshot`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from typing import Any, cast

from ratbond.links.model import Address, DefaultRoute, Device, Snapshot
from ratbond.models import Family, IPAddress

_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40
_IFA_F_SECONDARY = 0x01  # IPv6: IFA_F_TEMPORARY
_IFA_F_UNUSABLE = 0x08 | 0x20 | 0x40  # DADFAILED, DEPRECATED, TENTATIVE
_IFA_F_OPTIMISTIC = 0x04  # tentative, yet usable (RFC 4429)
_RT_SCOPE_LINK = 253
_RTN_UNICAST = 1
_RTNH_F_DEAD_OR_LINKDOWN = 1 | 16
_ANSWER_WITHIN_S = 5.0

Message = dict[str, Any]


async def read_snapshot() -> Snapshot:
    """Asks the kernel for everything, once.

    Devices come last: the kernel marks one as down or gone before it takes its routes and addresses away, so that
    of a change between two of these dumps the cause is seen whenever an effect is.
    """
    from pyroute2 import AsyncIPRoute

    async with AsyncIPRoute() as netlink:
        routes = [
            route
            for family in (socket.AF_INET, socket.AF_INET6)
            async for m in _dump(netlink, "route", family=family)
            for route in default_routes_of(m)
        ]
        addresses = [address_of(m) async for m in _dump(netlink, "addr")]
        devices = [device_of(m) async for m in _dump(netlink, "link")]
    return Snapshot(tuple(devices), tuple(addresses), tuple(routes))


async def gateway_towards(destination: IPAddress, source: IPAddress, index: int) -> IPAddress | None:
    """The gateway that the kernel takes for a socket bound to this source and device; None for "it is on the link".

    A kernel that finds no route on the device assumes just that (ip_route_output_key_hash_rcu), and sends into the void.
    Raises OSError when the kernel does not answer.
    """
    from pyroute2 import AsyncIPRoute, NetlinkError

    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    async with asyncio.timeout(_ANSWER_WITHIN_S), AsyncIPRoute() as netlink:
        try:
            answer = await netlink.route(
                "get", family=family, dst=str(destination), src=str(source), oif=index
            )
            messages = [message async for message in answer] if hasattr(answer, "__aiter__") else list(answer)
        except NetlinkError:
            return None
    return _gateway(_attributes(messages[0])) if messages else None


async def _dump(netlink: Any, what: str, **filters: int) -> AsyncIterator[Message]:
    async for message in await getattr(netlink, what)("dump", **filters):
        yield message


def _attributes(message: Message) -> dict[str, Any]:
    return dict(message.get("attrs", ()))


def device_of(message: Message) -> Device:
    """An RTM_NEWLINK message."""
    attributes = _attributes(message)
    info = _attributes(attributes.get("IFLA_LINKINFO", {}))
    flags = message["flags"]
    return Device(
        index=message["index"],
        name=attributes["IFLA_IFNAME"],
        kind=info.get("IFLA_INFO_KIND", ""),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_RUNNING),
        loopback=bool(flags & _IFF_LOOPBACK),
        port_of=info.get("IFLA_INFO_SLAVE_KIND", ""),
    )


def address_of(message: Message) -> Address:
    """An RTM_NEWADDR message. IFA_LOCAL is ours where IFA_ADDRESS is the other end (point to point)."""
    attributes = _attributes(message)
    flags = int(attributes.get("IFA_FLAGS") or message["flags"])
    return Address(
        index=message["index"],
        address=ip_address(attributes.get("IFA_LOCAL") or attributes["IFA_ADDRESS"]),
        prefix_length=message["prefixlen"],
        secondary=bool(flags & _IFA_F_SECONDARY),
        usable=not flags & _IFA_F_UNUSABLE or bool(flags & _IFA_F_OPTIMISTIC),
        link_local=message["scope"] >= _RT_SCOPE_LINK,
    )


def default_routes_of(message: Message) -> Iterator[DefaultRoute]:
    """An RTM_NEWROUTE message: nothing, one next hop, or several (multipath)."""
    if message["dst_len"] != 0 or message["src_len"] != 0 or message["type"] != _RTN_UNICAST:
        return
    attributes = _attributes(message)
    hops = attributes.get("RTA_MULTIPATH") or [
        {"attrs": message["attrs"], "flags": message["flags"], "oif": attributes.get("RTA_OIF", 0)}
    ]
    for hop in hops:
        hop_attributes = _attributes(hop)
        if not hop["oif"]:
            continue  # a nexthop object or an "unreachable": no device of its own
        yield DefaultRoute(
            index=hop["oif"],
            family=Family.V4 if message["family"] == socket.AF_INET else Family.V6,
            table=int(attributes.get("RTA_TABLE") or message["table"]),
            metric=attributes.get("RTA_PRIORITY", 0),
            gateway=_gateway(hop_attributes),
            preferred_source=_optional_address(attributes.get("RTA_PREFSRC")),
            dead=bool((hop["flags"] | message["flags"]) & _RTNH_F_DEAD_OR_LINKDOWN),
        )


def _gateway(attributes: dict[str, Any]) -> IPAddress | None:
    """RTA_GATEWAY, or RTA_VIA for an IPv4 route over an IPv6 gateway (RFC 5549)."""
    via = attributes.get("RTA_VIA")
    return _optional_address(via["addr"] if via else attributes.get("RTA_GATEWAY"))


def _optional_address(text: object) -> IPAddress | None:
    return ip_address(cast("str", text)) if text else None
