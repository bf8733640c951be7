"""What a new client gets: the lowest tunnel-id and the first networks of the pools that nobody has. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from ratbond.clients.model import Clients
from ratbond.errors import RatbondError

_FIRST_TUNNEL_ID: Final = 1001  # leaves 660 and its neighbours to servers with one secret
_LAST_TUNNEL_ID: Final = 65_525


@dataclass(frozen=True, slots=True)
class Place:
    """A tunnel-id and its networks."""

    tunnel_id: int
    ip: IPv4Network
    ip6: IPv6Network | None


def next_place(clients: Clients) -> Place:
    """A place that no client has, a revoked one included. Raises RatbondError when there is none."""
    ids = {entry.tunnel_id for entry in clients.client}
    tunnel_id = next((n for n in range(_FIRST_TUNNEL_ID, _LAST_TUNNEL_ID + 1) if n not in ids), None)
    if tunnel_id is None:
        raise RatbondError("there is no tunnel-id left; remove clients from the file")
    return Place(tunnel_id, _next_ip(clients), _ip6(clients.server.pool6, tunnel_id))


def new_pool6() -> IPv6Network:
    """A unique local /48 with a random global id (RFC 4193, section 3.2)."""
    return IPv6Network((0xFD << 120 | secrets.randbits(40) << 80, 48))


def _next_ip(clients: Clients) -> IPv4Network:
    pool = clients.server.pool
    taken = [n for entry in clients.client for n in entry.networks if isinstance(n, IPv4Network)]
    inside = sorted((n for n in taken if n.overlaps(pool)), key=lambda n: int(n.network_address))
    first = int(pool.network_address)
    for network in inside:  # sorted and without overlaps: the first gap of four addresses is free
        if first + 3 < int(network.network_address):
            break
        first = max(first, (int(network.broadcast_address) + 4) // 4 * 4)
    if first + 3 > int(pool.broadcast_address):
        raise RatbondError(
            f"the pool {pool} has no /30 left; write a larger one into [server] of the clients file"
        )
    return IPv4Network((first, 30))


def _ip6(pool: IPv6Network | None, tunnel_id: int) -> IPv6Network | None:
    """The tunnel-id names a /64 of the pool, where it is large enough; its first /126 is the client's."""
    if pool is None or 1 << (64 - pool.prefixlen) <= tunnel_id:
        return None
    return IPv6Network((int(pool.network_address) | tunnel_id << 64, 126))
