"""Two machines on a port without keys, see hub.py: the newer has it, and the older stays out until the newer is gone."""

from __future__ import annotations

import time

import pytest

from tests.net.bond import until
from tests.net.hub import PORT, SERVER, Hub, hub, pings

__all__ = ["hub"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

INSIDE = "10.10.10.1"
SETTLED_S = 5.0  # they took turns every two seconds


@pytest.mark.parametrize("flags", [(), ("--aes", "--secret=verysecret")], ids=["plain", "aes"])
def test_the_newer_of_two_machines_keeps_the_port_and_the_older_stays_out(
    hub: Hub, flags: tuple[str, ...]
) -> None:
    server = hub.start(hub.server, "server", *flags)
    until(lambda: "listening" in server.log, server)
    connect = ("client", f"--connect-addr={SERVER}:{PORT}", *flags)
    first = hub.start(hub.clients[0], *connect)
    until(lambda: pings(hub.clients[0], INSIDE), first)

    second = hub.start(hub.clients[1], *connect)
    until(lambda: "another client has connected to this port since" in server.log, server)
    until(lambda: "give each machine a port of its own" in server.log, server)
    until(lambda: pings(hub.clients[1], INSIDE), second)
    time.sleep(SETTLED_S)
    links = [link["remote"] for session in server.status()["sessions"] for link in session["links"]]
    assert [link.partition(":")[0] for link in links] == ["198.18.2.2"]
    assert "left the bond" not in second.log
    assert not pings(hub.clients[0], INSIDE, "-I", "tun660")

    assert second.stop() == 0
    until(lambda: pings(hub.clients[0], INSIDE), first)
