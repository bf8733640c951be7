"""Paths that carry less than Ethernet, over sealed links: PPPoE's 1,492 bytes beside LTE's 1,420, and a path that shrinks while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import Host, Lab
from ratbond.secret import generate
from tests.net.bond import PORT, TUNNEL_IPV6, Bond, End, until
from tests.net.test_downloads import download, finish
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

AROUND = 58  # IPv4, UDP, and what seals a packet
INNER = 1420 - AROUND
PING4 = 28  # IPv4 and ICMP


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Bond]:
    """PPPoE and LTE."""
    links = ["50mbit,20ms,mtu=1492", "30mbit,40ms,mtu=1420"]
    with Lab.up(links, name=f"mtu{os.getpid()}") as lab:
        made = Bond(lab, tmp_path)
        yield made
        made.close()
        assert not any("datagrams leave one by one" in end.log for end in made.ends)


def up(bond: Bond) -> tuple[End, End]:
    return bond.up(secret_file(bond.file("key").parent, generate()))


def tun_mtu(host: Host) -> int:
    return int(host.run("cat", "/sys/class/net/tun660/mtu").stdout)


def until_tuns_have(bond: Bond, mtu: int) -> None:
    until(lambda: {tun_mtu(bond.lab.client), tun_mtu(bond.lab.server)} == {mtu}, bond.ends[0])


def path_mtus(end: End) -> dict[str, tuple[int, str]]:
    links = end.status()["sessions"][0]["links"]
    return {link["name"]: (link["path_mtu"], link["path_mtu_state"]) for link in links}


def ping(bond: Bond, address: str, payload: int) -> str:
    command = ("ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", str(payload), address)
    done = bond.lab.client.run(*command, check=False)
    return done.stdout + done.stderr


def megabytes(result: dict[str, Any]) -> list[float]:
    return [interval["sum"]["bytes"] / 1e6 for interval in result["intervals"]]


def test_what_pppoe_and_lte_carry_is_found_and_used(narrow: Bond) -> None:
    server, client = up(narrow)
    until_tuns_have(narrow, INNER)
    found = {"wan1": (1492, "complete"), "wan2": (1420, "complete")}
    until(lambda: path_mtus(client) == found, client)
    until(lambda: sorted(path_mtus(server).values()) == sorted(found.values()), server)
    assert client.status()["sessions"][0]["inner_mtu"] == INNER
    lost = [link.stats()["down"]["oversize_packets"] for link in narrow.lab.links]
    for address in ("10.10.10.1", TUNNEL_IPV6):
        until(lambda: not narrow.lab.server.run("ss", "-Htln", "sport = :5201").stdout)
        rates = megabytes(finish(download(narrow, seconds=3, flows=1, address=address)))
        assert min(rates) > 0, rates
    carried = [link.stats()["down"]["delivered_bytes"] for link in narrow.lab.links]
    assert min(carried) > 500_000, carried
    assert [link.stats()["down"]["oversize_packets"] for link in narrow.lab.links] == lost


def test_over_ipv6_outside_less_fits_and_a_path_that_shrinks_is_found_too(narrow: Bond) -> None:
    secret = secret_file(narrow.file("key").parent, generate())
    narrow.server(secret, f"--listen-addr=[::]:{PORT}")
    address = f"--connect-addr=[{narrow.lab.server_ipv6}]:{PORT}"
    client = narrow.start(narrow.lab.client, "client", address, secret)
    until_tuns_have(narrow, INNER - 20)
    found = {"wan1": (1492, "complete"), "wan2": (1420, "complete")}
    until(lambda: path_mtus(client) == found, client)
    assert " 0% packet loss" in ping(narrow, "10.10.10.1", INNER - 20 - PING4)
    running = download(narrow, seconds=5, flows=1)
    time.sleep(2)
    narrow.lab.links[1].set("mtu=1400")
    until_tuns_have(narrow, 1400 - AROUND - 20)
    rates = megabytes(finish(running))
    assert min(rates) > 0.5, rates
    assert " 0% packet loss" in ping(narrow, TUNNEL_IPV6, 1400 - AROUND - 20 - 48)


def test_whoever_sends_longer_packets_is_told(narrow: Bond) -> None:
    _, client = up(narrow)
    until_tuns_have(narrow, INNER)
    assert " 0% packet loss" in ping(narrow, "10.10.10.1", INNER - PING4)
    assert " 0% packet loss" in ping(narrow, TUNNEL_IPV6, INNER - 48)
    assert f"mtu={INNER}" in ping(narrow, "10.10.10.1", INNER - PING4 + 1)
    # The kernel knows by the tun's MTU. What it would let through and no link carries, the engine cuts or refuses.
    narrow.lab.client.ip("link set tun660 mtu 1500")
    command = ("ping", "-n", "-c", "1", "-W", "2", "-M", "dont", "-s", "1460", "10.10.10.1")
    assert " 0% packet loss" in narrow.lab.client.run(*command).stdout
    assert f"Frag needed and DF set (mtu = {INNER})" in ping(narrow, "10.10.10.1", 1460)
    assert f"Packet too big: mtu={INNER}" in ping(narrow, TUNNEL_IPV6, 1440)
    session = client.status()["sessions"][0]
    assert (session["too_big_packets"], session["too_big_answers"]) == (3, 2)


@pytest.mark.parametrize("how", ["silently", "with a word"])
def test_a_download_goes_on_when_a_path_shrinks(narrow: Bond, how: str) -> None:
    up(narrow)
    until_tuns_have(narrow, INNER)
    running = download(narrow, seconds=8, flows=1)
    time.sleep(3)
    if how == "silently":
        narrow.lab.links[0].set("mtu=1400")
    else:
        narrow.lab.server.ip("link set isp1 mtu 1400")
        narrow.lab.client.ip("link set wan1 mtu 1400")
    until_tuns_have(narrow, 1400 - AROUND)
    rates = megabytes(finish(running))
    assert min(rates) > 0.5, rates
