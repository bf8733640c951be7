"""What a user may write of a link."""

import pytest

from ratbond.lab import LinkSpec, SpecError


def test_a_rate_and_a_round_trip_time_hold_for_both_directions() -> None:
    spec = LinkSpec.parse("80mbit,16ms")
    assert spec.up == spec.down == {"rate_bps": 80_000_000, "delay_ms": 8.0}


def test_rates_may_differ_by_direction() -> None:
    spec = LinkSpec.parse("down=80mbit,up=20mbit,30ms")
    assert spec.up == {"rate_bps": 20_000_000, "delay_ms": 15.0}
    assert spec.down == {"rate_bps": 80_000_000, "delay_ms": 15.0}


def test_any_setting_may_be_for_one_direction() -> None:
    spec = LinkSpec.parse("up.loss=2%,down.queue=64kb")
    assert spec == LinkSpec(up={"loss": 0.02}, down={"queue_bytes": 64_000})


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("1.5gbit", {"rate_bps": 1_500_000_000}),
        ("rate=unlimited", {"rate_bps": 0}),
        ("delay=10ms", {"delay_ms": 10.0}),
        ("jitter=4ms", {"jitter_ms": 4.0}),
        ("jitter=500us/normal", {"jitter_ms": 0.5, "jitter_distribution": "normal"}),
        ("jitter-reorders=on", {"jitter_reorders": True}),
        ("queue=100ms", {"queue_ms": 100.0}),
        ("queue=2mb", {"queue_bytes": 2_000_000}),
        ("loss=0.5%", {"loss": 0.005}),
        ("0.5%", {"loss": 0.005}),
        ("burst=1%/8", {"burst_loss": 0.01, "burst_packets": 8.0}),
        ("reorder=2%/5ms", {"reorder": 0.02, "reorder_ms": 5.0}),
        ("duplicate=1%", {"duplicate": 0.01}),
        ("mtu=1400,overhead=42", {"mtu_bytes": 1400, "overhead_bytes": 42}),
        ("blackhole=on", {"blackhole": True}),
        (" 80MBIT , RTT = 1s ", {"rate_bps": 80_000_000, "delay_ms": 500.0}),
    ],
)
def test_each_setting_has_its_unit(text: str, settings: dict[str, object]) -> None:
    assert LinkSpec.parse(text).down == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "80mbit,16ms"),
        ("fast", "neither a rate"),
        ("80", "neither a rate"),
        ("80mbit,16", "neither a rate"),
        ("rate=16ms", "80mbit"),
        ("rate=0mbit", "blackhole=on"),
        ("loss=5", "loss=0.5%"),
        ("loss=101%", "above 100%"),
        ("loss=-1%", "cannot read"),
        ("queue=lots", "queue=64kb"),
        ("jitter=4ms/pareto", "uniform, normal or exponential"),
        ("blackhole=maybe", "on or off"),
        ("speed=80mbit", "no 'speed'"),
        ("left.loss=1%", "no 'left.loss'"),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_can(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as error:
        LinkSpec.parse(text)
    assert "\n" not in str(error.value)
