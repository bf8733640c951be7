"""The command itself, both ends, over emulated WANs: what a user does, and what links do to them.

::

    rb-NAME-cli ── wan1 ═ emulator ═ isp1 ── rb-NAME-srv   the server's address is 203.0.113.1, behind both
                └─ wan2 ═ emulator ═ isp2 ─┘
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ratbond.lab import Host, Link
from tests.net.bond import PORT, RATBOND, TUNNEL_IPV6, Bond, UdpStream, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def state_of_system(host: Host) -> str:
    """All that an end may change."""
    return host.run(
        "sh", "-c",
        "ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all | grep -Ev 'fe80|multicast';"
        "ip -br link; nft list ruleset 2>/dev/null; sysctl -a 2>/dev/null | grep '[.]rp_filter'",
    ).stdout  # fmt: skip


def test_two_commands_make_a_bond_over_two_links_and_leave_nothing_behind(bond: Bond) -> None:
    before = state_of_system(bond.lab.client), state_of_system(bond.lab.server)
    server = bond.server()
    until(lambda: "listening" in server.log, server)
    assert "tun660" not in bond.lab.server.run("ip", "-br", "link").stdout  # only once a client has connected
    client = bond.client()
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    assert bond.ping()
    assert bond.ping(TUNNEL_IPV6)
    assert "10.10.10.1/30" in bond.lab.server.run("ip", "-br", "address", "show", "tun660").stdout
    assert (client.stop(), server.stop(signal.SIGINT)) == (0, 0)
    assert (state_of_system(bond.lab.client), state_of_system(bond.lab.server)) == before


@pytest.mark.parametrize("address", ["10.10.10.1", TUNNEL_IPV6])
def test_tcp_goes_through_in_both_families(bond: Bond, address: str) -> None:
    bond.up()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = bond.lab.server.socket(family, socket.SOCK_STREAM)
    caller = bond.lab.client.socket(family, socket.SOCK_STREAM)
    with listener, caller:
        listener.bind((address, 7000))
        listener.listen()
        caller.settimeout(20)
        caller.connect((address, 7000))
        callee, _ = listener.accept()
        data = os.urandom(300_000)
        sender = threading.Thread(target=caller.sendall, args=(data,))
        sender.start()
        with callee:
            callee.settimeout(20)
            got = bytearray()
            while len(got) < len(data):
                got += callee.recv(65536)
        sender.join()
    assert got == data


LEAVING: dict[str, Callable[[Link], AbstractContextManager[None]]] = {
    "interface down": Link.interface_pulled,
    "carrier lost": Link.carrier_lost,
    "default route withdrawn": Link.route_withdrawn,
}


@pytest.mark.parametrize("reason", LEAVING)
def test_a_link_that_leaves_is_named_with_its_reason_and_joins_again(bond: Bond, reason: str) -> None:
    server, client = bond.up()
    with LEAVING[reason](bond.lab.links[1]):
        until(lambda: client.links_up() == ["wan1"] and len(server.links_up()) == 1, client)
        assert bond.ping()
    until(lambda: client.links_up() == ["wan1", "wan2"] and len(server.links_up()) == 2, client)
    assert bond.ping()
    assert re.search(rf'link left the bond link=wan2 links_up=1 why="?{reason}', client.log), client.log
    assert re.search(r"link left the bond .*links_up=1", server.log), server.log


def test_a_silent_blackhole_is_noticed_and_its_end_too(bond: Bond) -> None:
    server, client = bond.up()
    with bond.lab.links[0].blackhole():
        until(lambda: client.links_up() == ["wan2"] and len(server.links_up()) == 1, client)
        assert bond.ping()
    until(lambda: client.links_up() == ["wan1", "wan2"], client)


def test_an_interface_set_down_under_a_udp_stream_loses_nothing(bond: Bond) -> None:
    _, client = bond.up()
    stream = UdpStream(bond.lab)
    for link in bond.lab.links:  # one of them carries it
        with link.interface_pulled():
            until(lambda: len(client.links_up()) == 1, client)
        until(lambda: len(client.links_up()) == 2, client)
    assert stream.finish() == set()


def test_the_default_route_is_the_tunnel_exactly_while_the_bond_is_up(bond: Bond) -> None:
    def way(destination: str) -> str:
        return bond.lab.client.run("ip", "route", "get", destination).stdout

    assert " dev wan1 " in way("198.51.100.9")
    server, client = bond.up()
    until(lambda: " dev tun660 " in way("198.51.100.9") and " dev tun660 " in way("2001:db8:9::9"), client)
    assert " dev wan1 " in way(bond.lab.server_ipv4)
    server.stop()
    until(lambda: " dev wan1 " in way("198.51.100.9"), client)
    bond.server()
    until(lambda: " dev tun660 " in way("198.51.100.9"), client)


def test_no_packet_of_the_tunnel_ever_travels_inside_it(bond: Bond) -> None:
    """Routes to the server come and go, with the tunnel as the only way left; its own datagrams must not take it."""
    _, client = bond.up()
    # Made deaf: with a protocol it would hear every device until it is bound to one.
    ear = bond.lab.client.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    ear.bind(("tun660", 3))
    ear.setblocking(False)
    inside: list[bytes] = []
    for link in bond.lab.links:
        with link.route_withdrawn():
            until(lambda: len(client.links_up()) == 1, client)
            bond.ping()
        until(lambda: len(client.links_up()) == 2, client)
    with bond.lab.links[0].route_withdrawn(), bond.lab.links[1].route_withdrawn():
        until(lambda: client.links_up() == [], client)
    until(lambda: len(client.links_up()) == 2, client)
    while True:
        try:
            inside.append(ear.recv(65536))
        except BlockingIOError:
            break
    ear.close()
    server = socket.inet_aton(bond.lab.server_ipv4)
    assert inside, "the pings went through the tun"
    # To a datagram for a socket that has just been closed the kernel answers, by what route is left: port unreachable.
    kernels = bytes([3, 3])
    assert not [
        packet
        for packet in inside
        if packet[0] >> 4 == 4
        and server in (packet[12:16], packet[16:20])
        and not (packet[9] == socket.IPPROTO_ICMP and packet[20:22] == kernels)
    ]


def test_what_a_route_leads_to_the_server_through_the_tunnel_is_dropped_and_counted(bond: Bond) -> None:
    """The worst that a rule can do: the server's address, before all else, by the tunnel. The bond must not mind."""
    server, client = bond.up()
    host = bond.lab.client
    host.ip(
        f"route add {bond.lab.server_ipv4} dev tun660 table 4242",
        f"rule add to {bond.lab.server_ipv4} lookup 4242 pref 5",
    )
    assert " dev tun660 " in host.run("ip", "route", "get", bond.lab.server_ipv4).stdout
    for link in bond.lab.links:  # sockets that are made now must not take that way either
        with link.route_withdrawn():
            until(lambda: len(client.links_up()) == 1, client)
        until(lambda: client.links_up() == ["wan1", "wan2"] and len(server.links_up()) == 2, client)
    assert client.status()["sessions"][0]["own_drops"] == 0
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        for _ in range(20):
            stray.sendto(b"a tunnel in the tunnel", (bond.lab.server_ipv4, PORT))
    until(lambda: client.status()["sessions"][0]["own_drops"] == 20, client)
    assert "through the tunnel itself" in host.run(*RATBOND, "status").stdout
    assert "refused" not in server.log
    assert bond.ping()


