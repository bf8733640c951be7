"""The simulator: what it says must be what such links can carry, and the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ratbond.linkspec import SpecError
from ratbond.sim import Bond, Congestion, Link, Result, Simulation

SLOW, SLOWER = Link("8mbit,20ms", "dsl"), Link("4mbit,40ms", "lte")
PAYLOAD = 1348 / 1458  # of an IP packet on a link, what TCP's reader gets
RATBOND = str(Path(sys.executable).with_name("ratbond"))


def downloaded_mbps(result: Result, name: str, from_s: int) -> float:
    return result.load(name).mean_bps(from_s) / 1e6


@pytest.mark.parametrize(("flows", "at_least"), [(1, 0.72), (6, 0.93)])
def test_downloads_use_both_links(flows: int, at_least: float) -> None:
    simulation = Simulation([SLOW, SLOWER])
    name = simulation.download(flows=flows)
    result = simulation.run(15)
    most = 12 * PAYLOAD
    assert at_least * most < downloaded_mbps(result, name, 5) <= most
    for link, rate_bps in (("dsl", 8e6), ("lte", 4e6)):
        assert max(result.link(link).down_bps) <= 1.01 * rate_bps
        assert sum(result.link(link).down_bps[5:]) / 10 > 0.2 * rate_bps


def test_a_sender_with_bbr_looks_at_the_bare_round_trip_and_one_with_cubic_does_not() -> None:
    lows: dict[Congestion, float] = {}
    both: tuple[Congestion, ...] = ("cubic", "bbr")
    for congestion in both:
        simulation = Simulation([SLOW])
        name = simulation.download(congestion=congestion)
        goodput = simulation.run(13).load(name).goodput_bps
        assert max(goodput) > 0.9 * 8e6 * PAYLOAD
        lows[congestion] = min(goodput[9:]) / (8e6 * PAYLOAD)
    assert lows["bbr"] < 0.9 < lows["cubic"], "once in ten seconds it keeps four packets in flight for 200 ms"


@pytest.mark.parametrize("flows", [1, 6])
@pytest.mark.parametrize(("milliseconds", "share"), [(300, 0.75), (600, 0.75), (1200, 0.3)])
def test_downloads_use_a_far_link(flows: int, milliseconds: int, share: float) -> None:
    """Farther than the 200 ms that a timeout takes at least; the last farther than the second that the first one takes."""
    simulation = Simulation([Link(f"4mbit,{milliseconds}ms")])
    name = simulation.download(flows=flows)
    assert downloaded_mbps(simulation.run(40), name, 20) > share * 4 * PAYLOAD


def test_an_upload_goes_the_other_way() -> None:
    simulation = Simulation([Link("up=2mbit,down=8mbit,20ms")])
    name = simulation.upload()
    result = simulation.run(6)
    assert 0.85 * 2 * PAYLOAD < downloaded_mbps(result, name, 2) <= 2 * PAYLOAD
    assert max(result.links[0].down_bps) < 0.3e6, "acknowledgements only"


def test_a_call_takes_the_link_s_delay_and_loses_nothing_that_can_be_repaired() -> None:
    simulation = Simulation([Link("8mbit,40ms,3%"), Link("8mbit,44ms,3%")], seed=3)
    name = simulation.stream(stop_s=20)
    call = simulation.run(21).load(name)
    assert len(call.datagrams) == 1000
    assert (call.lost, call.duplicates) == (0, 0)
    half = call.delay_ms(0.5)
    assert half is not None
    assert 20 <= half < 23


def test_without_another_link_a_bad_one_loses_what_it_loses() -> None:
    simulation = Simulation([Link("8mbit,20ms,blackhole=on")])
    name = simulation.stream(100)
    lost = simulation.run(2).load(name)
    assert (lost.lost, lost.loss, lost.delay_ms(0.5)) == (200, 1.0, None)


def test_a_pulled_link_leaves_its_load_to_the_other_and_comes_back() -> None:
    simulation = Simulation([SLOW, SLOWER])
    download, call = simulation.download(flows=4), simulation.call()
    simulation.at(9, lambda bond: bond.restore(0))
    simulation.at(5, lambda bond: bond.pull(0))
    result = simulation.run(15)
    assert result.link("dsl").down_bps[6:9] == (0.0, 0.0, 0.0)
    assert result.load(download).mean_bps(6, 9) > 0.85 * 4e6 * PAYLOAD
    assert result.load(download).mean_bps(12) > 0.85 * 12e6 * PAYLOAD
    assert result.load(call).lost <= 1, "one may be on its way when it ends"


def test_a_link_may_change() -> None:
    simulation = Simulation([SLOW])
    name = simulation.stream(10)
    simulation.at(2, lambda bond: bond.change(0, "200ms"))
    delays = {round(d.sent_s, 1): d.delay_ms for d in simulation.run(4).load(name).datagrams}
    before, after = delays[1.0], delays[3.0]
    assert before is not None
    assert after is not None
    assert before < 15 < 95 < after


def test_a_secondary_link_is_spared_until_it_is_needed_and_a_cap_holds() -> None:
    simulation = Simulation([SLOW, Link("4mbit,40ms", "lte", tier="secondary", rate="-/2mbit")])
    simulation.stream(400, packet_bytes=1400)  # 4.5 Mbit/s
    simulation.download(flows=4, start_s=5)
    simulation.at(10, lambda bond: bond.prefer(1, tier="backup"))
    lte = simulation.run(14).link("lte")
    assert sum(lte.down_bps[:5]) < 0.01 * 5 * 4.5e6
    assert 1.5e6 < sum(lte.down_bps[7:10]) / 3 < 2.05e6
    assert sum(lte.down_bps[11:]) < 0.05e6


def test_a_redundant_bond_loses_only_what_both_links_lose() -> None:
    lossy = Link("8mbit,40ms,5%")
    simulation = Simulation([lossy, lossy], balance="redundant")
    name = simulation.stream(200, stop_s=30)
    result = simulation.run(32)
    call = result.load(name)
    assert (call.duplicates, call.loss <= 0.003) == (0, True)
    at_most = call.delay_ms(0.99)
    assert at_most is not None
    assert at_most < 24
    up, down = (result.links[n].total_bytes() for n in (0, 1))
    assert abs(up - down) < 0.1 * up


def test_loads_begin_and_end_when_they_are_told() -> None:
    simulation = Simulation([SLOW])
    name = simulation.download(start_s=2, stop_s=4)
    goodput = simulation.run(6).load(name).goodput_bps
    assert goodput[:2] == (0.0, 0.0)
    assert min(goodput[2:4]) > 1e6
    assert goodput[5] == 0.0


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    def result(seed: int) -> Result:
        simulation = Simulation([SLOW, Link("4mbit,40ms,1%")], seed=seed)
        simulation.download(flows=2)
        return simulation.run(5)

    assert result(1) == result(1)
    assert result(1) != result(2)


def test_an_hour_of_a_call_takes_seconds() -> None:
    simulation = Simulation([SLOW, SLOWER])
    name = simulation.call()
    assert len(simulation.run(3600).load(name).datagrams) == 180_000


def pull_what_is_not_there(bond: Bond) -> None:
    bond.pull(1)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (lambda: Simulation([]), ValueError, "1 to 32 links"),
        (lambda: Simulation([Link("fast")]), SpecError, "'fast'"),
        (lambda: Simulation([Link("8mbit,200s")]), ValueError, "delay"),
        (lambda: Simulation([Link("8mbit,9ms", tier="best")]), ValueError, "secondary"),
        (lambda: Simulation([Link("8mbit,9ms", rate="fast")]), ValueError, "no rate"),
        (lambda: Simulation([SLOW]).at(-1, pull_what_is_not_there), ValueError, "-1"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    wrong: Callable[[], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        wrong()


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda s: s.stream(0), "packets_per_s"),
        (lambda s: s.stream(packet_bytes=1500), "packet_bytes"),
        (lambda s: s.download(start_s=-1), "start_s"),
        (lambda s: s.download(flows=40_000), "30000 flows"),
        (lambda s: s.at(0.5, pull_what_is_not_there), "no link 1"),
        (lambda s: s.at(0.5, lambda bond: bond.change(0, "x=1")), "'x'"),
    ],
)
def test_what_cannot_be_is_refused_when_it_runs(add: Callable[[Simulation], object], words: str) -> None:
    simulation = Simulation([SLOW])
    add(simulation)
    with pytest.raises((ValueError, SpecError), match=words):
        simulation.run(1)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RATBOND, "simulate", *arguments], capture_output=True, text=True, check=False)


def test_the_command_shows_the_bond_and_each_link_beside_it() -> None:
    done = simulate("--link", "8mbit,20ms", "--link", "4mbit,40ms", "--seconds", "8")
    assert done.returncode == 0
    header, bond, *alone = done.stdout.splitlines()
    assert "1 download" in header
    assert "6 downloads" in header
    assert bond.startswith("the bond")
    assert [line.split(" alone")[0] for line in alone] == ["8mbit,20ms", "4mbit,40ms"]


def test_the_command_s_senders_may_run_bbr() -> None:
    rows = [
        json.loads(simulate("--link", "8mbit,20ms", "--seconds", "13", "--json", *flags).stdout)[0]
        for flags in ((), ("--congestion", "bbr"))
    ]
    cubic, bbr = (row["goodput_mbps"]["1"] for row in rows)
    assert 0.8 * cubic < bbr < cubic


def test_the_command_prints_json() -> None:
    (row,) = json.loads(simulate("--link", "8mbit,20ms", "--seconds", "8", "--json").stdout)
    assert 0.85 * 8 * PAYLOAD < row["goodput_mbps"]["1"] <= 8 * PAYLOAD
    assert 10 <= row["call_delay_ms"] < 30
    assert row["call_loss"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--link"),
        (["--link", "80mbit,16m"], "'16m'"),
        (["--link", "80mbit,200s"], "delay"),
        (["--link", "8mbit,9ms", "--balance", "luck"], "adaptive"),
        (["--link", "8mbit,9ms", "--congestion", "luck"], "cubic"),
        (["--link", "8mbit,9ms", "--seconds", "1"], "greater than or equal to 4"),
        (["--link", "8mbit,9ms", "--seed", "-1"], "greater than or equal to 0"),
    ],
)
def test_a_mistake_of_the_command_is_one_line(arguments: list[str], words: str) -> None:
    done = simulate(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ratbond: error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
