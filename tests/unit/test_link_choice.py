"""Which interfaces become WAN links."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.links.choice import LinkPolicy, choose_links, why_not
from ratbond.links.model import MAIN_TABLE, Address, DefaultRoute, Device, Snapshot
from ratbond.models import Family, WanSpec


def device(index: int, name: str = "", **fields: object) -> Device:
    whole = {"kind": "", "up": True, "carrier": True, **fields}
    return Device(index, name or f"wan{index}", **whole)  # type: ignore[arg-type]


def address(index: int, text: str, **fields: object) -> Address:
    ip, _, length = text.partition("/")
    return Address(index, ip_address(ip), int(length or 24), **fields)  # type: ignore[arg-type]


def route(index: int, table: int = MAIN_TABLE, metric: int = 0, **fields: object) -> DefaultRoute:
    whole = {"family": Family.V4, "gateway": ip_address(f"10.0.{index}.1"), **fields}
    return DefaultRoute(index, table=table, metric=metric, **whole)  # type: ignore[arg-type]


def two_wans(table1: int = MAIN_TABLE, table2: int = MAIN_TABLE) -> Snapshot:
    return Snapshot(
        devices=(device(1), device(2)),
        addresses=(address(1, "10.0.1.2"), address(2, "10.0.2.2")),
        default_routes=(route(1, table1, 100), route(2, table2, 200)),
    )


def names(snapshot: Snapshot, policy: LinkPolicy | None = None) -> list[str]:
    return [link.device for link in choose_links(snapshot, policy or LinkPolicy())]


def with_device(snapshot: Snapshot, index: int, **changes: Any) -> Snapshot:
    devices = (replace(d, **changes) if d.index == index else d for d in snapshot.devices)
    return replace(snapshot, devices=tuple(devices))


def test_without_policy_routing_every_default_route_in_main_makes_a_link_whatever_its_metric() -> None:
    assert names(two_wans()) == ["wan1", "wan2"]


def test_with_policy_routing_only_default_routes_outside_main_make_links() -> None:
    assert names(two_wans(table1=6, table2=7)) == ["wan1", "wan2"]
    assert names(two_wans(table1=6)) == ["wan1"]


def test_a_vpns_table_is_no_policy_routing() -> None:
    snapshot = two_wans()
    snapshot = replace(
        snapshot,
        devices=(*snapshot.devices, device(3, "wg0", kind="wireguard")),
        addresses=(*snapshot.addresses, address(3, "10.99.0.2")),
        default_routes=(*snapshot.default_routes, route(3, table=51820, gateway=None)),
    )
    assert names(snapshot) == ["wan1", "wan2"]


def test_a_route_without_gateway_makes_a_link() -> None:
    snapshot = Snapshot(
        (device(1, "ppp0", kind="ppp"),), (address(1, "10.0.1.2/32"),), (route(1, gateway=None),)
    )
    (link,) = choose_links(snapshot, LinkPolicy())
    assert (link.device, link.gateway) == ("ppp0", None)


@pytest.mark.parametrize(
    "kind_of_device",
    [{"kind": "wireguard"}, {"kind": "tun"}, {"loopback": True}, {"port_of": "bridge"}, {"port_of": "bond"}],
)
def test_what_is_no_wan_becomes_a_link_only_when_it_is_named(kind_of_device: dict[str, object]) -> None:
    snapshot = with_device(two_wans(), 2, **kind_of_device)
    assert names(snapshot) == ["wan1"]
    assert names(snapshot, LinkPolicy(named=(WanSpec("wan2"),))) == ["wan1", "wan2"]


def test_a_named_wan_needs_no_default_route() -> None:
    snapshot = replace(two_wans(), default_routes=(route(1),))
    policy = LinkPolicy(named=(WanSpec("wan2", gateway=ip_address("10.0.2.9")),))
    links = choose_links(snapshot, policy)
    assert [(link.device, str(link.gateway)) for link in links] == [
        ("wan1", "10.0.1.1"),
        ("wan2", "10.0.2.9"),
    ]


def test_a_named_wan_waits_for_the_address_it_was_given() -> None:
    policy = LinkPolicy(named=(WanSpec("wan2", address=ip_address("10.0.2.77")),))
    assert names(two_wans(), policy) == ["wan1"]
    later = replace(two_wans(), addresses=(*two_wans().addresses, address(2, "10.0.2.77")))
    assert [str(link.source) for link in choose_links(later, policy)] == ["10.0.1.2", "10.0.2.77"]


def test_the_tunnels_own_device_is_no_link_even_when_named() -> None:
    policy = LinkPolicy(named=(WanSpec("wan2"),), own_devices=frozenset({"wan2"}))
    assert names(two_wans(), policy) == ["wan1"]


def test_an_address_inside_the_tunnel_is_no_source() -> None:
    policy = LinkPolicy(tunnel_networks=(ip_network("10.0.2.0/30"),))
    assert names(two_wans(), policy) == ["wan1"]


def test_two_modems_with_the_same_subnet_and_address_are_two_links() -> None:
    snapshot = replace(two_wans(), addresses=(address(1, "192.168.8.100"), address(2, "192.168.8.100")))
    assert names(snapshot) == ["wan1", "wan2"]


def test_a_device_with_several_default_routes_is_one_link() -> None:
    snapshot = two_wans()
    snapshot = replace(
        snapshot, default_routes=(*snapshot.default_routes, route(1, metric=5), route(1, metric=900))
    )
    assert names(snapshot) == ["wan1", "wan2"]


def test_a_second_address_does_not_change_the_source_in_use() -> None:
    snapshot = replace(two_wans(), addresses=(address(1, "10.0.7.7"), *two_wans().addresses))
    policy = LinkPolicy(keep_sources={1: ip_address("10.0.1.2")})
    assert [str(link.source) for link in choose_links(snapshot, policy)] == ["10.0.1.2", "10.0.2.2"]


def test_the_source_is_the_routes_own_or_else_lies_in_the_gateways_subnet() -> None:
    addresses = (address(1, "172.16.0.9"), address(1, "10.0.1.2"))
    snapshot = Snapshot((device(1),), addresses, (route(1),))
    assert str(choose_links(snapshot, LinkPolicy())[0].source) == "10.0.1.2"
    preferring = replace(snapshot, default_routes=(route(1, preferred_source=ip_address("172.16.0.9")),))
    assert str(choose_links(preferring, LinkPolicy())[0].source) == "172.16.0.9"


def test_an_ipv6_server_is_reached_from_a_steady_global_address() -> None:
    addresses = (
        address(1, "fe80::1", link_local=True),
        address(1, "2001:db8::7", secondary=True),  # temporary
        address(1, "2001:db8::8", usable=False),  # tentative
        address(1, "2001:db8::9"),
    )
    v6 = route(1, family=Family.V6, gateway=ip_address("fe80::ff"))
    links = choose_links(Snapshot((device(1),), addresses, (v6,)), LinkPolicy(families=(Family.V6,)))
    assert [str(link.source) for link in links] == ["2001:db8::9"]


def test_with_a_dual_stack_server_each_link_uses_the_first_family_it_has() -> None:
    v6 = route(2, family=Family.V6, gateway=ip_address("fe80::ff"))
    snapshot = Snapshot(
        (device(1), device(2)), (address(1, "10.0.1.2"), address(2, "2001:db8::2")), (route(1), v6)
    )
    links = choose_links(snapshot, LinkPolicy(families=(Family.V6, Family.V4)))
    assert [(link.device, link.family) for link in links] == [("wan1", Family.V4), ("wan2", Family.V6)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: with_device(s, 2, up=False), "interface down"),
        (lambda s: with_device(s, 2, carrier=False), "carrier lost"),
        (lambda s: replace(s, devices=s.devices[:1]), "interface gone"),
        (lambda s: replace(s, default_routes=s.default_routes[:1]), "default route withdrawn"),
        (lambda s: replace(s, default_routes=(s.default_routes[0], route(2, dead=True))), "carrier lost"),
        (lambda s: replace(s, addresses=s.addresses[:1]), "address removed"),
    ],
)  # fmt: skip
def test_a_link_that_leaves_has_a_reason(change: object, reason: str) -> None:
    after = change(two_wans())  # type: ignore[operator]
    assert names(after) == ["wan1"]
    assert why_not(after, LinkPolicy(), 2) == reason


def test_a_link_left_out_by_the_user_says_so() -> None:
    policy = LinkPolicy(left_out=frozenset({"wan2"}))
    assert names(two_wans(), policy) == ["wan1"]
    assert why_not(two_wans(), policy, 2) == "left out by --no-wan"


indices = st.integers(1, 5)
kinds = st.sampled_from(["", "veth", "ppp", "tun", "wireguard"])
devices = st.builds(
    Device, index=indices, name=st.just("x"), kind=kinds, up=st.booleans(), carrier=st.booleans(),
    loopback=st.booleans(), port_of=st.sampled_from(["", "bridge", "vrf"]),
).map(lambda d: replace(d, name=f"dev{d.index}"))  # fmt: skip
addresses = st.builds(
    Address, index=indices, address=st.ip_addresses(), prefix_length=st.integers(0, 32), secondary=st.booleans(),
    usable=st.booleans(), link_local=st.booleans(),
)  # fmt: skip
routes = st.builds(
    DefaultRoute, index=indices, family=st.sampled_from(Family), table=st.sampled_from([6, 7, 253, 254, 255]),
    metric=st.integers(0, 3), gateway=st.none() | st.ip_addresses(), preferred_source=st.none() | st.ip_addresses(),
    dead=st.booleans(),
)  # fmt: skip
snapshots = st.builds(
    Snapshot,
    st.lists(devices, max_size=5, unique_by=lambda d: d.index).map(tuple),
    st.lists(addresses, max_size=8).map(tuple),
    st.lists(routes, max_size=8).map(tuple),
)
policies = st.builds(
    LinkPolicy,
    families=st.sampled_from([(Family.V4,), (Family.V6,), (Family.V6, Family.V4)]),
    named=st.lists(st.sampled_from(["dev1", "dev2"]).map(WanSpec), max_size=2).map(tuple),
    left_out=st.frozensets(st.sampled_from(["dev2", "dev3"]), max_size=1),
    own_devices=st.just(frozenset({"dev5"})),
)


@given(snapshots, policies)
def test_every_link_of_any_network_can_carry_packets_and_is_wanted(
    snapshot: Snapshot, policy: LinkPolicy
) -> None:
    links = choose_links(snapshot, policy)
    assert len({link.index for link in links}) == len(links)
    for link in links:
        its = snapshot.device_at(link.index)
        assert its is not None
        assert its.up
        assert its.carrier
        assert its.name not in policy.left_out | policy.own_devices
        assert link.family in policy.families
        assert any(
            a.address == link.source and a.index == link.index and a.usable for a in snapshot.addresses
        )
        if not link.named:
            assert not its.loopback
            assert its.kind not in {"tun", "wireguard"}
            assert any(r.index == link.index and not r.dead for r in snapshot.default_routes)


@given(snapshots, policies)
def test_choosing_again_keeps_every_source(snapshot: Snapshot, policy: LinkPolicy) -> None:
    links = choose_links(snapshot, policy)
    keeping = replace(policy, keep_sources={link.index: link.source for link in links})
    assert choose_links(snapshot, keeping) == links


@given(snapshots, policies)
def test_the_order_in_which_the_kernel_lists_devices_and_routes_does_not_matter(
    snapshot: Snapshot, policy: LinkPolicy
) -> None:
    shuffled = replace(snapshot, devices=tuple(reversed(snapshot.devices)))
    assert choose_links(shuffled, policy) == choose_links(snapshot, policy)
    assert names(replace(snapshot, default_routes=tuple(reversed(snapshot.default_routes))), policy) == names(
        snapshot, policy
    )
