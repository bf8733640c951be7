"""With --no-leak nothing that is for the tunnel goes another way, whatever happens to the bond.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv, which also is the host 198.51.100.7 and counts what comes for it outside the tunnel
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.net.bond import PORT, RATBOND, Bond, End, until
from tests.net.kernel_state import state

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HOST = "198.51.100.7"
HOST6 = "2001:db8:100::7"
COUNTERS = f"""
table inet watch {{
  counter leaked {{}}
  chain input {{
    type filter hook input priority 0
    iifname != "tun660" ip daddr {HOST} counter name leaked
    iifname != "tun660" ip6 daddr {HOST6} counter name leaked
  }}
}}
"""


class Watch:
    """Sends to the host all the while, from wherever the kernel likes and from a WAN's address, and counts what came outside."""

    def __init__(self, bond: Bond) -> None:
        self._bond = bond
        bond.lab.server.ip(f"address add {HOST}/32 dev lo", f"address add {HOST6}/128 dev lo")
        bond.lab.server.run("nft", COUNTERS)
        self._senders: list[subprocess.Popen[bytes]] = []

    def leaked(self) -> int:
        listing = self._bond.lab.server.run("nft", "-j", "list", "counter", "inet", "watch", "leaked").stdout
        return int(next(e["counter"]["packets"] for e in json.loads(listing)["nftables"] if "counter" in e))

    def begin(self) -> None:
        for options in ((HOST,), (HOST6,), ("-I", self._bond.lab.link("wan1").ipv4, HOST)):
            self._senders.append(
                self._bond.lab.client.popen(
                    "sh", "-c", 'while :; do ping -q -i 0.02 -c 20 -W 1 "$@"; done', "sh", *options,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip

    def end(self) -> None:
        for sender in self._senders:
            sender.kill()
            sender.wait()


@pytest.fixture
def watch(bond: Bond) -> Iterator[Watch]:
    made = Watch(bond)
    yield made
    made.end()


def fenced(bond: Bond, client: End) -> None:
    until(
        lambda: "unreachable default" in bond.lab.client.run("ip", "route", "show", "table", "all").stdout,
        client,
    )


def test_nothing_leaks_whatever_happens_to_the_bond(bond: Bond, watch: Watch) -> None:
    host = bond.lab.client
    assert bond.ping(HOST)
    outside = watch.leaked()
    assert outside > 0, "the counter counts"
    before = state(host)

    client = bond.client("--no-leak")  # and no server yet
    fenced(bond, client)
    already = watch.leaked()
    watch.begin()
    assert not bond.ping(HOST)
    assert not bond.ping(HOST6)
    assert bond.ping(bond.lab.links[0].gateway_ipv4), "the WAN's own network is not for the tunnel"

    server = bond.server()
    until(lambda: bond.ping(HOST) and bond.ping(HOST6), client)
    with ExitStack() as pulled:
        for link in bond.lab.links:
            pulled.enter_context(link.interface_pulled())
        until(lambda: "the bond is down" in client.log, client)
    until(lambda: bond.ping(HOST), client)

    client.process.kill()
    client.process.wait()
    assert not bond.ping(HOST)
    client = bond.client("--no-leak")
    until(lambda: bond.ping(HOST), client)
    assert server.stop() == 0
    until(lambda: "the bond is down" in client.log, client)
    assert watch.leaked() == already
    watch.end()
    assert client.stop() == 0
    assert state(host) == before
    assert bond.ping(HOST)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((f"--connect-addr=vps.example.org:{PORT}",), "give the server's address"),
        ((f"--connect-addr=192.0.2.1:{PORT}", "--no-default-route"), "--route NETWORK"),
    ],
)
def test_what_cannot_be_kept_is_refused(bond: Bond, arguments: tuple[str, ...], words: str) -> None:
    done = bond.lab.client.run(*RATBOND, "client", "--no-leak", *arguments, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr


def test_an_interrupt_takes_the_fence_away(bond: Bond) -> None:
    before = state(bond.lab.client)
    client = bond.client("--no-leak", "--route=198.51.100.0/24")
    until(
        lambda: (
            "unreachable 198.51.100.0/24" in bond.lab.client.run("ip", "route", "show", "table", "all").stdout
        ),
        client,
    )
    assert client.stop(signal.SIGINT) == 0
    assert state(bond.lab.client) == before
