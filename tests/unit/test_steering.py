"""What is wanted of links whose quotas are used up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from ratbond.config import ClientConfig
from ratbond.daemon.steering import Steering
from ratbond.errors import RatbondError
from ratbond.models import Caps, Preference, Tier

from .fakes import FakeEngine

if TYPE_CHECKING:
    from ratbond.engine import SessionSnapshot


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


def config(**links: dict[str, str]) -> ClientConfig:
    return ClientConfig.model_validate({"connect_addr": "192.0.2.1:1", "links": links})


def carried(name: str, octets: int) -> list[SessionSnapshot]:
    link = {
        "id": 1, "conv": 0, "name": name, "wire_tx_datagrams": 0, "wire_rx_datagrams": 0,
        "wire_tx_bytes": octets, "wire_rx_bytes": 0,
    }  # fmt: skip
    return [cast("SessionSnapshot", {"links": [link]})]


def test_a_link_that_has_carried_its_quota_is_a_backup_with_its_caps(engine: FakeEngine) -> None:
    calls: list[str] = []
    steering = Steering(
        config(wwan0={"quota": "1MB/day", "rate": "5mbit"}), engine, lambda: calls.append("changed")
    )
    caps = Caps(5_000_000, 5_000_000)
    steering.look(carried("wwan0", 999_999))
    assert (steering.preferences, calls) == ({"wwan0": Preference(rate=caps)}, [])
    steering.look(carried("wwan0", 1_000_000))
    steering.look(carried("wwan0", 1_000_001))
    assert steering.preferences == {"wwan0": Preference(Tier.BACKUP, caps)}
    assert (steering.stopped, calls) == (frozenset(), ["changed"])
    assert steering.usage("wwan0") == (1_000_000, 1_000_001)
    assert steering.usage("eth0") is None


def test_or_it_stops_and_a_larger_quota_brings_it_back(engine: FakeEngine) -> None:
    steering = Steering(config(wwan0={"quota": "1MB/day", "quota_then": "stop"}), engine, lambda: None)
    steering.look(carried("wwan0", 1_000_000))
    assert steering.stopped == {"wwan0"}
    steering.configure(config(wwan0={"quota": "2MB/day", "quota_then": "stop"}))
    assert steering.stopped == frozenset()
    assert steering.preferences == {"wwan0": Preference()}


def test_a_quota_may_come_with_a_reload_and_a_broken_file_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    steering = Steering(config(), engine, lambda: None)
    assert not list(tmp_path.glob("quota-*"))
    (tmp_path / "quota-660.json").write_text("broken")
    with pytest.raises(RatbondError, match=r"quota-660\.json"):
        steering.configure(config(wwan0={"quota": "1MB/day"}))
    assert steering.preferences == {}
