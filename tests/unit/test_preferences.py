"""What a user may want of a link, how it is written, and that the engine hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratbond.config import ClientConfig, merge
from ratbond.errors import UsageError
from ratbond.models import Caps, Preference, Tier, WanSpec

from .fakes import FakeEvent
from .test_uplinks import SERVER, WAN1, WAN2, Bench, bench

__all__ = ["bench"]  # the fixture

BACKUP = Preference(Tier.BACKUP, Caps(5_000_000, 20_000_000), 3)


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("wwan0", Preference()),
        ("wwan0=192.0.2.7@192.0.2.1,tier=secondary", Preference(Tier.SECONDARY)),
        ("wwan0,tier=backup,rate=5mbit/20mbit,weight=3", BACKUP),
        ("wwan0,rate=-/512kbit", Preference(rate=Caps(None, 512_000))),
        ("wwan0,rate=2.5mbit", Preference(rate=Caps(2_500_000, 2_500_000))),
    ],
)
def test_a_wan_is_read_with_what_is_wanted_of_it_and_written_so(text: str, preference: Preference) -> None:
    spec = WanSpec.parse(text)
    assert (spec.device, spec.preference) == ("wwan0", preference)
    assert WanSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wwan0,tier=spare", "primary, secondary, backup"),
        ("wwan0,rate=fast", "20mbit"),
        ("wwan0,rate=5mbit/0mbit", "'0mbit' is no rate"),
        ("wwan0,weight=0", "1 to 1000"),
        ("wwan0,cost=3", "tier=, rate= or weight="),
    ],
)
def test_what_cannot_be_wanted_is_one_line_that_says_what_can(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        WanSpec.parse(text)
    assert text in str(caught.value)


def config_of(tmp_path: Path, tables: str, *wan: str) -> ClientConfig:
    file = tmp_path / "client.toml"
    file.write_text('connect_addr = "192.0.2.1:1"\n' + tables)
    return merge(ClientConfig, {"wan": list(wan)} if wan else {}, {}, file)


def test_a_file_says_the_same_and_a_flag_wins(tmp_path: Path) -> None:
    table = '[links.lte]\nwan = "wwan0"\ntier = "backup"\nrate = "5mbit/20mbit"\nweight = 3\n'
    assert config_of(tmp_path, table).preferences == {"wwan0": BACKUP}
    assert config_of(tmp_path, table, "wwan0,tier=secondary").preferences == {
        "wwan0": Preference(Tier.SECONDARY)
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('tier = "spare"', "secondary"),
        ('rate = "fast"', "20mbit"),
        ("rate = 20", "5mbit/20mbit"),
        ("weight = 0", "at least 1"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(tmp_path, f"[links.lte]\n{line}\n")
    assert f"{tmp_path}/client.toml:3: " in str(caught.value)
    assert words in str(caught.value)


def test_the_engine_hears_of_each_link_at_once_and_of_changes_only(bench: Bench) -> None:
    bench.uplinks.prefer({"wan2": BACKUP})
    bench.want(WAN1, WAN2)
    assert bench.engine.preferences == {2: BACKUP.for_engine()}
    bench.engine.preferences.clear()
    bench.uplinks.prefer({"wan1": Preference(Tier.SECONDARY), "wan2": BACKUP})
    assert bench.engine.preferences == {1: Preference(Tier.SECONDARY).for_engine()}
    bench.uplinks.prefer({})
    assert bench.engine.preferences[2] == Preference().for_engine()


def test_a_link_that_comes_back_is_wanted_as_before(bench: Bench) -> None:
    bench.uplinks.prefer({"wan1": BACKUP})
    bench.want(WAN1)
    bench.uplinks.on_event(FakeEvent("link_down", link=1, detail="no answer"))  # type: ignore[arg-type]
    bench.engine.preferences.clear()
    bench.now += 5
    bench.want(WAN1, server=SERVER)
    assert bench.engine.preferences == {2: BACKUP.for_engine()}
