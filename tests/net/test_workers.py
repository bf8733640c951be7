"""A server whose named clients are shared among several threads, see hub.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.net.bond import End, until
from tests.net.hub import PORT, Hub, hub, pings

__all__ = ["hub"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

_NICENESS_FIELD = 16  # of /proc/PID/stat behind the name


def workers(end: End) -> dict[int, int]:
    """The threads that carry packets, and how nice each is."""
    found = {}
    for thread in Path(f"/proc/{end.process.pid}/task").iterdir():
        if (thread / "comm").read_text() == "ratbond-worker\n":
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            found[int(thread.name)] = int(fields[_NICENESS_FIELD])
    return found


def sockets(hub: Hub) -> int:
    return len(hub.server.run("ss", "-Huln", f"sport = :{PORT}").stdout.splitlines())


def test_clients_are_served_by_the_worker_that_is_theirs(hub: Hub) -> None:
    words = [hub.invite(name) for name in ("van", "bus", "car")]
    server = hub.serve("--workers=3")
    assert sorted(workers(server).values()) == [-10, -10, -10]
    assert sockets(hub) == 3
    ends = [hub.join(number, word) for number, word in enumerate(words, 1)]
    for number, (host, end) in enumerate(zip(hub.clients, ends, strict=True)):
        until(lambda host=host, number=number: pings(host, f"10.66.0.{4 * number + 1}"), end)  # type: ignore[misc]
    assert [hub.status(name)["state"] for name in ("van", "bus", "car")] == ["up"] * 3
    # Each process puts a number of its own into its first datagrams, so they come to any of the workers.
    for _ in range(5):
        ends[0].process.kill()
        ends[0].process.wait()
        ends[0] = hub.join(1, words[0])
        until(lambda: pings(hub.clients[0], "10.66.0.1"), ends[0])
    for name, number in (("bus", 2), ("car", 3)):
        assert pings(hub.clients[number - 1], f"10.66.0.{4 * number - 3}"), name
    hub.manage("revoke", "car")
    hub.reload()
    assert not pings(hub.clients[2], "10.66.0.9")
    assert hub.status("car")["state"] == "revoked"
    assert pings(hub.clients[0], "10.66.0.1")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert sockets(hub) == 0


def test_a_port_is_one_servers_alone(hub: Hub) -> None:
    """Although workers share it: only those of one process do."""
    hub.invite("van")
    listen = f"--listen-addr=0.0.0.0:{PORT}"
    many, one = (f"--clients-file={hub.file}", "--workers=2"), ("--secret=c3c3c3c3c3c3c3c3",)
    for first, second in ((many, one), (one, many)):
        holder = hub.start(hub.server, "server", listen, *first)
        until(lambda: "listening" in holder.log, holder)  # noqa: B023 (it is called at once)
        comer = hub.start(hub.server, "server", listen, *second)
        assert comer.process.wait(10) == 1
        assert "the port is taken" in comer.log, comer.log
        assert holder.stop() == 0


def test_a_server_that_serves_one_client_has_one_worker(hub: Hub) -> None:
    server = hub.start(hub.server, "server", "--secret=c3c3c3c3c3c3c3c3", f"--listen-addr=0.0.0.0:{PORT}")
    until(lambda: "listening" in server.log, server)
    assert len(workers(server)) == 1
