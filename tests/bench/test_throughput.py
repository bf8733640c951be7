"""The throughput benchmark's search, its reading of iperf3, and its page."""

from pathlib import Path

import pytest
from throughput import report
from throughput.load import highest, read
from throughput.results import Results
from throughput.tunnels import BenchError


def measured(**tunnels: list[dict[str, float]]) -> Results:
    rounds = {name.replace("_", "-"): figures for name, figures in tunnels.items()}
    return Results("1", "a machine", 5, words={name: f"words of {name}" for name in rounds}, rounds=rounds)


@pytest.mark.parametrize("limit", [11_000.0, 100_000.0, 777_000.0])
def test_the_highest_rate_is_found_within_an_eighth(limit: float) -> None:
    found = highest(lambda pps: pps if pps <= limit else None)
    assert 0.875 * limit <= found <= limit


def test_a_sender_that_reaches_its_own_limit_ends_the_search() -> None:
    asked: list[float] = []

    def carried(pps: float) -> float:
        asked.append(pps)
        return min(pps, 50_000)

    assert highest(carried) == 50_000
    assert asked == [10_000, 20_000, 40_000, 80_000]


def test_nothing_is_carried_by_what_loses_at_every_rate() -> None:
    assert highest(lambda _: None) == 0


def test_tcp_and_udp_reports_are_told_apart() -> None:
    tcp = {"end": {"sum_received": {"bytes": 10**9, "seconds": 4.0}, "sum_sent": {}}}
    assert read(tcp).gbps == 2.0
    udp = {"bytes": 6400, "seconds": 1.0, "packets": 100, "lost_packets": 3}
    assert (read({"end": {"sum": udp}}).packets, read({"end": {"sum": udp}}).lost) == (100, 3)
    with pytest.raises(BenchError, match="unable to connect"):
        read({"error": "unable to connect"})


def test_the_tables_hold_medians_and_ratios_of_one_run() -> None:
    text = report.tables(
        measured(
            offload_limit=[{"gbps.1": 8.0}],
            wireguard_go=[{"gbps.1": 2.0}, {"gbps.1": 1.0}, {"gbps.1": 9.0}],
            bond_2=[{"gbps.1": 4.0, "gbps.8": 3.0}],
        )
    )
    assert "| bond-2 | 4.00 | 3.00 | 2.00 | 0.50 | - |" in text
    assert "| one flow, over wireguard-go's | 2.00 | at least 1.7 | yes |" in text
    assert "| 8 flows, over one | 0.75 | at least 1 | **no** |" in text


def test_a_share_is_held_from_above() -> None:
    busy = {"paced_core_share.client": 0.05, "paced_core_share.server": 0.09, "rss_idle_mb.client": 59.0}
    verdicts = {what: kept for what, _, _, kept in report.targets(measured(bond_2=[busy]))}
    assert verdicts == {"100 Mbit/s paced, per cent of a core, busier end": False, "idle client, MB": True}


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    results = measured(veth=[{"gbps.1": 9.0}])
    results.save(tmp_path / "performance.json")
    assert Results.load(tmp_path / "performance.json") == results
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(BenchError, match="no results"):
        Results.load(tmp_path / "other.json")
    with pytest.raises(BenchError, match="measure first"):
        Results.load(tmp_path / "none.json")
