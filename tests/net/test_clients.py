"""Named clients on one server, see hub.py: each with a key, a tun and addresses of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time

import pytest

from tests.net.bond import until
from tests.net.hub import Hub, hub, pings

__all__ = ["hub"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]


def test_each_client_has_a_tun_of_its_own_once_it_has_connected(hub: Hub) -> None:
    words = [hub.invite("van"), hub.invite("bus")]
    server = hub.serve()
    assert hub.devices() == set()
    van = hub.join(1, words[0])
    until(lambda: pings(hub.clients[0], "10.66.0.1"), van)
    assert hub.devices() == {"tun1001"}
    bus = hub.join(2, words[1])
    until(lambda: pings(hub.clients[1], "10.66.0.5"), bus)
    assert hub.devices() == {"tun1001", "tun1002"}
    addresses = hub.status("bus")["addresses"]
    assert addresses[0] == "10.66.0.6"
    until(lambda: pings(hub.server, addresses[1]), server)
    assert [hub.status(name)["state"] for name in ("van", "bus")] == ["up", "up"]
    text = server.host.run("sh", "-c", "curl -s 127.0.0.1:8091/status.txt || true").stdout
    assert not text or "van" in text
    for end in (server, van, bus):
        assert end.status()["warnings"] == []
        assert "sealed" in end.status()["encryption"]
    for number in (0, 1):
        assert hub.ends[number + 1].stop() == 0
    until(lambda: [hub.status(name)["state"] for name in ("van", "bus")] == ["down", "down"], server)


def test_a_source_that_is_not_the_clients_is_dropped_and_counted(hub: Hub) -> None:
    word = hub.invite("van")
    server = hub.serve()
    van = hub.join(1, word)
    until(lambda: pings(hub.clients[0], "10.66.0.1"), van)
    hub.clients[0].ip("address add 10.99.0.1/32 dev lo")
    hub.server.ip("route add 10.99.0.1/32 dev tun1001")  # so that an answer would find its way
    assert not pings(hub.clients[0], "10.66.0.1", "-I", "10.99.0.1")
    assert hub.status("van")["spoofed_drops"] >= 1
    hub.edit('name = "van"\n', 'name = "van"\nlan = ["10.99.0.1/32"]\n')
    hub.reload()
    until(lambda: pings(hub.clients[0], "10.66.0.1", "-I", "10.99.0.1"), server)
    assert van.status()["sessions"][0]["up"]


def test_clients_reach_each_other_only_once_both_may(hub: Hub) -> None:
    words = [hub.invite("van"), hub.invite("bus")]
    server = hub.serve()
    hub.server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for number, word in enumerate(words, 1):
        end = hub.join(number, word)
        until(lambda number=number: pings(hub.clients[number - 1], f"10.66.0.{number * 4 - 3}"), end)  # type: ignore[misc]
    assert not pings(hub.clients[0], "10.66.0.6")
    assert hub.status("van")["other_client_drops"] >= 1
    hub.edit('name = "van"\n', 'name = "van"\nclient_to_client = true\n')
    hub.reload()
    assert not pings(hub.clients[0], "10.66.0.6")
    hub.edit('name = "bus"\n', 'name = "bus"\nclient_to_client = true\n')
    hub.reload()
    until(lambda: pings(hub.clients[0], "10.66.0.6") and pings(hub.clients[1], "10.66.0.2"), server)


def test_adding_and_revoking_on_sighup_touches_nobody_else(hub: Hub) -> None:
    words = [hub.invite("van"), hub.invite("bus", "--lan=192.168.7.0/24")]
    server = hub.serve()
    van, bus = hub.join(1, words[0]), hub.join(2, words[1])
    until(lambda: pings(hub.clients[0], "10.66.0.1") and pings(hub.clients[1], "10.66.0.5"), bus)
    assert "192.168.7.0/24 dev tun1002" in hub.server.run("ip", "route").stdout
    stream = hub.clients[0].popen(
        "ping", "-i", "0.02", "-c", "400", "-q", "10.66.0.1", stdout=subprocess.PIPE, text=True
    )

    word = hub.invite("car")
    hub.manage("revoke", "bus")
    hub.reload()
    assert not pings(hub.clients[1], "10.66.0.5")
    until(lambda: hub.devices() == {"tun1001"}, server)
    assert hub.status("bus")["state"] == "revoked"
    assert "192.168.7.0/24" not in hub.server.run("ip", "route").stdout
    until(lambda: "revoked" in bus.log, bus)
    car = hub.join(3, word)
    until(lambda: pings(hub.clients[2], "10.66.0.9"), car)

    hub.edit("[server]", "[server")
    hub.reload()
    assert server.log.count("the clients are as before") == 1
    hub.edit("[server", "[server]")

    again = hub.invite("bus")
    hub.reload()
    bus.stop()
    bus = hub.join(2, again)
    until(lambda: pings(hub.clients[1], "10.66.0.5"), bus)
    assert "192.168.7.0/24 dev tun1002" in hub.server.run("ip", "route").stdout
    output, _ = stream.communicate(timeout=60)
    assert " 0% packet loss" in output, output
    assert "left the bond" not in van.log
    assert server.stop() == 0
    assert hub.devices() == set()


def test_a_second_machine_with_the_same_key_takes_over_and_it_is_logged(hub: Hub) -> None:
    word = hub.invite("van")
    server = hub.serve()
    first = hub.join(1, word)
    until(lambda: pings(hub.clients[0], "10.66.0.1"), first)
    second = hub.join(2, word)
    until(lambda: pings(hub.clients[1], "10.66.0.1"), second)
    until(lambda: "two machines use one key" in server.log, server)
    assert "client=van" in next(line for line in server.log.splitlines() if "two machines" in line)
    until(lambda: "newer session has taken its place" in first.log, first)
    until(lambda: "another process with the same key has connected since" in first.log, first)
    assert "the bond is down" not in second.log, "the older one stays out"
    assert second.stop() == 0
    until(lambda: pings(hub.clients[0], "10.66.0.1"), first, limit_s=60)


def test_a_cap_holds_for_one_client_in_both_directions(hub: Hub) -> None:
    words = [hub.invite("van", "--up=4mbit", "--down=8mbit"), hub.invite("bus")]
    hub.serve()
    for number, word in enumerate(words, 1):
        end = hub.join(number, word)
        until(lambda number=number: pings(hub.clients[number - 1], f"10.66.0.{number * 4 - 3}"), end)  # type: ignore[misc]
    up = flood(hub, 0, to_server=True)
    down = flood(hub, 0, to_server=False)
    assert up <= 4_400_000
    assert down <= 8_800_000
    assert min(up, down) > 1_000_000
    assert hub.status("van")["cap_drops"] > 0
    free = flood(hub, 1, to_server=True)
    assert free > 2 * up
    assert hub.status("bus")["cap_drops"] == 0


def flood(hub: Hub, client: int, *, to_server: bool) -> float:
    """Rate in bit/s of IP packets that came out of a flood of UDP, by the span that it came in."""
    inside, outside = f"10.66.0.{client * 4 + 2}", f"10.66.0.{client * 4 + 1}"
    here, there = (hub.clients[client], hub.server) if to_server else (hub.server, hub.clients[client])
    source, destination = (inside, outside) if to_server else (outside, inside)
    receiver, sender = (host.socket(socket.AF_INET, socket.SOCK_DGRAM) for host in (there, here))
    receiver.bind((destination, 7000))
    receiver.settimeout(1)
    sender.bind((source, 7001))
    arrivals: list[tuple[float, int]] = []

    def receive() -> None:
        try:
            while True:
                arrivals.append((time.monotonic(), len(receiver.recv(2048)) + 28))
        except TimeoutError:
            return

    thread = threading.Thread(target=receive)
    thread.start()
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s:
        for _ in range(5):
            sender.sendto(bytes(1200), (destination, 7000))
        time.sleep(0.002)
    thread.join()
    sender.close()
    receiver.close()
    settled = [
        (at_s, size) for at_s, size in arrivals if at_s > arrivals[0][0] + 0.5
    ]  # after the bucket's depth
    return 8 * sum(size for _, size in settled) / (settled[-1][0] - settled[0][0])


def test_a_clients_file_that_is_wrong_is_one_line_and_nothing_starts(hub: Hub) -> None:
    hub.invite("van")
    hub.file.chmod(0o640)
    server = hub.start(hub.server, "server", f"--clients-file={hub.file}")
    assert server.process.wait(timeout=20) == 2
    assert "run: chmod 600" in server.log
    hub.file.chmod(0o600)
    hub.server.ip("address add 10.66.0.1/24 dev lo")
    server = hub.start(hub.server, "server", f"--clients-file={hub.file}")
    assert server.process.wait(timeout=20) == 1
    assert "client van: 10.66.0.0/30 is in use: lo has 10.66.0.1" in server.log
    assert hub.ends[-1].log.count("ratbond: error: ") == 1


def test_a_server_that_restarts_has_its_clients_back(hub: Hub) -> None:
    word = hub.invite("van")
    server = hub.serve()
    van = hub.join(1, word)
    until(lambda: pings(hub.clients[0], "10.66.0.1"), van)
    server.stop(signal.SIGKILL)
    hub.serve()
    until(lambda: pings(hub.clients[0], "10.66.0.1"), van)
