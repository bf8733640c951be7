"""Our client and server, tun and all, against kcp-go v5 that speaks stock ratbond's frames: HELLO and IPv4 packets.

kcppeer dial -ip  ──(emulated WAN)──  ratbond server, its kernel answers the pings
ratbond client, ping through its tun  ══(two emulated WANs)══  kcppeer serve -ip, which reflects them
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import Lab

from .ends import PORT, SERVER_IPV4, Mode, eventually, numbers_that_return, pings, start_ours

pytestmark = pytest.mark.netns

FORGOTTEN_AFTER_S = 6.0  # stock and the kcp-go peer forget after 5

PEER_FLAGS = {
    "plain": (Mode(), ()),
    "aes": (Mode(secret="verysecret"), ("-crypt", "aes", "-secret", "verysecret")),
    "loss": (Mode(), ("-loss", "0.1")),
    "fec": (Mode(), ("-data", "10", "-parity", "3", "-loss", "0.05")),
    "roundrobin": (Mode(balance="roundrobin", mux=2), ()),
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab.up(["50mbit,20ms", "50mbit,40ms"], name=f"k{os.getpid()}", seed=1) as lab:
        yield lab


@pytest.fixture(params=list(PEER_FLAGS))
def agreed(request: pytest.FixtureRequest) -> tuple[Mode, tuple[str, ...]]:
    """What our end is told, and what the peer is."""
    return PEER_FLAGS[request.param]


def dial(lab: Lab, kcppeer: Path, *flags: str) -> dict[str, Any]:
    done = lab.client.run(
        str(kcppeer), "dial", f"{lab.server_ipv4}:{PORT}", "-ip", *flags, check=False, timeout_s=90
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def listening(lab: Lab) -> bool:
    return bool(lab.server.run("ss", "-Hlun", f"sport = :{PORT}").stdout.strip())


@pytest.mark.parametrize("size", ["28", "1336"])
def test_a_peer_of_kcp_go_pings_our_server(
    lab: Lab, kcppeer: Path, agreed: tuple[Mode, tuple[str, ...]], size: str, tmp_path: Path
) -> None:
    mode, flags = agreed
    start_ours("server", lab, mode, tmp_path / "ours.log")
    eventually(lambda: listening(lab), "our server listens")
    # The first ones may meet a tun that is still being made.
    dial(lab, kcppeer, "-count", "1", "-timeout", "3s", *flags)
    report = dial(lab, kcppeer, "-count", "500", "-size", size, "-conv", "661", *flags)
    assert (report["came_back"], report["wrong"]) == (500, 0)


def connect_to_reflector(lab: Lab, kcppeer: Path, mode: Mode, flags: tuple[str, ...], log: Path) -> None:
    for link in lab.links:  # it answers from the address that routing prefers
        network = link.ipv4.rpartition(".")[0] + ".0/24"
        lab.server.ip(f"route replace {network} dev isp{link.number} src {lab.server_ipv4}")
    lab.server.popen(str(kcppeer), "serve", f"0.0.0.0:{PORT}", "-ip", *flags, stdout=subprocess.DEVNULL)
    start_ours("client", lab, mode, log)
    eventually(lambda: pings(lab.client, SERVER_IPV4), "our client has a tunnel")


def test_a_peer_of_kcp_go_answers_our_client(
    lab: Lab, kcppeer: Path, agreed: tuple[Mode, tuple[str, ...]], tmp_path: Path
) -> None:
    mode, flags = agreed
    connect_to_reflector(lab, kcppeer, mode, flags, tmp_path / "ours.log")
    assert sorted(numbers_that_return(lab.client, SERVER_IPV4, 500)) == list(range(500))


def test_a_peer_that_forgot_a_conversation_is_met_with_a_new_one(
    lab: Lab, kcppeer: Path, tmp_path: Path
) -> None:
    """Its listener answers what we still send on the old one, and delivers none of it."""
    connect_to_reflector(lab, kcppeer, Mode(balance="roundrobin"), (), tmp_path / "ours.log")
    with lab.links[0].blackhole():
        time.sleep(FORGOTTEN_AFTER_S)
    eventually(
        lambda: sorted(numbers_that_return(lab.client, SERVER_IPV4, 50)) == list(range(50)),
        "both links carry packets again",
    )


def test_a_peer_with_the_wrong_secret_is_refused_in_words(lab: Lab, kcppeer: Path, tmp_path: Path) -> None:
    log = tmp_path / "ours.log"
    start_ours("server", lab, Mode(secret="verysecret"), log)
    eventually(lambda: listening(lab), "our server listens")
    report = dial(lab, kcppeer, "-count", "5", "-timeout", "2s", "-crypt", "aes", "-secret", "other")
    assert report["came_back"] == 0
    assert "refused" in log.read_text()
    assert not lab.server.run("ip", "-o", "link", "show", "tun660", check=False).stdout
