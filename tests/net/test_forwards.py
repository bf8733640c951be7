"""Visitors of the server reach hosts behind the client.

::

    pc 192.168.99.2 ── client ═ the bond ═ server ── web 198.51.100.2

The web host is the visitor here; the pc serves. Both ends have firewalls that forward nothing by themselves.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ratbond.lab import Host
from tests.net.bond import PORT, RATBOND, Bond, End, until
from tests.net.hub import Hub, hub, pings
from tests.net.kernel_state import state
from tests.net.test_nat import FIREWALLS, Neighbours, around

__all__ = ["around", "hub"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

PC = {socket.AF_INET: "192.168.99.2", socket.AF_INET6: "2001:db8:99::2"}
SERVER = {socket.AF_INET: "198.51.100.1", socket.AF_INET6: "2001:db8:100::1"}
VISITOR = {socket.AF_INET: "198.51.100.2", socket.AF_INET6: "2001:db8:100::2"}
FORWARDS = (
    "tcp/8443 -> 192.168.99.2:443",
    "udp/5000-5010 -> 192.168.99.2",
    "tcp/8443 -> [2001:db8:99::2]:443",
    "udp/5000-5010 -> [2001:db8:99::2]",
)
KINDS = [(family, kind) for family in PC for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
FIREWALL = FIREWALLS["a table of nft that rejects"]


@contextmanager
def serving(host: Host) -> Iterator[None]:
    """Answers on tcp/443 and udp/5005 with the visitor's address."""
    sockets = []
    for family, kind in KINDS:
        listener = host.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((PC[family], 443 if kind is socket.SOCK_STREAM else 5005))
        listener.settimeout(0.2)
        if kind is socket.SOCK_STREAM:
            listener.listen()
        sockets.append(listener)
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                if listener.type is socket.SOCK_STREAM:
                    connection, visitor = listener.accept()
                    with connection:
                        connection.sendall(visitor[0].encode())
                else:
                    _, visitor = listener.recvfrom(100)
                    listener.sendto(visitor[0].encode(), visitor)
            except TimeoutError:
                continue

    threads = [threading.Thread(target=answer, args=(listener,)) for listener in sockets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for listener in sockets:
            listener.close()


def visit(visitor: Host, family: socket.AddressFamily, kind: socket.SocketKind) -> str:
    """What the host behind the client saw this visitor come from; empty if it did not answer."""
    with visitor.socket(family, kind) as caller:
        caller.settimeout(1)
        try:
            caller.connect((SERVER[family], 8443 if kind is socket.SOCK_STREAM else 5005))
            if kind is socket.SOCK_DGRAM:
                caller.send(b"who am I?")
            return caller.recv(100).decode()
        except OSError:
            return ""


def connects(visitor: Host, address: str, port: int) -> bool:
    with visitor.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.settimeout(1)
        return caller.connect_ex((address, port)) == 0


def flags(forwards: tuple[str, ...]) -> list[str]:
    return [f"--forward={forward}" for forward in forwards]


def reload(end: End, lines: str) -> None:
    """SIGHUP, and its answer in the log."""
    before = end.log.count(lines)
    end.process.send_signal(signal.SIGHUP)
    until(lambda: end.log.count(lines) > before, end)


def both_ends(around: Neighbours, server: list[str], client: list[str]) -> tuple[End, End]:
    ends = around.bond.server(*server), around.bond.client(*client)
    until(around.bond.ping, ends[1])
    return ends


def test_visitors_of_both_families_come_through_firewalls_and_are_seen_as_who_they_are(
    around: Neighbours,
) -> None:
    lab = around.bond.lab
    for end in (lab.client, lab.server):
        end.run("sh", "-ec", FIREWALL)
    before = state(lab.client), state(lab.server)
    server, client = both_ends(around, flags(FORWARDS), ["--nat", *(f"--lan={pc}" for pc in PC.values())])
    with serving(around.pc):
        for family, kind in KINDS:
            until(lambda f=family, k=kind: visit(around.web, f, k) == VISITOR[f], server)  # type: ignore[misc]
        assert around.reach("10.10.10.1"), "and the pc's own connections are translated or routed as before"
    assert not connects(around.web, SERVER[socket.AF_INET], 8444)
    assert client.stop() == 0
    assert server.stop() == 0
    assert (state(lab.client), state(lab.server)) == before


def test_a_routed_lan_keeps_its_addresses_and_others_are_translated(around: Neighbours) -> None:
    lab = around.bond.lab
    lab.client.run("sh", "-ec", FIREWALL)
    lab.server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    around.web.run("ip", "route", "add", "192.168.99.0/24", "via", "198.51.100.1")
    around.web.run("ip", "route", "add", "10.10.10.0/30", "via", "198.51.100.1")
    around.pc.run("ip", "address", "add", "192.168.99.3/24", "dev", "eth0")
    server, _ = both_ends(around, ["--lan=192.168.99.2"], ["--nat", "--lan=192.168.99.2"])

    def seen_as(source: str) -> str:
        with (
            around.web.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
            around.pc.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        ):
            listener.bind(("198.51.100.2", 7000))
            listener.settimeout(0.5)
            caller.bind((source, 0))
            caller.sendto(b"hello", ("198.51.100.2", 7000))
            address: str = listener.recvfrom(100)[1][0]
            return address

    until(lambda: seen_as("192.168.99.2") == "192.168.99.2", server)
    until(lambda: seen_as("192.168.99.3") == "10.10.10.2", server)
    ping = ("ping", "-c", "1", "-W", "1")
    assert around.web.run(*ping, "192.168.99.2", check=False).returncode == 0
    assert around.web.run(*ping, "192.168.99.3", check=False).returncode != 0


def test_a_masqueraded_visitor_is_answered_whatever_routes_the_host_and_the_client_have(
    around: Neighbours,
) -> None:
    """The pc has no default route, and the client sends nothing of its own through the tunnel."""
    for version in ("-4", "-6"):
        around.pc.run("ip", version, "route", "del", "default")
    masqueraded = tuple(f"{forward} masquerade" for forward in FORWARDS)
    lan = [f"--lan={pc}" for pc in PC.values()]
    server, _ = both_ends(around, flags(masqueraded), ["--no-default-route", *lan])
    with serving(around.pc):
        for family, kind in KINDS:
            until(lambda f=family, k=kind: visit(around.web, f, k) != "", server)  # type: ignore[misc]
        assert visit(around.web, socket.AF_INET, socket.SOCK_STREAM) == "192.168.99.1"


def test_a_reload_changes_forwards_and_not_the_bond(around: Neighbours) -> None:
    file = around.bond.file("server.toml")
    lines = {forward: f'forward = ["{forward}"]\n' for forward in FORWARDS}
    file.write_text(lines[FORWARDS[0]])
    server, client = both_ends(around, [f"--config={file}"], ["--nat"])
    with serving(around.pc):
        tcp, udp = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)
        until(lambda: visit(around.web, *tcp) == VISITOR[socket.AF_INET], server)
        assert not visit(around.web, *udp)
        file.write_text(lines[FORWARDS[1]])
        reload(server, "the configuration has changed")
        until(lambda: visit(around.web, *udp) == VISITOR[socket.AF_INET], server)
        assert not visit(around.web, *tcp)
        file.write_text("")
        reload(server, "the configuration has changed")
        until(lambda: "forwards" not in around.bond.lab.server.run("nft", "list", "ruleset").stdout, server)
        assert "192.168.99.2" not in around.bond.lab.server.run("ip", "route").stdout
    for accident in ("left the bond", "somebody has undone"):
        assert accident not in server.log + client.log


