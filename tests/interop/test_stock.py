"""Ours at one end, a stock ratbond at the other. Needs a binary of it: RATBOND_STOCK=/path/to/ratbond."""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratbond.lab import Lab
from tests.net.conftest import DOCUMENTED_SECONDS, as_documented

from .ends import (
    CLIENT_IPV4,
    SERVER_IPV4,
    Bond,
    Mode,
    Role,
    arguments,
    carries_both_ways,
    eventually,
    finished,
    numbers_that_arrive,
    pings,
    start_ours,
    start_stock,
    start_verbatim,
    syslog,
)

STOCK = os.environ.get("RATBOND_STOCK")

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(STOCK is None, reason="RATBOND_STOCK names no stock ratbond to talk to"),
]

LINKS = ("50mbit,20ms", "50mbit,20ms")
MODES = [
    *(Mode(secret, balance) for secret in (None, "verysecret") for balance in ("consistent", "roundrobin")),
    Mode(mux=2),
]
ROLES: list[Role] = ["client", "server"]
OTHER: dict[Role, Role] = {"client": "server", "server": "client"}


@pytest.fixture(
    scope="module",
    params=list(itertools.product(ROLES, MODES)),
    ids=lambda param: f"our-{param[0]}-{param[1]}",
)
def bond(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bond]:
    """A tunnel of this mode, ours in this role; at the end ours must have logged no error and ended well."""
    role, mode = request.param
    logs = tmp_path_factory.mktemp("logs")
    with Lab.up(LINKS, name=f"i{os.getpid()}", seed=1) as lab:
        start_stock(Path(str(STOCK)), OTHER[role], lab, arguments(OTHER[role], lab, mode), logs / "stock.log")
        ours = start_ours(role, lab, mode, logs / "ours.log")
        yield Bond(lab, stock=OTHER[role])
        ours.terminate()
        code = ours.wait(timeout=10)
    log = (logs / "ours.log").read_text()
    assert code == 0, log
    assert not re.search(r"^\S+ \S+ (error|critical):|^Traceback|panicked", log, re.MULTILINE), log


def test_a_ping_crosses_in_both_directions(bond: Bond) -> None:
    bond.wait_until_up()
    for host, address in ((bond.lab.client, SERVER_IPV4), (bond.lab.server, CLIENT_IPV4)):
        host.run("ping", "-c", "10", "-i", "0.1", "-W", "2", address)


@pytest.mark.parametrize("direction", [(), ("-R",)], ids=["up", "down"])
def test_tcp_fills_packets_and_links(bond: Bond, direction: tuple[str, ...]) -> None:
    bond.wait_until_up()
    report = bond.iperf("-P", "6", "-t", "3", *direction)
    assert report["end"]["sum_received"]["bytes"] > 1_000_000


def test_udp_loses_and_repeats_nothing(bond: Bond) -> None:
    bond.wait_until_up()
    client, server = bond.lab.client, bond.lab.server
    for sender, receiver, address in ((client, server, SERVER_IPV4), (server, client, CLIENT_IPV4)):
        assert sorted(numbers_that_arrive(sender, receiver, address, 1000)) == list(range(1000))


def test_each_link_can_be_pulled_and_restored_under_a_download(bond: Bond) -> None:
    bond.wait_until_up()
    download = bond.start_iperf("-R", "-t", "25")
    for link in bond.lab.links:
        bond.wait_until_joined(link)
    for link in bond.lab.links:
        link.interface_down()
        bond.wait_until_up()
        bond.restore(link)
        bond.wait_until_joined(link)
    report = finished(download)
    assert report["intervals"][-1]["sum"]["bytes"] > 0


def test_a_link_that_falls_silent_is_left_and_taken_back(bond: Bond) -> None:
    bond.wait_until_up()
    for link in bond.lab.links:
        with link.blackhole():
            bond.wait_until_up()
        bond.wait_until_joined(link)
        bond.wait_until_up()


# The stock documentation's commands, word for word (it names the tunnel-id in each, which a stock program needs), and the
# addresses that a stock program takes: client first, server second.
DOCUMENTED = {
    "trivial": (
        "server --listen-addr=0.0.0.0:12345 --tunnel-id=660",
        "client --connect-addr=1.1.1.1:12345 --tunnel-id=660",
        ("10.10.10.1", "10.10.10.2"),
    ),
    "aes": (
        "server --aes --secret=verysecret --tunnel-id=990 --listen-addr=0.0.0.0:5432 --tunnel-ip=10.10.10.40/30",
        "client --aes --secret=verysecret --tunnel-id=990 --tun-name=tun1 --connect-addr=1.1.1.1:5432 --tunnel-ip=10.10.10.40/30",
        ("10.10.10.41", "10.10.10.42"),
    ),
}


@pytest.mark.parametrize("commands", DOCUMENTED)
@pytest.mark.parametrize("ours", ROLES)
def test_the_documentations_commands_work_with_stock_at_the_other_end(
    ours: Role, commands: str, tmp_path: Path
) -> None:
    server_words, client_words, (client_ipv4, server_ipv4) = DOCUMENTED[commands]
    words: dict[Role, list[str]] = {"server": server_words.split(), "client": client_words.split()}
    with syslog(tmp_path) as system_log, Lab.up(LINKS, name=f"d{os.getpid()}", seed=1) as lab:
        as_documented(lab)
        log, stock_log = tmp_path / "ours.log", tmp_path / "stock.log"
        stock = OTHER[ours]
        start_stock(Path(str(STOCK)), stock, lab, words[stock], stock_log, "1.1.1.1", system_log)
        end = start_verbatim(ours, lab, words[ours], log)
        eventually(lambda: pings(lab.client, server_ipv4) and pings(lab.server, client_ipv4), "it is up")
        both = [carries_both_ways(link) for link in lab.links]
        eventually(lambda: all(carries() for carries in both), "both links carry")
        lab.server.popen("iperf3", "-s", "-1", "-B", server_ipv4, stdout=subprocess.DEVNULL)
        listening = ("ss", "-Hltn", "src", f"{server_ipv4}:5201")
        eventually(lambda: bool(lab.server.run(*listening).stdout.strip()), "iperf3 listens")
        seconds = str(DOCUMENTED_SECONDS)
        report = lab.client.run(
            "iperf3", "-P", "6", "-R", "-c", server_ipv4, "-t", seconds, "-J", timeout_s=130
        )
        received = json.loads(report.stdout)["end"]["sum_received"]
        print(f"{received['bits_per_second'] / 1e6:.1f} Mbit/s in {seconds} s")
        assert received["bytes"] > 1_000_000
        end.terminate()
        assert end.wait(timeout=20) == 0, log.read_text()
