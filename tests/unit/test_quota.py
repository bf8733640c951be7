"""Quotas: what counts, when it is told, and that a crash forgets next to nothing."""

from __future__ import annotations

import json
import logging
from datetime import date
from pathlib import Path

import pytest

from ratbond.errors import RatbondError
from ratbond.models import LinkQuota
from ratbond.policy.quota import Counters, Meter, counters_of, period_of, state_file

MONTH = LinkQuota(1_000_000, "month")
TODAY = date(2026, 5, 20)  # a Wednesday


def carried(payload_bytes: int, conv: int = 1, name: str = "wwan0") -> Counters:
    return {(1, conv): (name, 0, payload_bytes)}


def meter(tmp_path: Path, quota: LinkQuota = MONTH) -> Meter:
    made = Meter(tmp_path / "state" / "quota.json", {"wwan0": quota})
    made.load(TODAY)
    return made


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("50GB/month", LinkQuota(50 * 10**9, "month")),
        ("1.5tb / week", LinkQuota(15 * 10**11, "week")),
        ("200MB/day", LinkQuota(200 * 10**6, "day")),
    ],
)
def test_a_quota_is_read_and_written(text: str, quota: LinkQuota) -> None:
    assert LinkQuota.parse(text) == quota
    assert LinkQuota.parse(str(quota)) == quota


@pytest.mark.parametrize("text", ["50", "50GB", "50GB/year", "0GB/month", "-1GB/month", "50Gbit/month"])
def test_what_is_no_quota_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 50GB/month"):
        LinkQuota.parse(text)


@pytest.mark.parametrize(
    ("per", "first"), [("day", "2026-05-20"), ("week", "2026-05-18"), ("month", "2026-05-01")]
)
def test_periods_are_those_of_the_calendar(per: str, first: str) -> None:
    assert period_of(LinkQuota(1, per), TODAY) == first  # type: ignore[arg-type]


def test_ip_packets_of_both_directions_count() -> None:
    snapshot = {
        "id": 1, "conv": 2, "name": "wwan0", "wire_tx_datagrams": 3, "wire_rx_datagrams": 4,
        "wire_tx_bytes": 300, "wire_rx_bytes": 400,
    }  # fmt: skip
    assert counters_of([snapshot]) == {(1, 2): ("wwan0", 7, 700)}  # type: ignore[list-item]


def test_counters_that_begin_anew_with_a_new_link_add_up(tmp_path: Path) -> None:
    used = meter(tmp_path)
    for counters in (carried(100), carried(250), carried(40, conv=2), carried(90, conv=2), {}, carried(10)):
        used.count(counters, TODAY, 0.0)
    assert used.used_bytes("wwan0") == 250 + 90 + 10
    used.count(carried(900, name="eth0"), TODAY, 0.0)
    assert used.used_bytes("eth0") is None


def test_headers_count(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count({(1, 1): ("wwan0", 10, 1000)}, TODAY, 0.0)
    assert used.used_bytes("wwan0") == 1280


def test_what_a_crash_forgets_is_less_than_a_hundredth_of_the_quota(tmp_path: Path) -> None:
    used = meter(tmp_path)
    for step in range(1, 700):
        used.count(carried(step * 1000), TODAY, 0.0)
    again = meter(tmp_path)  # nobody closed the first one
    kept = again.used_bytes("wwan0")
    assert kept is not None
    assert 699_000 - 0.01 * MONTH.limit_bytes < kept <= 699_000


def test_little_is_kept_after_a_while_as_well(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count(carried(7), TODAY, 1000.0)
    used.count(carried(8), TODAY, 1001.0)
    assert meter(tmp_path).used_bytes("wwan0") == 7
    used.count(carried(9), TODAY, 1031.0)
    assert meter(tmp_path).used_bytes("wwan0") == 9


def test_the_end_of_the_program_keeps_all(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count(carried(100), TODAY, 1000.0)
    used.count(carried(123), TODAY, 1000.1)
    used.close()
    assert meter(tmp_path).used_bytes("wwan0") == 123


def test_it_is_told_once_at_80_percent_and_once_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    used = meter(tmp_path)
    told = []
    for percent in (79, 80, 85, 99, 100, 110):
        used.count(carried(percent * 10_000), TODAY, 0.0)
        told.append((len(caplog.records), bool(used.exhausted())))
    assert told == [(0, False), (1, False), (1, False), (1, False), (2, True), (2, True)]


def test_a_new_month_begins_with_nothing(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count(carried(2_000_000), TODAY, 0.0)
    assert used.exhausted() == {"wwan0"}
    used.count(carried(2_000_500), date(2026, 6, 1), 0.0)
    assert used.exhausted() == frozenset()
    assert used.used_bytes("wwan0") == 500


def test_another_quota_keeps_what_was_used(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count(carried(600_000), TODAY, 0.0)
    used.configure({"wwan0": LinkQuota(500_000, "month")}, TODAY)
    assert used.exhausted() == {"wwan0"}


@pytest.mark.parametrize("text", ["", "[]", '{"wwan0": 5}', '{"wwan0": {"period": "x"}}'])
def test_a_file_that_cannot_be_read_is_not_overwritten(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state" / "quota.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(RatbondError, match="repair or remove it"):
        meter(tmp_path)
    assert file.read_text() == text


def test_the_file_is_where_the_service_manager_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert state_file(660) == Path("/var/lib/ratbond/quota-660.json")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert state_file(7) == tmp_path / "quota-7.json"


def test_what_is_kept_is_plain_json(tmp_path: Path) -> None:
    used = meter(tmp_path)
    used.count(carried(5000), TODAY, 0.0)
    told = json.loads((tmp_path / "state" / "quota.json").read_text())
    assert told == {"wwan0": {"period": "2026-05-01", "used_bytes": 5000}}


@pytest.mark.logs_errors
def test_a_disk_that_takes_nothing_is_told_of_once_and_the_count_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used = meter(tmp_path)

    def full(*_: object) -> None:
        raise RatbondError("quota.json: No space left on device; nothing was changed")

    with monkeypatch.context() as broken:
        broken.setattr("ratbond.files.replace", full)
        for step in range(1, 4):
            used.count(carried(step * 10_000), TODAY, 0.0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    used.count(carried(40_000), TODAY, 0.0)
    assert meter(tmp_path).used_bytes("wwan0") == 40_000