def test_a_renumbered_link_joins_again_with_its_new_address(bond: Bond) -> None:
    _, client = bond.up()
    address = bond.lab.links[1].renumber()
    until(lambda: address in json.dumps(client.status()) and client.links_up() == ["wan1", "wan2"], client)
    assert bond.ping()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_restarts_has_its_client_back(bond: Bond, number: signal.Signals) -> None:
    server, client = bond.up()
    server.stop(number)
    server = bond.server()
    until(lambda: len(server.links_up()) == 2 and len(client.links_up()) == 2, client)
    assert bond.ping()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_restarts_is_back(bond: Bond, number: signal.Signals) -> None:
    before = state_of_system(bond.lab.client)
    server, client = bond.up()
    client.stop(number)
    client = bond.client()
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    until(bond.ping, client)
    until(lambda: len(server.links_up()) == 2, server)
    client.stop()
    assert state_of_system(bond.lab.client) == before


def test_a_client_started_before_its_wans_and_its_server_joins_when_it_can(bond: Bond) -> None:
    for link in bond.lab.links:
        link.interface_down()
    client = bond.client()
    until(lambda: "no WAN link" in client.log, client)
    bond.lab.links[0].interface_up()
    until(lambda: "no answer from" in client.log, client)
    bond.server()
    until(lambda: client.links_up() == ["wan1"], client)
    bond.lab.links[1].interface_up()
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    until(bond.ping, client)


