"""The client in a real namespace, with an engine that says what the test wants: what it does to links and routes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ratbond.config import ClientConfig, merge
from ratbond.daemon.client import Client
from ratbond.daemon.reload import Reloader
from ratbond.errors import RatbondError
from ratbond.netcfg.apply import Network
from ratbond.netcfg.journal import Journal
from tests.unit.fakes import FakeEngine, FakeEvent, FakeTun

from .conftest import Shell

pytestmark = pytest.mark.netns


class Scene:
    """A client that runs while a test's scenario plays."""

    def __init__(self, run: Shell, state: Path) -> None:
        self.run = run
        self.state = state
        self.engine = FakeEngine()

    def make_tun(self, name: str) -> FakeTun:
        self.run(f"ip tuntap add {name} mode tun")
        return FakeTun(name)

    def play(self, scenario: Callable[[], Awaitable[None]], **flags: object) -> None:
        """Runs the client until the scenario ends, then ends it as systemd would."""
        config = merge(
            ClientConfig, {"connect_addr": "192.0.2.1:12345", "http_listen_addr": "disable"} | flags, {}
        )

        async def both() -> None:
            network = Network(Journal(self.state, "client-660"))
            reloader = Reloader(config, lambda: config)
            client = asyncio.create_task(Client(config, self.engine, network, self.make_tun, reloader).run())
            try:
                await asyncio.wait(
                    {client, play := asyncio.create_task(_bounded(scenario))}, return_when="FIRST_COMPLETED"
                )
                if play.done():
                    await play
            finally:
                play.cancel()
                if not client.done():
                    os.kill(os.getpid(), signal.SIGTERM)
                await client

        asyncio.run(both())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition; the scenario's bound is below the 15 s of a rescan, so events must bring it about."""
        while not condition():  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)

    def way_to(self, destination: str) -> str:
        """The device that a packet would take, or "nowhere": a family may have its route a moment after the other."""
        found = self.run(f"ip route get {destination} 2>&1 || true")
        return found.split(" dev ")[1].split()[0] if " dev " in found else "nowhere"

    async def session_up(self, peer: str = "ratbond") -> None:
        await self.until(lambda: len(self.engine.links) == 2)
        self.engine.say(FakeEvent("session_up", peer=peer))
        await self.until(lambda: 0 in self.engine.tuns and ",UP" in self.run("ip link show tun660"))