def test_what_a_killed_server_left_is_cleaned_at_its_next_start(around: Neighbours) -> None:
    host = around.bond.lab.server
    host.run("sh", "-ec", FIREWALL)
    before = state(host)
    killed, client = both_ends(around, flags(FORWARDS), ["--nat"])
    until(lambda: "dnat" in host.run("nft", "list", "ruleset").stdout, killed)
    client.stop()
    killed.stop(signal.SIGKILL)
    assert "server-660-forwards" in host.run("nft", "list", "ruleset").stdout
    again = around.bond.server()
    until(lambda: "listening" in again.log, again)
    again.stop()
    assert state(host) == before


def test_what_is_planned_is_what_is_done(around: Neighbours) -> None:
    host = around.bond.lab.server
    host.run("sh", "-ec", FIREWALL)
    before = state(host)
    script = host.run(*RATBOND, "plan", "server", *flags(FORWARDS)).stdout
    assert state(host) == before
    server, client = both_ends(around, flags(FORWARDS), [])
    bonded = sorted(state(host).splitlines())
    assert any("dnat" in line for line in bonded)
    client.stop()
    server.stop()
    host.run("sh", "-ec", script)
    assert sorted(state(host).splitlines()) == bonded


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (f"udp/{PORT} -> 192.168.99.2", f"port udp/{PORT} is ratbond's own"),
        ("tcp/20-30 -> 192.168.99.2", "port tcp/22 is ssh's"),
    ],
)
def test_a_port_that_is_in_use_is_one_line(bond: Bond, forward: str, said: str) -> None:
    with bond.lab.server.socket(socket.AF_INET, socket.SOCK_STREAM) as ssh:
        ssh.bind(("0.0.0.0", 22))
        ssh.listen()
        done = bond.lab.server.run(*RATBOND, "server", f"--forward={forward}", "--nosyslog", check=False)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "error" in line)
    assert said in line


def test_named_clients_have_forwards_of_their_own(hub: Hub) -> None:
    """Each leads to its client, a reload moves one, and one that takes another's port changes nothing."""
    words = [hub.invite("van", "--forward=tcp/8001 -> 192.168.8.10:80"), hub.invite("bus")]
    server = hub.serve()
    for number, word in enumerate(words, 1):
        end = hub.join(number, word)
        until(lambda n=number: pings(hub.clients[n - 1], f"10.66.0.{4 * n - 3}"), end)  # type: ignore[misc]
    for number, client in enumerate(hub.clients[:2]):
        client.ip(f"address add 192.168.{8 + number}.10/32 dev lo")
    visitor = hub.clients[2]

    def answered(port: int, at: int) -> bool:
        with hub.clients[at].socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((f"192.168.{8 + at}.10", 80))
            listener.listen()
            return connects(visitor, "203.0.113.1", port)

    until(lambda: answered(8001, 0), server)
    assert hub.status("van")["forwards"] == ["tcp/8001 -> 192.168.8.10:80"]
    hub.edit('name = "bus"\n', 'name = "bus"\nforward = ["tcp/8001 -> 192.168.9.10:80"]\n')
    hub.reload()
    assert "take the same port" in server.log
    assert answered(8001, 0)
    hub.edit('["tcp/8001 -> 192.168.9.10:80"]', '["tcp/8002 -> 192.168.9.10:80"]')
    hub.reload()
    until(lambda: answered(8002, 1), server)
    assert answered(8001, 0)
    hub.manage("revoke", "van")
    hub.reload()
    until(lambda: "dport 8001" not in hub.server.run("nft", "list", "ruleset").stdout, server)
    assert answered(8002, 1)