def test_two_tunnels_live_side_by_side_on_one_host(bond: Bond) -> None:
    bond.up()
    other = ("--tunnel-id=990", "--tunnel-ip=10.10.10.40/30", "--http-listen-addr=127.0.0.1:8092")
    bond.server(*other, "--listen-addr=0.0.0.0:5432")
    second = bond.start(
        bond.lab.client, "client", f"--connect-addr={bond.lab.server_ipv4}:5432", "--tun-name=tun1", *other
    )
    until(lambda: bond.ping("10.10.10.41"), second)
    assert bond.ping("10.10.10.1")
    assert "10.10.10.42/30" in bond.lab.client.run("ip", "-br", "address", "show", "tun1").stdout
    assert second.stop() == 0
    assert bond.ping("10.10.10.1")
    assert " dev tun660 " in bond.lab.client.run("ip", "route", "get", "198.51.100.9").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["server", "--listen-addr=198.51.100.77:1"], "198.51.100.77"),
        (["client", "--connect-addr=192.0.2.1:1", "--tunnel-ip=10.0.0.0/29"], "/30"),
        (["client", "--connect-addr=192.0.2.1:1", "--tun-name=wan1"], "wan1"),
    ],
)
def test_what_cannot_work_is_one_line_and_changes_nothing(
    bond: Bond, arguments: list[str], words: str
) -> None:
    host = bond.lab.client
    before = state_of_system(host)
    done = host.run(*RATBOND, *arguments, "--nosyslog", check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ratbond: error: ")]
    assert done.returncode in {1, 2}
    assert len(errors) == 1, done.stderr
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert state_of_system(host) == before


def test_a_taken_port_is_one_line(bond: Bond) -> None:
    taken = bond.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("0.0.0.0", PORT))
    done = bond.lab.server.run(*RATBOND, "server", "--nosyslog", check=False)
    taken.close()
    assert done.returncode == 1
    assert str(PORT) in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_without_rights_gets_more_than_one_line(bond: Bond) -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    done = bond.lab.client.run(*command, *RATBOND, "client", "--connect-addr=192.0.2.1:1", check=False)
    assert done.returncode == 1
    assert "root" in done.stderr
    assert done.stderr.startswith("ratbond: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("server_flags", "client_flags", "words"),
    [
        (["--tunnel-id=660"], ["--tunnel-id=700"], "give both ends the same --tunnel-id"),
        (["--tunnel-id=660"], ["--tunnel-id=661"], "give both ends the same --tunnel-id"),
        (["--aes", "--secret=one"], ["--aes", "--secret=other"], "give both ends the same --secret"),
        ([], ["--aes", "--secret=one"], "--aes to both or none"),
        ([], ["--secret=a passphrase for sealed links"], "give both ends the same --secret"),
        (["--secret=a passphrase for sealed links"], [], "it is no bond/1: give both ends the same"),
    ],
)
def test_ends_that_do_not_fit_say_so_at_both(
    bond: Bond, server_flags: list[str], client_flags: list[str], words: str
) -> None:
    server, client = bond.server(*server_flags), bond.client(*client_flags)
    until(lambda: words in server.log, server)
    until(
        lambda: "no answer from" in client.log and "--tunnel-id" in client.log and "--aes" in client.log,
        client,
    )
    assert client.links_up() == []


def test_a_name_is_looked_up_again_while_the_server_is_gone(bond: Bond, tmp_path: Path) -> None:
    """The server moves to another address; its name is all that the client was given."""
    hosts = tmp_path / "hosts"
    hosts.write_text("198.51.100.1 vps.example\n")
    bond.server()
    own_hosts = ("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts; exec "$@"', "sh")
    client = bond.start(bond.lab.client, "client", f"--connect-addr=vps.example:{PORT}", wrapper=own_hosts)
    until(lambda: "no answer from vps.example" in client.log, client)
    hosts.write_text(f"{bond.lab.server_ipv4} vps.example\n")
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
