"""What stands against a port forward on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from ratbond.clients.model import ClientEntry
from ratbond.config import ServerConfig
from ratbond.errors import RatbondError
from ratbond.netcfg.listeners import Listener, listeners


def refuse_taken(config: ServerConfig, entries: Iterable[ClientEntry]) -> None:
    """Raises RatbondError when a forward takes a port that this machine itself listens on."""
    wanted = [
        (f"client {entry.name}: ", forward)
        for entry in entries
        if not entry.revoked
        for forward in entry.forward
    ]
    wanted += [("", forward) for forward in config.forward]
    if not wanted:
        return
    taken = [Listener("udp", config.listen_addr.port, "ratbond's own")]
    if config.http_listen_addr:
        taken.append(Listener("tcp", config.http_listen_addr.port, "the status server's"))
    taken += listeners()
    for whose, forward in wanted:
        for listener in taken:
            if forward.takes(listener.protocol, listener.port):
                raise RatbondError(
                    f'{whose}forward "{forward}": port {listener.protocol}/{listener.port} is {listener.whose} on this machine, '
                    "and nobody would reach it any more; choose another port"
                )
