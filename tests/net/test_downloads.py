"""Downloads through the tunnel, plain and sealed: over both links, and past a link that falls silent."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ratbond.secret import generate
from tests.net.bond import Bond
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]


@pytest.fixture(params=["plain", "sealed"])
def flags(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """What both ends are started with."""
    return (secret_file(tmp_path, generate()),) if request.param == "sealed" else ()


def download(bond: Bond, *, seconds: int, flows: int, address: str = "10.10.10.1") -> subprocess.Popen[str]:
    bond.lab.server.popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    # From ports that the hash spreads over both links: six drawn at random share a link once in 32 runs.
    command = ["iperf3", "-c", address, "-R", "-C", "cubic", "-P", str(flows), "-t", str(seconds), "-J"]
    command += ["--cport", "40000"]
    running: subprocess.Popen[str] = bond.lab.client.popen(*command, stdout=subprocess.PIPE, text=True)
    return running


def finish(running: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = running.communicate(timeout=60)
    result: dict[str, Any] = json.loads(output)
    assert "error" not in result, result["error"]
    return result


def test_six_downloads_use_both_links(bond: Bond, flags: tuple[str, ...]) -> None:
    bond.up(*flags)
    result = finish(download(bond, seconds=4, flows=6))
    assert all(stream["receiver"]["bytes"] > 0 for stream in result["end"]["streams"])
    carried = [link.stats()["down"]["delivered_bytes"] for link in bond.lab.links]
    assert min(carried) > sum(carried) / 10, carried


def test_downloads_that_listen_to_ecn_are_marked_where_others_are_dropped(
    bond: Bond, flags: tuple[str, ...]
) -> None:
    for host in (bond.lab.client, bond.lab.server):
        host.run("sysctl", "-qw", "net.ipv4.tcp_ecn=1")
    server, _ = bond.up(*flags)
    finish(download(bond, seconds=4, flows=6))
    session = server.status()["sessions"][0]
    assert session["aqm_marks"] > 0
    # What TCP sends again is not ECN-capable (RFC 3168, section 6.1.5).
    assert session["aqm_drops"] <= session["aqm_marks"] / 4, session
    assert session["overflow_drops"] == 0


@pytest.mark.parametrize("silent", [0, 1])
def test_a_download_survives_ten_silent_seconds_of_either_link(
    bond: Bond, flags: tuple[str, ...], silent: int
) -> None:
    bond.up(*flags)
    running = download(bond, seconds=16, flows=1)
    time.sleep(2)
    with bond.lab.links[silent].blackhole():
        time.sleep(10)
    intervals = finish(running)["intervals"]
    assert all(interval["sum"]["bytes"] > 0 for interval in intervals[-3:]), "it goes on after the silence"
    during = [interval["sum"]["bytes"] for interval in intervals[5:11]]
    assert all(during), "and during it, over the other link"
