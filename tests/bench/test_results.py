"""What is kept of a run, how runs add up, and the page made of them."""

from pathlib import Path

import pytest
from scenarios import report
from scenarios.errors import BenchError
from scenarios.load import read_pings
from scenarios.results import Entry, Results, load, merge, save


def entry(
    contender: str, seed: int, *, version: str = "v1", scenario: str = "equal", **figures: float
) -> Entry:
    named = {name.replace("__", "."): value for name, value in figures.items()}
    return Entry(contender, scenario, seed, version, 30, "2026-01-01T00:00:00+00:00", 0.5, named)


def test_a_run_of_the_same_version_completes_a_trial() -> None:
    (merged,) = merge([entry("kcp", 1, a=1.0, b=2.0)], [entry("kcp", 1, b=3.0, c=4.0)])
    assert merged.figures == {"a": 1.0, "b": 3.0, "c": 4.0}


def test_a_run_of_another_version_replaces_a_trial() -> None:
    (merged,) = merge([entry("kcp", 1, a=1.0)], [entry("kcp", 1, version="v2", b=3.0)])
    assert merged.figures == {"b": 3.0}


def test_other_seeds_and_contenders_stand_beside_each_other() -> None:
    assert len(merge([entry("kcp", 1), entry("kcp", 2)], [entry("link", 1)])) == 3


def test_a_median_is_of_the_seeds_that_have_the_figure() -> None:
    results = Results(
        [entry("kcp", 1, a=1.0), entry("kcp", 2, a=5.0), entry("kcp", 3, a=2.0), entry("kcp", 4)]
    )
    assert results.median("equal", "kcp", "a") == 2.0
    assert results.median("equal", "kcp", "b") is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    saved = [Entry("kcp", "equal", 1, "v1", 30, "now", 0.5, {"a": 1.0}, {"s": [(0.25, 3.0)]}, ["oh"])]
    save(path, saved)
    (loaded,) = load(path)
    assert loaded.figures == {"a": 1.0}
    assert [tuple(point) for point in loaded.series["s"]] == [(0.25, 3.0)]
    assert loaded.troubles == ["oh"]


def test_no_file_holds_no_results_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") == []
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    with pytest.raises(BenchError, match="holds no results"):
        load(wrong)


def test_the_page_has_figures_and_names_what_is_missed() -> None:
    results = Results(
        [
            entry("bond-consistent", 1, down__cubic__6__goodput_mbps=92.0, down__cubic__1__goodput_mbps=46.0),
            entry("bond-one", 1, down__cubic__1__goodput_mbps=48.0),
        ]
    )
    page = report.markdown(results)
    assert "| equal | 92.7 | 91 / 91 / idle + 20 | 46 / 92 / - | 48 / - / - |" in page
    assert "bond-consistent misses: down.cubic.1.goodput_mbps 46, aim 91" in page
    assert "the best link alone 48" in page
    assert "6.goodput_mbps 92, aim" not in page


def test_the_page_says_who_reaches_all_aims() -> None:
    page = report.markdown(
        Results([entry("bond-adaptive", 1, down__cubic__1__goodput_mbps=92.0), entry("stock", 1)])
    )
    assert "bond-adaptive reaches its aims" in page
    assert "stock reaches" not in page


def test_repeated_answers_count_once_and_missing_ones_as_lost() -> None:
    output = (
        "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=20.5 ms\n"
        "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=30 ms (DUP!)\n"
        "64 bytes from 10.0.0.1: icmp_seq=3 ttl=64 time=21 ms\n"
    )
    pings = read_pings(output, 3)
    assert pings.rtts_ms == [20.5, 21.0]
    assert pings.lost == 1
