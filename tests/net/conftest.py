"""Network namespaces for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from ratbond.lab import Lab
from tests.net.bond import Bond, offload_as_asked

__all__ = ["offload_as_asked"]

Shell = Callable[[str], str]


def shell(command: str) -> str:
    """Runs a line in a shell, in the present namespace, and gives its output; fails with its error."""
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture
def inside_namespace() -> Iterator[Shell]:
    """This very process, moved into a namespace of its own for the test:

    lan 192.168.99.1/24 ── (this namespace) ── wan1 10.0.1.2/24, gateway 10.0.1.1
                                            └─ wan2 10.0.2.2/24, gateway 10.0.2.1
    The far ends of the veth pairs lie in the same namespace, without addresses.
    """
    name = f"rb-daemon-{os.getpid()}"
    netns.create(name)
    netns.pushns(name)
    try:
        shell("ip link set lo up")
        for device, address in (("lan", "192.168.99.1/24"), ("wan1", "10.0.1.2/24"), ("wan2", "10.0.2.2/24")):
            shell(
                f"ip link add {device} type veth peer name {device}-far; ip link set {device} up; ip link set {device}-far up"
            )
            shell(f"ip address add {address} dev {device}")
        yield shell
    finally:
        netns.popns()
        netns.remove(name)


# Of the documentation's `iperf3 -P 6 -R -t 60`: what a whole run of the tests has time for, unless asked for all of it.
DOCUMENTED_SECONDS = int(os.environ.get("RATBOND_DOCUMENTED_SECONDS", "4"))


def as_documented(lab: Lab) -> None:
    """The stock documentation's example: each WAN in a table of its own, a rule by source, and main knows but the LAN.

    The server has the address that the documentation's commands connect to.
    """
    lab.server.ip("addr add 1.1.1.1/32 dev lo")
    lab.client.run("sh", "-c", "ip route flush 0/0; ip -6 route flush ::/0 2>/dev/null || true")
    lab.client.ip("tuntap add lan mode tap", "link set lan up", "addr add 192.168.99.14/24 dev lan")
    for table, link in zip((6, 7), lab.links, strict=True):
        subnet = link.ipv4.rpartition(".")[0] + ".0/24"
        lab.client.ip(
            f"route add {subnet} dev {link.name} table {table} scope link src {link.ipv4} metric {table}",
            f"route add default via {link.gateway_ipv4} dev {link.name} table {table} src {link.ipv4} metric {table}",
            f"rule add from {link.ipv4} lookup {table} pref 10000",
            f"route del {subnet} dev {link.name} table main",
        )


@pytest.fixture
def bond(tmp_path: Path) -> Iterator[Bond]:
    """Two links of 50 Mbit/s and 20 ms, and whatever the test starts at their ends."""
    with Lab.up(["50mbit,20ms", "50mbit,20ms"], name=f"bond{os.getpid()}") as lab:
        made = Bond(lab, tmp_path)
        yield made
        made.close()
