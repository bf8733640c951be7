"""What the demo reckons with, without a lab."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from ratbond.lab.demo import download
from ratbond.lab.demo.errors import DemoError
from ratbond.lab.demo.meter import Reading, rates_mbps, shares
from ratbond.lab.demo.picture import LinkView, Picture, Scene, bar
from ratbond.lab.demo.probe import Trace
from ratbond.lab.demo.report import Pull, Rates, Report, table, words


def returned_at(*moments_s: float) -> Trace:
    return Trace(sent=len(moments_s), returned=tuple(enumerate(moments_s)))


def test_what_never_came_back_is_lost_and_what_came_twice_is_not() -> None:
    trace = Trace(sent=5, returned=((0, 1.0), (1, 1.1), (1, 1.2), (3, 1.3)))
    assert (trace.lost, trace.twice) == (2, 1)


def test_a_trace_survives_its_way_out_of_the_probe() -> None:
    trace = Trace(sent=3, returned=((0, 1.5), (2, 1.75)))
    assert Trace.from_json(json.dumps({"sent": trace.sent, "returned": trace.returned})) == trace


@pytest.mark.parametrize(
    ("arrivals", "silence_s"),
    [
        ((9.0, 9.9, 10.1, 10.4, 11.1), 0.7),  # the one in the middle
        ((9.0, 9.2, 10.9, 11.1), 1.7),  # began before, and counts from its beginning
        ((9.9, 10.1, 10.2, 12.5), 2.3),  # ended after, and counts up to its end
        ((5.0, 9.0, 9.99, 10.4, 10.8, 11.01), 0.41),  # what was long before is not looked at
        ((9.9, 10.2), 0.8),  # nothing came any more: up to the end
        ((10.7, 10.9, 11.0), 0.7),  # nothing had come yet: from the beginning
        ((), 1.0),
    ],
)
def test_the_longest_silence_is_that_of_the_time_asked_for(
    arrivals: tuple[float, ...], silence_s: float
) -> None:
    assert returned_at(*arrivals).longest_silence_s(10.0, 11.0) == pytest.approx(silence_s)


def test_rates_are_bits_by_the_time_that_passed() -> None:
    assert rates_mbps([(0.0, 0), (0.5, 625_000), (2.5, 625_000), (2.5, 625_000), (3.5, 750_000)]) == [
        10.0,
        0.0,
        1.0,
    ]


def test_shares_are_those_of_what_was_carried_meanwhile() -> None:
    before = Reading(0.0, down_bytes=(1_000, 50), up_bytes=(0, 0))
    assert shares(before, Reading(1.0, down_bytes=(1_300, 150), up_bytes=(9, 9))) == (0.75, 0.25)
    assert shares(before, before) == (0.0, 0.0)


def iperf3_says(change: Callable[[dict[str, object]], object] = lambda _: None) -> str:
    def interval(end: float, *stream_bytes: int) -> dict[str, object]:
        streams = [{"socket": 5 + 2 * number, "bytes": count} for number, count in enumerate(stream_bytes)]
        return {"sum": {"end": end}, "streams": streams}

    said: dict[str, object] = {
        "intervals": [interval(1, 100, 100), interval(2, 100, 0), interval(3, 0, 0), interval(4, 100, 0)],
        "end": {"streams": [{}, {}], "sum_received": {"bits_per_second": 12_500_000.0}},
    }
    change(said)
    return json.dumps(said)


def test_a_download_that_got_nothing_lately_is_not_alive() -> None:
    assert download.read(iperf3_says()) == download.Download(rate_mbps=12.5, flows=2, alive_flows=1)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (iperf3_says(lambda said: said.update(error="unable to connect")), "iperf3: unable to connect"),
        ("Segmentation fault\n", "Segmentation fault"),
        ("", "nothing"),
        ("{}", "no result"),
    ],
)
def test_an_iperf3_that_failed_is_one_line(said: str, message: str) -> None:
    with pytest.raises(DemoError, match=message) as caught:
        download.read(said)
    assert "\n" not in str(caught.value)


def test_a_bare_link_is_used_by_device_and_address() -> None:
    line = " ".join(download.command("203.0.113.1", flows=6, seconds=5, device="wan2", source="10.77.2.2"))
    assert "--bind-dev wan2 -B 10.77.2.2" in line
    assert "-R -C cubic -P 6" in line
    assert "--bind-dev" not in download.command("10.10.10.1", flows=1, seconds=5)


def test_a_bar_shows_nothing_only_for_nothing() -> None:
    assert [bar(rate, 80.0) for rate in (0.0, 0.1, 40.0, 80.0, 200.0)] == [" ", "▁", "▄", "█", "█"]


PULL = Pull(
    link="wan2",
    down_s=5.0,
    left_after_s=0.1,
    joined_after_s=None,
    silence_s=0.0423,
    sent=2_000,
    lost=3,
    twice=0,
    flows=6,
    alive_flows=5,
)
REPORT = Report(
    links=(Rates("wan1", "80mbit", 77.0, 76.0), Rates("wan2", "30mbit", 3.0, 25.0)),
    bond=Rates("the bond", "", 70.0, 100.0, (1.0, 0.0), (0.75, 0.25)),
    up_after_s=0.5,
    pull=PULL,
    emulator_dropped_packets=0,
    took_s=60.0,
)


def shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table(report), *words(report), sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_report_holds_every_figure_that_was_measured() -> None:
    text = shown(REPORT)
    for wanted in ("77.0", "76.0", "3.0", "25.0", "70.0", "100.0", "wan1 (75%) and wan2 (25%)"):
        assert wanted in text
    for wanted in ("42 ms", "3 of 2,000", "after 100 ms", "joined again never", "5 of 6"):
        assert wanted in text
    assert "came twice" not in text
    assert "too busy" not in text


def test_figures_from_a_machine_that_was_too_busy_are_called_worthless() -> None:
    assert "dropped 7 packets" in shown(replace(REPORT, emulator_dropped_packets=7))


def test_without_a_terminal_the_picture_is_plain_lines() -> None:
    output = io.StringIO()
    with Picture(Scene([LinkView("wan1", "80mbit", 80.0)]), Console(file=output)) as picture:
        picture.act("pulling wan1")
        picture.note("link left the bond")
    assert output.getvalue() == "-- pulling wan1\n   link left the bond\n"