async def _bounded(scenario: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(10):
        await scenario()


@pytest.fixture
def scene(inside_namespace: Shell, tmp_path: Path) -> Scene:
    inside_namespace(
        "ip route add default via 10.0.1.1 dev wan1 metric 100; ip route add default via 10.0.2.1 dev wan2 metric 200"
    )
    return Scene(inside_namespace, tmp_path / "state")


def test_a_wan_that_the_user_leaves_out_is_no_link(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: scene.engine.names() == ["wan2"])
        scene.run("ip address add 10.0.1.77/24 dev wan1; ip link set wan1-far down; ip link set wan1-far up")
        await asyncio.sleep(0.5)
        assert scene.engine.names() == ["wan2"]

    scene.play(scenario, no_wan=["wan1"])


def test_each_wan_becomes_a_link_bound_to_its_device_and_address(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        assert sorted(scene.engine.links.values()) == [
            ("wan1", "10.0.1.2", ("192.0.2.1", 12345)),
            ("wan2", "10.0.2.2", ("192.0.2.1", 12345)),
        ]

    scene.play(scenario)


def test_the_default_route_is_the_tunnel_exactly_while_the_bond_is_up(scene: Scene) -> None:
    async def scenario() -> None:
        assert scene.way_to("8.8.8.8") == "wan1"
        await scene.session_up()
        await scene.until(lambda: scene.way_to("8.8.8.8") == "tun660" == scene.way_to("2001:db8::1"))
        assert (scene.way_to("192.168.99.7"), scene.way_to("10.0.2.1")) == ("lan", "wan2")
        assert (scene.way_to("192.0.2.1 oif wan1"), scene.way_to("192.0.2.1 from 10.0.1.2")) == (
            "wan1",
            "wan1",
        )
        scene.engine.say(FakeEvent("session_down"))
        await scene.until(lambda: scene.way_to("8.8.8.8") == "wan1")
        await scene.session_up()
        await scene.until(lambda: scene.way_to("8.8.8.8") == "tun660")

    scene.play(scenario)
    assert scene.way_to("8.8.8.8") == "wan1"
    assert scene.engine.closed


def test_no_default_route_means_none(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.session_up()
        await scene.until(lambda: "10.10.10.2/30" in scene.run("ip -br address show tun660"))
        assert scene.way_to("8.8.8.8") == "wan1"
        assert scene.way_to("10.10.10.1") == "tun660"

    scene.play(scenario, no_default_route=True)


def test_split_routes_are_there_while_the_bond_is_up_and_nothing_else_is(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.session_up()
        await scene.until(lambda: scene.way_to("198.51.100.9") == "tun660")
        assert scene.way_to("8.8.8.8") == "wan1"
        scene.engine.say(FakeEvent("session_down"))
        await scene.until(lambda: scene.way_to("198.51.100.9") == "wan1")

    scene.play(scenario, route=["198.51.100.0/24"])


@pytest.mark.parametrize(
    ("peer", "host", "address"),
    [("ratbond", "auto", "10.10.10.2"), ("stock", "auto", "10.10.10.1"), ("stock", "second", "10.10.10.2")],
)
def test_the_client_is_the_second_host_or_the_first_towards_stock_or_what_it_is_told(
    scene: Scene, peer: str, host: str, address: str
) -> None:
    async def scenario() -> None:
        await scene.session_up(peer)
        tun = scene.run("ip address show tun660")
        assert f"inet {address}/30" in tun
        assert f"inet6 fd72:6174:626f:294::{address[-1]}/126" in tun
        assert "mtu 1336" in tun

    scene.play(scenario, address=host)


def test_a_peer_that_turns_from_stock_to_ours_moves_the_address(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.session_up("stock")
        scene.engine.say(FakeEvent("session_down"))
        await scene.session_up("ratbond")
        await scene.until(lambda: "10.10.10.2/30" in scene.run("ip -4 -br address show tun660"))
        await scene.until(lambda: "10.10.10.1/" not in scene.run("ip -4 -br address show tun660"))
        await scene.until(lambda: scene.way_to("8.8.8.8") == "tun660")

    scene.play(scenario)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ip link set wan2 down", "interface down"),
        ("ip link set wan2-far down", "carrier lost"),
        ("ip route delete default dev wan2", "default route withdrawn"),
        ("ip link delete wan2", "interface gone"),
    ],
)
def test_a_link_that_goes_leaves_the_bond_at_once(scene: Scene, change: str, reason: str) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        number = scene.engine.number_of("wan2")
        scene.run(change)
        await scene.until(lambda: scene.engine.names() == ["wan1"])
        assert (number, reason) in scene.engine.removed

    scene.play(scenario)


def test_a_link_that_comes_back_joins_at_once(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        scene.run("ip link set wan2-far down")
        await scene.until(lambda: scene.engine.names() == ["wan1"])
        scene.run("ip link set wan2-far up")
        await scene.until(lambda: scene.engine.names() == ["wan1", "wan2"])

    scene.play(scenario)


def test_a_new_modem_joins_and_is_told_apart_from_one_with_the_same_address(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        scene.run(
            "ip link add lte type veth peer name lte-far; ip link set lte up; ip link set lte-far up;"
            "ip address add 10.0.1.2/24 dev lte; ip route add default via 10.0.1.1 dev lte metric 300"
        )
        await scene.until(lambda: scene.engine.names() == ["lte", "wan1", "wan2"])
        assert {source for name, source, _ in scene.engine.links.values() if name != "wan2"} == {"10.0.1.2"}

    scene.play(scenario)


def test_an_address_changed_by_dhcp_makes_the_link_anew(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        scene.run(
            "ip address add 10.0.2.99/24 dev wan2; ip address delete 10.0.2.2/24 dev wan2; ip address add 10.0.2.99/24 dev wan2 || true;"
            "ip route replace default via 10.0.2.1 dev wan2 metric 200"
        )
        await scene.until(lambda: ("wan2", "10.0.2.99", ("192.0.2.1", 12345)) in scene.engine.links.values())

    scene.play(scenario)


def test_a_link_the_engine_declares_dead_is_tried_again(scene: Scene) -> None:
    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        dead = scene.engine.number_of("wan2")
        scene.engine.say(FakeEvent("link_down", link=dead, name="wan2", detail="silent for 10 s", links_up=1))
        await scene.until(lambda: "wan2" not in scene.engine.names())
        await scene.until(lambda: "wan2" in scene.engine.names())
        assert scene.engine.number_of("wan2") != dead

    scene.play(scenario)


def test_started_without_any_wan_it_waits_says_so_and_joins_later(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.run("ip route delete default; ip route delete default")

    async def scenario() -> None:
        await scene.until(lambda: "no WAN link" in caplog.text)
        scene.run("ip route add default via 10.0.2.1 dev wan2")
        await scene.until(lambda: scene.engine.names() == ["wan2"])

    scene.play(scenario)


def test_started_without_name_service_it_waits_and_says_so(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await scene.until(lambda: "cannot find vps.example.invalid" in caplog.text)
        assert scene.engine.links == {}

    scene.play(scenario, connect_addr="vps.example.invalid:12345")


def test_a_wan_that_only_its_gateway_is_known_of_gets_a_way_to_the_server(scene: Scene) -> None:
    scene.run("ip route delete default dev wan2")

    async def scenario() -> None:
        await scene.until(lambda: scene.engine.names() == ["wan1", "wan2"])
        assert "via 10.0.2.9 dev wan2" in scene.run("ip route get 192.0.2.1 oif wan2")
        assert scene.way_to("192.0.2.1") == "wan1"

    scene.play(scenario, wan=["wan2@10.0.2.9"])
    assert "via 10.0.2.9" not in scene.run("ip route show table all")


def test_a_table_that_no_rule_leads_to_still_makes_a_working_link(scene: Scene) -> None:
    scene.run(
        "ip route flush 0/0; ip route add default via 10.0.1.1 dev wan1 table 6; ip rule add fwmark 9 lookup 6"
    )
    assert " via " not in scene.run("ip route get 192.0.2.1 from 10.0.1.2 oif wan1")

    async def scenario() -> None:
        await scene.until(lambda: scene.engine.names() == ["wan1"])
        assert "via 10.0.1.1" in scene.run("ip route get 192.0.2.1 from 10.0.1.2 oif wan1")
        scene.run("ip address add 10.0.1.77/24 dev wan1")  # any change: what was found out must stay
        await asyncio.sleep(0.5)
        assert "via 10.0.1.1" in scene.run("ip route get 192.0.2.1 from 10.0.1.2 oif wan1")

    scene.play(scenario)


def test_where_the_kernel_finds_the_way_no_rule_is_made_for_a_link(scene: Scene) -> None:
    before = scene.run("ip rule")

    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        assert scene.run("ip rule") == before

    scene.play(scenario)


def test_an_interface_that_is_plugged_in_later_is_waited_for_with_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await scene.until(lambda: "waiting for an interface link=wwan0" in caplog.text)
        assert "there is no such interface yet" in caplog.text
        await scene.until(lambda: scene.engine.names() == ["wan1", "wan2"])
        scene.run(
            "ip link add wwan0 type veth peer name wwan0-far; ip link set wwan0 up; ip link set wwan0-far up;"
            "ip address add 10.0.9.2/24 dev wwan0"
        )
        await scene.until(lambda: scene.engine.names() == ["wan1", "wan2", "wwan0"])

    scene.play(scenario, wan=["wwan0"])
    assert caplog.text.count("waiting for an interface") == 1


def test_an_address_of_the_tunnel_that_is_in_use_is_refused_in_one_line(scene: Scene) -> None:
    async def scenario() -> None:
        await asyncio.sleep(10)

    scene.run("ip address add 10.10.10.1/30 dev lan")
    with pytest.raises(
        RatbondError, match=r"10.10.10.0/30 is in use: lan has 10.10.10.1; give another --tunnel-ip"
    ):
        scene.play(scenario)
    assert not scene.state.exists()


def test_strict_reverse_path_filters_are_loosened_while_it_runs(scene: Scene) -> None:
    scene.run("sysctl -qw net.ipv4.conf.all.rp_filter=1")

    async def scenario() -> None:
        await scene.until(lambda: len(scene.engine.links) == 2)
        assert scene.run("sysctl -n net.ipv4.conf.wan1.rp_filter net.ipv4.conf.wan2.rp_filter").split() == [
            "2",
            "2",
        ]
        await scene.session_up()
        assert scene.run("sysctl -n net.ipv4.conf.tun660.rp_filter") == "2\n"

    scene.play(scenario)
    assert scene.run("sysctl -n net.ipv4.conf.wan1.rp_filter net.ipv4.conf.wan2.rp_filter").split() == [
        "0",
        "0",
    ]
