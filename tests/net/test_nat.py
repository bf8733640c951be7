"""Others use the tunnel through its two ends.

::

    pc 192.168.99.2 ── client ═ the bond ═ server ── web 198.51.100.2

The pc knows only its router, the web host only the server's address in its own net: both work because of --nat.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from ratbond.lab import Host
from tests.net.bond import Bond, until
from tests.net.conftest import shell

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

WEB = "198.51.100.2"
WEB6 = "2001:db8:100::2"

FW4 = """
table inet fw4 {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    jump handle_reject
  }
  chain handle_reject {
    reject
  }
}
"""
FIREWALLS = {
    "none": "true",
    "a table of nft that rejects": f"nft -f - <<'E'\n{FW4}\nE",
    "iptables, as docker and ufw leave it": "for t in iptables ip6tables; do $t -P FORWARD DROP; $t -N USER; "
    "$t -A FORWARD -j USER; $t -A USER -m conntrack --ctstate INVALID -j DROP; $t -A USER -j RETURN; done",
}


class Neighbours:
    """A host behind each end."""

    def __init__(self, bond: Bond) -> None:
        self.bond = bond
        self.pc = self._behind(bond.lab.client, "pc", "192.168.99", "2001:db8:99:")
        self.web = self._behind(bond.lab.server, "web", "198.51.100", "2001:db8:100:")

    def _behind(self, router: Host, name: str, net: str, net6: str) -> Host:
        host = Host(f"rb-{name}{os.getpid()}")
        for command in (
            f"ip netns add {host.namespace}",
            f"ip -n {host.namespace} link set lo up",
            f"ip -n {router.namespace} link add to-{name} type veth peer name eth0 netns {host.namespace}",
            f"ip -n {router.namespace} address add {net}.1/24 dev to-{name}",
            f"ip -n {router.namespace} address add {net6}:1/64 dev to-{name} nodad",
            f"ip -n {router.namespace} link set to-{name} up",
            f"ip -n {host.namespace} address add {net}.2/24 dev eth0",
            f"ip -n {host.namespace} address add {net6}:2/64 dev eth0 nodad",
            f"ip -n {host.namespace} link set eth0 up",
        ):
            shell(command)
        if name == "pc":
            host.run("ip", "route", "add", "default", "via", f"{net}.1")
            host.run("ip", "-6", "route", "add", "default", "via", f"{net6}:1")
        return host

    def remove(self) -> None:
        for host in (self.pc, self.web):
            shell(f"ip netns del {host.namespace}")

    def reach(self, destination: str) -> bool:
        return self.pc.run("ping", "-c", "1", "-W", "1", destination, check=False).returncode == 0

    def up(self, *flags: str) -> None:
        self.bond.up("--nat", *flags)


@pytest.fixture
def around(bond: Bond) -> Iterator[Neighbours]:
    neighbours = Neighbours(bond)
    yield neighbours
    neighbours.remove()


def what_nat_changes(host: Host) -> str:
    return host.run(
        "sh", "-c",
        "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//';"
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding;"
        "sysctl -a 2>/dev/null | grep accept_ra' ='",
    ).stdout  # fmt: skip


@pytest.mark.parametrize("firewall", FIREWALLS.values(), ids=FIREWALLS)
def test_a_pc_behind_the_client_reaches_a_host_behind_the_server(around: Neighbours, firewall: str) -> None:
    ends = around.bond.lab.client, around.bond.lab.server
    for end in ends:
        end.run("sh", "-ec", f"{firewall}\nsysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    before = [what_nat_changes(end) for end in ends]
    around.up()
    until(lambda: around.reach(WEB) and around.reach(WEB6))
    for process in around.bond.ends:
        process.stop()
    assert [what_nat_changes(end) for end in ends] == before


def test_the_pc_comes_with_the_routers_addresses(around: Neighbours) -> None:
    around.up()
    listener = around.web.socket(socket.AF_INET, socket.SOCK_DGRAM)
    caller = around.pc.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, caller:
        listener.bind((WEB, 7000))
        listener.settimeout(0.2)
        heard: list[str] = []

        def said_and_heard() -> bool:
            caller.sendto(b"hello", (WEB, 7000))
            heard.append(listener.recvfrom(100)[1][0])
            return True

        until(said_and_heard)
    assert heard == ["198.51.100.1"]


def test_nobody_from_outside_is_let_in(around: Neighbours) -> None:
    """The way through a firewall is for what the LAN and the clients began, and for its answers."""
    for end in (around.bond.lab.client, around.bond.lab.server):
        end.run("sh", "-ec", FIREWALLS["a table of nft that rejects"])
    around.up()
    until(lambda: around.reach(WEB))
    around.web.run("ip", "route", "add", "192.168.99.0/24", "via", "198.51.100.1")
    around.bond.lab.server.run("ip", "route", "add", "192.168.99.0/24", "dev", "tun660")
    refused = around.web.run("ping", "-c", "2", "-W", "1", "192.168.99.2", check=False)
    assert refused.returncode != 0


def test_what_a_firewalls_reload_has_swept_away_is_put_back(around: Neighbours) -> None:
    server = around.bond.lab.server
    around.up()
    until(lambda: around.reach(WEB))
    server.run("sh", "-ec", f"nft flush ruleset\n{FIREWALLS['a table of nft that rejects']}")
    assert not around.reach(WEB)
    server.ip("route add 203.0.113.128/25 dev lo")  # any change: the next look at the system is due
    until(lambda: around.reach(WEB))


def test_what_a_killed_end_left_is_cleaned_at_the_next_start(around: Neighbours) -> None:
    server = around.bond.lab.server
    server.run("sh", "-ec", FIREWALLS["a table of nft that rejects"])
    before = what_nat_changes(server)
    around.up()
    assert what_nat_changes(server) != before
    killed, client = around.bond.ends
    client.stop()  # or it would be back at once, and all of it with it
    killed.stop(signal.SIGKILL)
    again = around.bond.server()
    until(lambda: "listening" in again.log, again)
    assert what_nat_changes(server) == before
