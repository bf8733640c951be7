"""Two hosts with plain veth links between them: nothing shapes them, so that only programs and the kernel are measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ratbond.lab import Host
from ratbond.lab import host as hosts
from ratbond.lab.host import run

SERVER_IPV4 = "10.99.0.1"


@dataclass(frozen=True)
class Wires:
    """A client and a server; link n has 10.77.n.2 at the client and 10.77.n.1 at the server."""

    client: Host
    server: Host
    links: int

    def client_ipv4(self, link: int) -> str:
        """The client's address on a link."""
        return f"10.77.{link}.2"

    def server_ipv4(self, link: int) -> str:
        """The server's address on a link."""
        return f"10.77.{link}.1"


@contextmanager
def wired(links: int) -> Iterator[Wires]:
    """Make the hosts, and take them away with everything in them."""
    prefix = f"rb-fast-{os.getpid()}"
    wires = Wires(Host(f"{prefix}-c"), Host(f"{prefix}-s"), links)
    names = (wires.client.namespace, wires.server.namespace)
    try:
        for name in names:
            run(["ip", "netns", "add", name])
        wires.server.ip("link set lo up", f"address add {SERVER_IPV4}/32 dev lo")
        wires.client.ip("link set lo up")
        for link in range(1, links + 1):
            _connect(wires, link)
        yield wires
    finally:
        hosts.remove(names)
        wires.client.reap()
        wires.server.reap()


def _connect(wires: Wires, link: int) -> None:
    name = f"wan{link}"
    wires.server.ip(f"link add {name} type veth peer name {name} netns {wires.client.namespace}")
    wires.server.ip(f"address add {wires.server_ipv4(link)}/24 dev {name}", f"link set {name} up")
    wires.client.ip(
        f"address add {wires.client_ipv4(link)}/24 dev {name}",
        f"link set {name} up",
        f"route add default via {wires.server_ipv4(link)} dev {name} metric {100 + link}",
    )
