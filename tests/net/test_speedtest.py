"""`ratbond speedtest` over emulated links: what it says is what the emulator was told.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import Lab
from tests.net.bond import PORT, RATBOND, SWITCHES, Bond, End, until
from tests.net.hub import Hub, hub, pings

__all__ = ["hub"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

LINKS = {"wan1": ("down=40mbit,up=16mbit,20ms", 40e6, 16e6), "wan2": ("down=20mbit,up=8mbit,30ms", 20e6, 8e6)}
SHORT = ("--seconds=1", "--json")


@pytest.fixture
def bond(tmp_path: Path) -> Iterator[Bond]:
    """Two links that differ, down and up, and the secret of both ends."""
    with Lab.up([spec for spec, *_ in LINKS.values()], name=f"speed{os.getpid()}") as lab:
        made = Bond(lab, tmp_path)
        secret = made.file("secret")
        secret.touch(mode=0o600)
        secret.write_text("5a" * 32)
        yield made
        made.close()


def sealed(bond: Bond) -> str:
    return f"--secret-file={bond.file('secret')}"


def up(bond: Bond, *flags: str) -> tuple[End, End]:
    server, client = bond.server(sealed(bond)), bond.client(sealed(bond), *flags)
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    return server, client


def speedtest(bond: Bond, *flags: str) -> dict[str, Any]:
    done = bond.lab.client.run(*RATBOND, "speedtest", *SHORT, *flags)
    assert done.stderr == "", "no bar where there is no terminal"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def holds(measured: float, told: float) -> bool:
    """TCP's data is 7.5 % less than what the emulator counts: headers of the tunnel's and of its own."""
    return 0.85 * told <= measured <= told


def test_each_link_alone_and_the_bond_are_what_the_links_can_carry(bond: Bond) -> None:
    _, client = up(bond)
    found = speedtest(bond, "--seconds=3")
    for link in found["links"]:
        _, down, sent = LINKS[link["name"]]
        assert holds(link["alone"]["down_bps"], down), found
        assert holds(link["alone"]["up_bps"], sent), found
        assert 0 < link["used_bytes"] < 2 * (down + sent) * 4.5 / 8 * 1.2
    assert holds(found["bond"]["down_bps"], 60e6), found
    assert holds(found["bond"]["up_bps"], 24e6), found
    assert found["verdict"][0].startswith("Down: the bond adds ")
    assert "wan1 alone" in found["verdict"][1]
    assert {link["tier"] for link in client.status()["sessions"][0]["links"]} == {"primary"}


def tiers(client: End) -> dict[str, str]:
    return {link["name"]: link["tier"] for link in client.status()["sessions"][0]["links"]}


def test_a_test_that_is_killed_leaves_the_links_as_they_were(bond: Bond) -> None:
    _, client = up(bond)
    running = bond.lab.client.popen(*RATBOND, "speedtest", *SHORT, stdout=subprocess.DEVNULL)
    until(lambda: tiers(client) == {"wan1": "primary", "wan2": "backup"}, client)
    second = bond.lab.client.run(*RATBOND, "speedtest", *SHORT, check=False)
    assert second.returncode == 1
    assert second.stderr == "ratbond: error: another speedtest is running\n"
    running.send_signal(signal.SIGKILL)
    running.wait()
    until(lambda: tiers(client) == {"wan1": "primary", "wan2": "primary"}, client)


def test_a_link_that_costs_is_left_out_unless_asked_for(bond: Bond) -> None:
    """And nobody else's user steers the links."""
    up(bond, "--wan=wan2,tier=backup")
    found = speedtest(bond, "--seconds=3")
    links = {link["name"]: link for link in found["links"]}
    assert (links["wan2"]["alone"], links["wan2"]["why_not"]) == (
        None,
        "it is a backup; --metered measures it",
    )
    assert links["wan2"]["used_bytes"] < 100_000
    assert holds(links["wan1"]["alone"]["down_bps"], 40e6)
    stranger = ("setpriv", "--reuid=65534", "--clear-groups", *RATBOND, "speedtest", *SHORT)
    refused = bond.lab.client.run(*stranger, check=False)
    assert refused.returncode == 1
    assert "ratbond: error: the client does not answer any more: has it ended, or is this not its user?\n" in refused.stderr  # fmt: skip


def test_it_connects_by_itself_where_no_client_runs(bond: Bond) -> None:
    server = bond.server(sealed(bond))
    until(lambda: "listening" in server.log, server)
    before = bond.lab.client.run("sh", "-c", "ip rule; ip route show table all; ip -br link").stdout
    address = f"--connect-addr={bond.lab.server_ipv4}:{PORT}"
    found = speedtest(bond, "--seconds=3", sealed(bond), address, "--no-wan=wan2", *SWITCHES)
    (link,) = found["links"]
    assert holds(link["alone"]["down_bps"], 40e6)
    assert found["verdict"] == [
        "With fewer than two links measured there is nothing to compare the bond with."
    ]
    assert bond.lab.client.run("sh", "-c", "ip rule; ip route show table all; ip -br link").stdout == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((["--no-speedtest"], True), "is it older, or run with --no-speedtest?"),
        (([], False), "the links are not sealed"),
    ],
)
def test_a_server_that_does_not_measure_is_one_line(
    bond: Bond, flags: tuple[list[str], bool], said: str
) -> None:
    own, is_sealed = flags
    both = [sealed(bond)] if is_sealed else []
    server, client = bond.server(*both, *own), bond.client(*both)
    until(lambda: len(client.links_up()) == 2 and bond.ping(), client)
    done = bond.lab.client.run(*RATBOND, "speedtest", *SHORT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ratbond: error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    del server


def test_only_a_client_inside_its_own_tunnel_reaches_it(hub: Hub) -> None:
    """For a bounded time, and not over its WAN."""
    words = [hub.invite("van"), hub.invite("bus")]
    hub.serve()
    for number, word in enumerate(words, 1):
        end = hub.join(number, word)
        until(lambda n=number: pings(hub.clients[n - 1], f"10.66.0.{4 * n - 3}"), end)  # type: ignore[misc]

    def answer(address: str, request: bytes, device: str) -> bytes:
        with hub.clients[0].socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            caller.settimeout(2)
            try:
                caller.connect((address, 8093))
                caller.sendall(request)
                return caller.recv(100)
            except OSError as error:
                return type(error).__name__.encode()

    assert answer("10.66.0.1", b"ratbond-speedtest/1 down 100\n", "tun1001").startswith(b"ok\n")
    assert (
        answer("10.66.0.1", b"GET / HTTP/1.1\n", "tun1001") == b"no this is ratbond's speedtest, version 1\n"
    )
    assert answer("10.66.0.1", b"ratbond-speedtest/1 down 99000\n", "tun1001") == b"no at most 40000 ms\n"
    assert answer("203.0.113.1", b"ratbond-speedtest/1 down 100\n", "wan1") == b"ConnectionRefusedError"
    begin_s = time.monotonic()
    with hub.clients[0].socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        caller.settimeout(5)
        caller.connect(("10.66.0.1", 8093))
        caller.sendall(b"ratbond-speedtest/1 up 300\n")
        while caller.recv(1000):
            assert time.monotonic() < begin_s + 5
    assert time.monotonic() > begin_s + 0.3
