"""What a tunnel wants of the system."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from ratbond.models import Family
from ratbond.netcfg.plan import (
    EVERYTHING,
    MAIN_TABLE,
    Address,
    Barrier,
    LooseReversePath,
    Route,
    Rule,
    Up,
    Uplink,
    Wanted,
    plan,
    tunnel_addresses,
)

SERVER = ip_address("192.0.2.1")
NETWORKS = (IPv4Network("10.10.10.40/30"), IPv6Network("fd72:6174:626f:294::/126"))
WAITING = Wanted(
    660,
    "tun660",
    1336,
    uplinks=(Uplink("wan1", ip_address("10.0.1.2"), SERVER), Uplink("wan2", ip_address("10.0.2.2"), SERVER)),
)
MET = replace(WAITING, addresses=tunnel_addresses(*NETWORKS, first=False))
UP = replace(MET, through=EVERYTHING)


def rules(wanted: Wanted, family: Family = Family.V4) -> list[Rule]:
    return [step for step in plan(wanted) if isinstance(step, Rule) and step.family is family]


def test_before_a_peer_is_met_only_the_links_are_made_ready() -> None:
    assert plan(WAITING) == (LooseReversePath("wan1"), LooseReversePath("wan2"))


def test_the_tun_gets_its_addresses_and_mtu_when_a_peer_is_met() -> None:
    steps = plan(MET)
    assert [str(s.interface) for s in steps if isinstance(s, Address)] == [
        "10.10.10.42/30",
        "fd72:6174:626f:294::2/126",
    ]
    assert Up("tun660", 1336) in steps
    assert not any(isinstance(s, (Route, Rule)) for s in steps)


def test_the_server_is_the_first_host() -> None:
    assert [str(i.ip) for i in tunnel_addresses(*NETWORKS, first=True)] == [
        "10.10.10.41",
        "fd72:6174:626f:294::1",
    ]


def test_while_the_bond_is_up_both_families_go_through_the_tunnel() -> None:
    assert {str(s.destination) for s in plan(UP) if isinstance(s, Route)} == {"0.0.0.0/0", "::/0"}
    for family in Family:
        assert len({r.priority for r in rules(UP, family)}) == 1


def test_a_wans_own_address_the_server_and_mains_subnets_are_asked_before_the_tunnel() -> None:
    asked = [
        (str(r.source or r.destination), r.table == MAIN_TABLE, r.suppress_prefix_length) for r in rules(UP)
    ]
    assert asked == [
        ("10.0.1.2/32", True, None),
        ("10.0.2.2/32", True, None),
        ("192.0.2.1/32", True, None),
        ("None", True, 0),
        ("None", False, None),
    ]


def test_split_routes_are_asked_by_the_longest_prefix_after_what_main_knows_more_exactly() -> None:
    wide, narrow, other = map(ip_network, ("198.51.0.0/16", "198.51.100.0/24", "2001:db8:5::/48"))
    split = replace(UP, through=(wide, narrow, other))
    assert [
        (str(r.destination), r.table == MAIN_TABLE, r.suppress_prefix_length) for r in rules(split)[3:]
    ] == [
        ("198.51.100.0/24", True, 24),
        ("198.51.100.0/24", False, None),
        ("198.51.0.0/16", True, 16),
        ("198.51.0.0/16", False, None),
    ]
    assert [r.destination for r in rules(split, Family.V6)] == [other, other]


def test_where_ipv6_is_off_nothing_of_it_is_wanted() -> None:
    steps = plan(replace(UP, families=(Family.V4,)))
    assert not [s for s in steps if isinstance(s, Rule) and s.family is Family.V6]
    assert [str(s.interface.ip) for s in steps if isinstance(s, Address)] == ["10.10.10.42"]


def test_a_link_with_a_gateway_of_the_users_gets_a_way_to_the_server_alone() -> None:
    uplink = Uplink("eth5", ip_address("10.5.0.2"), ip_address("192.0.2.1"), ip_address("10.5.0.1"))
    steps = plan(replace(WAITING, uplinks=(uplink,)))
    (way,) = [s for s in steps if isinstance(s, Route)]
    (rule,) = [s for s in steps if isinstance(s, Rule)]
    assert (str(way.destination), way.device, str(way.gateway)) == ("192.0.2.1/32", "eth5", "10.5.0.1")
    assert (rule.out_device, rule.destination, rule.table) == ("eth5", ip_network("192.0.2.1/32"), way.table)


@given(st.integers(1, 65_525), st.integers(1, 65_525))
def test_two_tunnels_share_no_table(one: int, other: int) -> None:
    tables = [{s.table for s in plan(replace(UP, tunnel_id=n)) if isinstance(s, Route)} for n in (one, other)]
    assert one == other or not tables[0] & tables[1]
    assert all(table > 1000 for table in tables[0])


FENCED = replace(WAITING, fenced=EVERYTHING, server=SERVER)


def test_a_fence_is_there_before_the_bond_and_stays_when_that_is_down() -> None:
    """Its rules are the same at any time, so that no change of state opens a gap."""
    alone = replace(FENCED, uplinks=())
    for wanted in (
        alone,
        FENCED,
        replace(FENCED, addresses=MET.addresses),
        replace(FENCED, addresses=MET.addresses, through=EVERYTHING),
    ):
        steps = plan(wanted)
        assert [s for s in steps if isinstance(s, Rule)] == [s for s in plan(alone) if isinstance(s, Rule)]
        assert {s.destination for s in steps if isinstance(s, Barrier)} == set(EVERYTHING)
    assert not any(isinstance(step, Route) for step in plan(FENCED))


def test_a_fence_lets_out_what_is_for_the_server_and_nothing_that_is_bound_to_a_wan() -> None:
    found = rules(FENCED)
    assert [rule.destination for rule in found if rule.destination] == [ip_network(SERVER)]
    assert not any(rule.source for rule in found)


def test_a_fence_around_some_networks_leaves_the_others_alone() -> None:
    some = (ip_network("198.51.100.0/24"),)
    found = rules(replace(FENCED, fenced=some))
    assert {rule.destination for rule in found} == {*some, ip_network(SERVER)}
    assert rules(replace(FENCED, fenced=some), Family.V6) == []
