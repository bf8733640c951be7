"""From the engine's counters to what is shown."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ratbond.config import ClientConfig, merge
from ratbond.daemon.reporting import Reporter, insecurities, sample_of, session_status, statistics
from ratbond.status.model import LinkStatus
from ratbond.status.text import bits, duration, octets, render

from .fakes import FakeEngine, link_snapshot, session_snapshot


def test_rates_are_what_went_by_between_two_samples() -> None:
    before = sample_of([session_snapshot(link_snapshot(id=1, tx_bytes=1000, rx_packets=10))], 10.0)
    snapshot = session_snapshot(link_snapshot(id=1, tx_bytes=251_000, rx_packets=30), tun_tx_bytes=125_000)
    status = session_status(snapshot, before, sample_of([snapshot], 12.0))
    assert (status.links[0].rates.tx_bps, status.links[0].rates.rx_pps) == (1e6, 10)
    assert status.rates.rx_bps == 500e3


def test_a_link_made_anew_has_no_negative_rate() -> None:
    before = sample_of([session_snapshot(link_snapshot(id=1, tx_bytes=9_000))], 10.0)
    snapshot = session_snapshot(link_snapshot(id=1, tx_bytes=5))
    assert session_status(snapshot, before, sample_of([snapshot], 11.0)).links[0].rates.tx_bps == 0


def test_a_link_that_heard_nothing_has_no_hello_age() -> None:
    sample = sample_of([], 1.0)
    heard, silent = (
        session_status(session_snapshot(link_snapshot(hello_age_ms=age)), sample, sample).links[0].hello_age_s
        for age in (1500.0, -1.0)
    )
    assert (heard, silent) == (1.5, None)


def test_every_field_of_a_links_status_comes_from_the_engine() -> None:
    numbers = {f.name: n for n, f in enumerate(fields(LinkStatus), 1) if f.type in {"int", "float"}}
    snapshot = session_snapshot(link_snapshot(**numbers, uptime_ms=numbers["uptime_s"] * 1000))
    link = session_status(snapshot, sample_of([], 0), sample_of([], 0)).links[0]
    assert {name: getattr(link, name) for name in numbers} == numbers


def test_the_statistics_line_names_each_link_and_how_many_are_up() -> None:
    snapshot = session_snapshot(
        link_snapshot(id=1, loss=0.02), link_snapshot(id=2, name="wan2", state="suspect")
    )
    sample = sample_of([snapshot], 1.0)
    line = statistics(session_status(snapshot, sample, sample))
    assert line["links_up"] == "1/2"
    assert str(line["wan1"]).endswith("loss 2.0 %")
    assert str(line["wan2"]).startswith("suspect")


@pytest.mark.parametrize("aes", [True, False])
def test_a_mode_that_proves_nothing_says_so_in_the_status(aes: bool) -> None:
    flags = {"connect_addr": "192.0.2.1:1"} | ({"aes": True, "secret": "x"} if aes else {})
    config = merge(ClientConfig, flags, {})
    engine = FakeEngine(sessions=[session_snapshot(link_snapshot())])
    text = render(Reporter(config, engine).status().to_json())
    engine.close()
    assert all(warning in text for warning in insecurities(config))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bits(999), "999 bit/s"), (bits(1_500_000), "1.5 Mbit/s"), (bits(2.5e9), "2.50 Gbit/s"),
        (octets(12), "12 B"), (octets(5e12), "5.0 TB"), (duration(59), "00:00:59"), (duration(90_061), "1d 01:01:01"),
    ],
)  # fmt: skip
def test_amounts_are_shown_with_their_units(text: str, expected: str) -> None:
    assert text == expected
