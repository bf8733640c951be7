"""The benchmark's arithmetic."""

import pytest
from scenarios.catalogue import SCENARIOS, offered_mbps, redrawn_rates_mbps
from scenarios.figures import Received, longest_gap_s, out_of_order, percentile, ramp_s, tunnel_ip_bytes


def test_a_percentile_is_the_value_at_its_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile([7.0], 0.99) == 7.0


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_ramp_ends_with_the_first_window_at_nine_tenths() -> None:
    rates = [(0.25, rate) for rate in (5.0, 95.0, 20.0, 80.0, 91.0, 92.0, 100.0)]
    assert ramp_s(rates, 100.0) == 1.5


def test_a_ramp_that_never_ends_is_none() -> None:
    assert ramp_s([(0.25, 50.0)] * 20, 100.0) is None
    assert ramp_s([], 100.0) is None


def test_a_silence_at_either_end_counts() -> None:
    assert longest_gap_s([2.0, 2.5, 3.0], 0.0, 3.5) == 2.0
    assert longest_gap_s([0.5, 1.0], 0.0, 4.0) == 3.0
    assert longest_gap_s([], 1.0, 4.0) == 3.0


def test_only_what_comes_behind_a_higher_number_is_out_of_order() -> None:
    assert out_of_order([0, 1, 3, 4]) == 0
    assert out_of_order([0, 2, 1, 1, 3]) == 1
    assert out_of_order([5, 1, 2]) == 2


_NOTHING = Received(0, 0, 1400)


def test_a_device_without_offload_counts_what_crossed() -> None:
    assert tunnel_ip_bytes(_NOTHING, Received(1400 * 10, 10, 1400)) == 1400 * 10
    assert tunnel_ip_bytes(_NOTHING, Received(52 * 7, 7, 1400)) == 52 * 7
    assert tunnel_ip_bytes(_NOTHING, _NOTHING) == 0


def test_headers_that_offload_took_away_are_added() -> None:
    payload = 40 * 1348
    assert tunnel_ip_bytes(_NOTHING, Received(payload + 52, 1, 1400)) == payload + 40 * 52


def test_acknowledgements_after_joined_packets_count_whole() -> None:
    downloaded = Received(1000 * (40 * 1348 + 52), 1000, 1400)
    uploaded = Received(downloaded.bytes + 20_000 * 52, downloaded.packets + 20_000, 1400)
    assert tunnel_ip_bytes(downloaded, uploaded) == 20_000 * 52


def test_the_bounds_are_those_of_the_targets() -> None:
    bounds = {one.name: round(one.bound_mbps, 1) for one in SCENARIOS}
    assert bounds["equal"] == 92.7
    assert bounds["dsl_lte"] == 101.8
    assert bounds["bad_link"] == 83.4
    assert bounds["bloated"] == 55.6
    assert bounds["lossy"] == 90.8
    assert bounds["four"] == 34.3


def test_varying_rates_come_from_the_seed_alone() -> None:
    assert redrawn_rates_mbps(1, 1, 8) == redrawn_rates_mbps(1, 1, 8)
    assert redrawn_rates_mbps(1, 1, 8) != redrawn_rates_mbps(1, 2, 8)
    assert all(5 <= rate <= 60 for rate in redrawn_rates_mbps(3, 1, 100))


def test_what_links_offer_is_weighted_by_time() -> None:
    assert offered_mbps([[10.0, 20.0], [0.0, 30.0]], 0.0, 10.0) == 30.0
    assert offered_mbps([[10.0, 20.0]], 4.0, 6.0) == 15.0
