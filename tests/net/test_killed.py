"""kill -9 at random moments of every phase: the next start cleans up, and after a clean stop all is as before.

::

    rb-NAME-cli ─ wan1, wan2 ═ emulator ═ rb-NAME-srv     strict reverse paths, rules and a firewall of others' at both ends

A run of CI tries a few moments. ``pytest tests/net/test_killed.py --moments=20 --seed=7`` tries more, or others.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path

import pytest

from ratbond.lab import Host, Lab
from tests.net.bond import PORT, Bond, End, until
from tests.net.kernel_state import state

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

OTHERS = """
sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
ip rule add pref 50 to 203.0.113.0/24 lookup 77; ip route add 203.0.113.0/24 dev lo table 77
ip -6 rule add pref 32765 from 2001:db8:f::/64 lookup 77
nft 'table inet theirs { chain forward { type filter hook forward priority 0; policy drop; }; }'
"""

# The most seconds after a phase's beginning at which the kill comes.
PHASES = {
    "starts": 1.0,
    "waits": 0.3,
    "meets": 0.15,
    "runs": 0.5,
    "loses a link": 0.3,
    "reloads": 0.15,
    "stops": 0.1,
}


@dataclass(frozen=True)
class Moment:
    victim: str
    phase: str
    after_s: float

    def __str__(self) -> str:
        return f"{self.victim} {self.phase}, {self.after_s * 1000:.0f} ms"


def moments(count: int, seed: int) -> list[Moment]:
    """Every phase of both ends in random order, before any comes again."""
    chance = random.Random(seed)
    pairs = list(product(("client", "server"), PHASES))
    chance.shuffle(pairs)
    return [Moment(v, p, PHASES[p] * chance.random()) for v, p in islice(cycle(pairs), count)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        count, seed = metafunc.config.getoption("--moments"), metafunc.config.getoption("--seed")
        metafunc.parametrize("moment", moments(count, seed), ids=str)


class Site:
    """Both ends of a lab with what others have set there, and the end that is not killed."""

    def __init__(self, bond: Bond) -> None:
        self.bond = bond
        self.hosts = {"client": bond.lab.client, "server": bond.lab.server}
        for host in self.hosts.values():
            host.run("sh", "-ec", OTHERS)
        self.before = {role: state(host) for role, host in self.hosts.items()}

    def config(self, role: str) -> Path:
        return self.bond.file(f"{role}.toml")

    def write(self, role: str, *, nat: bool) -> None:
        connect = f'connect_addr = "{self.bond.lab.server_ipv4}:{PORT}"\n' if role == "client" else ""
        self.config(role).write_text(f"{connect}nat = {str(nat).lower()}\nstats_interval = 0\n")

    def start(self, role: str) -> End:
        self.write(role, nat=True)
        return self.bond.start(self.hosts[role], role, f"--config={self.config(role)}")

    def up(self, end: End) -> None:
        until(lambda: "the bond is up" in end.log and self.bond.ping(), end)

    def notes(self, role: str) -> list[Path]:
        """What ends of this namespace have noted and not taken back."""
        namespace = Path("/run/netns", self.hosts[role].namespace).stat().st_ino
        return sorted(Path("/run/ratbond").glob(f"net-*-{namespace}/*"))

    def trouble(self, phase: str) -> AbstractContextManager[None]:
        return self.bond.lab.link("wan2").carrier_lost() if phase == "loses a link" else nullcontext()

    def reach(self, moment: Moment, victim: End) -> None:
        """Brings the end to the beginning of the phase."""
        waiting = "connecting" if moment.victim == "client" else "listening"
        begin: dict[str, Callable[[], None]] = {
            "starts": lambda: None,
            "waits": lambda: until(lambda: waiting in victim.log, victim),
            "meets": lambda: until(lambda: "joined" in victim.log, victim),
            "runs": lambda: self.up(victim),
            "loses a link": lambda: self.up(victim),
            "reloads": lambda: self._reload(moment.victim, victim),
            "stops": lambda: self._stop(victim),
        }
        begin[moment.phase]()

    def _reload(self, role: str, victim: End) -> None:
        self.up(victim)
        self.write(role, nat=False)
        victim.process.send_signal(signal.SIGHUP)

    def _stop(self, victim: End) -> None:
        self.up(victim)
        victim.process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Lab.up(["50mbit,20ms", "50mbit,20ms"], name=f"killed{os.getpid()}") as lab:
        bond = Bond(lab, tmp_path_factory.mktemp("killed"))
        yield Site(bond)
        for end in bond.ends:
            if end.process.poll() is None:
                end.stop()
            assert "Traceback" not in end.log
            assert " error: " not in end.log


@pytest.fixture
def other(site: Site, moment: Moment) -> Iterator[End]:
    """The other end, which runs all the while."""
    end = site.start("server" if moment.victim == "client" else "client")
    yield end
    assert end.stop() == 0


def left_as_found(host: Host, before: str) -> None:
    """A link that was lost takes a moment to be whole again."""
    deadline_s = time.monotonic() + 5
    while state(host) != before and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert state(host) == before


def test_the_next_start_cleans_up(site: Site, moment: Moment, other: End) -> None:
    host, before = site.hosts[moment.victim], site.before[moment.victim]
    victim = site.start(moment.victim)
    with site.trouble(moment.phase):
        site.reach(moment, victim)
        time.sleep(moment.after_s)
        victim.process.kill()
        victim.process.wait()
        again = site.start(moment.victim)
        site.up(again)
        assert state(host) != before
    assert again.stop() == 0
    assert other.process.poll() is None
    left_as_found(host, before)
    assert site.notes(moment.victim) == []


def test_a_start_that_is_told_to_end_at_once_cleans_up_all_the_same(site: Site) -> None:
    """It may be told so while it still undoes what was left; what it looks at is what a killed end leaves."""
    server, client = site.start("server"), site.start("client")
    site.up(client)
    for role, end in (("client", client), ("server", server)):
        end.process.kill()
        end.process.wait()
        assert state(site.hosts[role]) != site.before[role]
        assert site.notes(role) != []
        again = site.start(role)
        until(lambda end=again: "connecting" in end.log or "listening" in end.log, again)  # type: ignore[misc]
        assert again.stop() == 0
        left_as_found(site.hosts[role], site.before[role])
