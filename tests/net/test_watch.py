"""The kernel's own picture of links, as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ratbond.links.choice import LinkPolicy, choose_links, why_not
from ratbond.links.model import Snapshot, WanLink
from ratbond.links.netlink import read_snapshot
from ratbond.links.watch import Watcher
from ratbond.models import Family

from .conftest import Shell

pytestmark = pytest.mark.netns

POLICY = LinkPolicy()


def links_of(snapshot: Snapshot) -> list[WanLink]:
    return choose_links(snapshot, POLICY)


def names_of(snapshot: Snapshot) -> list[str]:
    return [link.device for link in links_of(snapshot)]


@pytest.fixture
def two_wans(inside_namespace: Shell) -> Shell:
    inside_namespace(
        "ip route add default via 10.0.1.1 dev wan1 metric 100; ip route add default via 10.0.2.1 dev wan2 metric 200"
    )
    return inside_namespace


def after(change: str, run: Shell, settled: Callable[[Snapshot], bool]) -> Snapshot:
    """The first snapshot after a change that shows it; fails when none does before the regular rescan would."""

    async def watch() -> Snapshot:
        watcher = Watcher()
        try:
            snapshots = watcher.snapshots()
            assert not settled(await anext(snapshots))
            run(change)
            async with asyncio.timeout(5):  # a rescan comes at 15 s: this must be the notification
                async for snapshot in snapshots:
                    if settled(snapshot):
                        return snapshot
        finally:
            watcher.close()
        raise AssertionError

    return asyncio.run(watch())


def test_two_default_routes_in_main_are_two_links_with_source_and_gateway(two_wans: Shell) -> None:
    del two_wans
    links = links_of(asyncio.run(read_snapshot()))
    assert [(link.device, str(link.source), str(link.gateway)) for link in links] == [
        ("wan1", "10.0.1.2", "10.0.1.1"),
        ("wan2", "10.0.2.2", "10.0.2.1"),
    ]


def test_the_stock_documentations_tables_6_and_7_are_two_links(inside_namespace: Shell) -> None:
    inside_namespace(
        "ip route add default via 10.0.1.1 dev wan1 table 6; ip route add default via 10.0.2.1 dev wan2 table 7;"
        "ip rule add from 10.0.1.2 lookup 6; ip rule add from 10.0.2.2 lookup 7"
    )
    assert names_of(asyncio.run(read_snapshot())) == ["wan1", "wan2"]


def test_a_multipath_default_route_is_two_links(inside_namespace: Shell) -> None:
    inside_namespace("ip route add default nexthop via 10.0.1.1 dev wan1 nexthop via 10.0.2.1 dev wan2")
    assert names_of(asyncio.run(read_snapshot())) == ["wan1", "wan2"]


def test_a_gateway_less_default_route_is_a_link(inside_namespace: Shell) -> None:
    inside_namespace("ip route add default dev wan2")
    assert names_of(asyncio.run(read_snapshot())) == ["wan2"]


def test_a_bridge_port_and_an_unreachable_route_are_no_links(two_wans: Shell) -> None:
    two_wans(
        "ip link add br0 type bridge; ip link set wan2 master br0; ip route add unreachable default metric 900"
    )
    assert names_of(asyncio.run(read_snapshot())) == ["wan1"]


def test_an_ipv6_default_route_is_a_link_for_an_ipv6_server(inside_namespace: Shell) -> None:
    inside_namespace(
        "ip address add 2001:db8::2/64 dev wan1 nodad; ip route add default via fe80::1 dev wan1"
    )
    (link,) = choose_links(asyncio.run(read_snapshot()), LinkPolicy(families=(Family.V6,)))
    assert (link.device, str(link.source), str(link.gateway)) == ("wan1", "2001:db8::2", "fe80::1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ip link set wan2 down", "interface down"),
        ("ip link set wan2-far down", "carrier lost"),
        ("ip route delete default dev wan2", "default route withdrawn"),
        ("ip link delete wan2", "interface gone"),
        ("ip address flush dev wan2; ip route replace default dev wan2 metric 200", "address removed"),
    ],
)
def test_a_link_that_goes_is_told_at_once_with_the_reason(two_wans: Shell, change: str, reason: str) -> None:
    index = asyncio.run(read_snapshot()).device_named("wan2")
    assert index is not None
    snapshot = after(
        change, two_wans, lambda s: names_of(s) == ["wan1"] and why_not(s, POLICY, index.index) == reason
    )
    assert names_of(snapshot) == ["wan1"]


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("ip link set wan2-far down", "ip link set wan2-far up"),
        ("ip route delete default dev wan2", "ip route add default via 10.0.2.1 dev wan2 metric 200"),
        (
            "ip link set wan2 down",
            "ip link set wan2 up; ip route add default via 10.0.2.1 dev wan2 metric 200",
        ),
    ],
)
def test_a_link_that_comes_back_is_told_at_once(two_wans: Shell, before: str, change: str) -> None:
    two_wans(f"{before}; sleep 0.1")
    after(change, two_wans, lambda s: names_of(s) == ["wan1", "wan2"])


def test_a_change_that_nobody_told_of_is_found_by_the_regular_look(
    two_wans: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratbond.links.watch._RESCAN_S", 0.2)

    async def watch() -> None:
        watcher = Watcher()
        asyncio.get_running_loop().remove_reader(
            watcher._socket
        )  # deaf: as if the kernel had dropped them all
        try:
            snapshots = watcher.snapshots()
            assert names_of(await anext(snapshots)) == ["wan1", "wan2"]
            two_wans("ip link set wan2 down")
            async with asyncio.timeout(10):
                while names_of(await anext(snapshots)) != ["wan1"]:
                    pass
        finally:
            watcher.close()

    asyncio.run(watch())


def test_an_address_changed_by_dhcp_is_the_links_new_source(two_wans: Shell) -> None:
    change = (
        "ip address delete 10.0.2.2/24 dev wan2; ip address add 10.0.2.99/24 dev wan2;"
        "ip route replace default via 10.0.2.1 dev wan2 metric 200"
    )
    after(change, two_wans, lambda s: [str(link.source) for link in links_of(s)] == ["10.0.1.2", "10.0.2.99"])


def test_a_second_address_leaves_the_source_alone(two_wans: Shell) -> None:
    snapshot = after(
        "ip address add 10.7.7.7/24 dev wan2", two_wans, lambda s: "10.7.7.7" in str(s.addresses)
    )
    assert [str(link.source) for link in links_of(snapshot)] == ["10.0.1.2", "10.0.2.2"]


def test_a_renamed_interface_is_the_same_link(two_wans: Shell) -> None:
    change = "ip link set wan2 down; ip link set wan2 name lte0; ip link set lte0 up; ip route add default dev lte0"
    before = links_of(asyncio.run(read_snapshot()))
    snapshot = after(change, two_wans, lambda s: names_of(s) == ["wan1", "lte0"])
    assert [link.index for link in links_of(snapshot)] == [link.index for link in before]
