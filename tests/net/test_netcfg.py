"""What a tunnel changes on a real kernel, and that all of it is undone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ratbond.errors import RatbondError
from ratbond.netcfg.apply import Network
from ratbond.netcfg.journal import Journal
from ratbond.netcfg.plan import EVERYTHING, Uplink, Wanted, plan, tunnel_addresses

from .conftest import Shell

pytestmark = pytest.mark.netns

TUNNEL = (ip_network("10.10.10.0/30"), ip_network("fd72:6174:626f:294::/126"))
SERVER = ip_address("192.0.2.1")
OUTSIDE = {"4": "8.8.8.8", "6": "2001:db8:5::1"}
WAN1 = Uplink("wan1", ip_address("10.0.1.2"), SERVER)
WAN2 = Uplink("wan2", ip_address("10.0.2.2"), SERVER)
UP = Wanted(
    660, "tun660", 1336, tunnel_addresses(*TUNNEL, first=False), through=EVERYTHING, uplinks=(WAN1,)  # type: ignore[arg-type]
)  # fmt: skip


def state_of_system(run: Shell) -> str:
    """All that a tunnel may change; not what the kernel finds out by itself."""
    state = run(
        "ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all | grep -Ev 'fe80|multicast';"
        "sysctl -a 2>/dev/null | grep '[.]rp_filter'"
    )
    return state.replace(" linkdown", "")


def with_network(
    tmp_path: Path, body: Callable[[Network], Awaitable[None]], owner: str = "client-660"
) -> None:
    async def run() -> None:
        network = Network(Journal(tmp_path, owner))
        await network.recover()
        await body(network)

    asyncio.run(run())


async def die(network: Network) -> None:
    """As kill -9 would: nothing is undone, the lock is gone."""
    os.close(network._journal._lock)
    await network._kernel.close()


@pytest.fixture
def tun(inside_namespace: Shell) -> Shell:
    inside_namespace("ip tuntap add tun660 mode tun; ip route add default via 10.0.1.1 dev wan1 metric 100")
    return inside_namespace


def test_a_bond_that_was_up_leaves_the_system_as_it_was(tun: Shell, tmp_path: Path) -> None:
    tun("sysctl -qw net.ipv4.conf.wan1.rp_filter=1; ip rule add from 10.0.1.2 lookup 6")
    before = state_of_system(tun)

    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        assert tun("sysctl -n net.ipv4.conf.wan1.rp_filter") == "2\n"
        assert state_of_system(tun) != before
        await network.undo()

    with_network(tmp_path / "state", body)
    assert state_of_system(tun) == before
    assert not (tmp_path / "state").exists()


def test_everything_goes_through_the_tunnel_but_the_lan_and_what_is_bound_to_a_wan(
    tun: Shell, tmp_path: Path
) -> None:
    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        ways = {
            "8.8.8.8": "tun660",
            "10.0.1.77": "wan1",
            "192.168.99.7": "lan",
            "8.8.8.8 from 10.0.1.2": "wan1",
            "8.8.8.8 oif wan1": "wan1",
            "192.0.2.1": "wan1",
            "2001:db8::1": "tun660",
        }
        for destination, device in ways.items():
            assert f" dev {device} " in tun(f"ip route get {destination}"), destination
        await network.reconcile(plan(replace(UP, through=())))
        assert " dev wan1 " in tun("ip route get 8.8.8.8")
        await network.undo()

    with_network(tmp_path, body)


def test_only_the_networks_of_split_routes_go_through_the_tunnel(tun: Shell, tmp_path: Path) -> None:
    """Main's more exact routes stay, its equal and wider ones give way."""
    tun("ip route add 198.51.100.0/24 via 10.0.2.1 dev wan2; ip route add 198.51.100.64/26 dev lan")
    before = state_of_system(tun)
    networks = tuple(map(ip_network, ("198.51.100.0/24", "192.168.0.0/16", "2001:db8:5::/48")))

    async def body(network: Network) -> None:
        await network.reconcile(plan(replace(UP, through=networks)))
        ways = {
            "198.51.100.9": "tun660",
            "198.51.100.65": "lan",
            "198.51.100.9 from 10.0.1.2": "wan2",
            "192.168.5.5": "tun660",
            "192.168.99.7": "lan",
            "2001:db8:5::1": "tun660",
            "8.8.8.8": "wan1",
        }
        for destination, device in ways.items():
            assert f" dev {device} " in tun(f"ip route get {destination}"), destination
        tun(f"ip route del 192.168.0.0/16 table {0x7262_0000 + 660}")
        assert await network.reassert(), "one of several, too"
        assert " dev tun660 " in tun("ip route get 192.168.5.5")
        await network.reconcile(plan(replace(UP, through=networks[:1])))
        assert " dev wan1 " in tun("ip route get 192.168.5.5")
        await network.undo()

    with_network(tmp_path, body)
    assert state_of_system(tun) == before


def test_rules_of_others_keep_their_say(tun: Shell, tmp_path: Path) -> None:
    tun("ip route add default via 10.0.2.1 dev wan2 table 7; ip rule add to 203.0.113.0/24 lookup 7")

    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        assert " dev wan2 " in tun("ip route get 203.0.113.9")
        tun("ip rule add to 198.51.100.0/24 lookup 7")  # made later, the kernel still numbers it before ours
        assert " dev wan2 " in tun("ip route get 198.51.100.9")
        await network.undo()

    with_network(tmp_path, body)


def test_a_link_that_joins_later_goes_before_the_tunnels_route_too(tun: Shell, tmp_path: Path) -> None:
    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        await network.reconcile(plan(replace(UP, uplinks=(WAN1, WAN2))))
        assert " dev tun660 " in tun("ip route get 8.8.8.8")
        assert " dev wan1 " in tun("ip route get 8.8.8.8 from 10.0.2.2")  # as it went before the tunnel
        assert tun("ip rule").count("suppress_prefixlength 0") == 1
        await network.reconcile(plan(replace(UP, uplinks=(WAN2,))))
        assert "10.0.1.2" not in tun("ip rule")
        await network.undo()

    with_network(tmp_path, body)


def test_after_a_crash_the_next_start_undoes_what_was_left(tun: Shell, tmp_path: Path) -> None:
    tun("sysctl -qw net.ipv4.conf.wan1.rp_filter=1")
    before = state_of_system(tun)

    async def crash(network: Network) -> None:
        gateway = replace(WAN2, gateway=ip_address("10.0.2.1"))
        await network.reconcile(plan(replace(UP, uplinks=(WAN1, gateway))))
        await die(network)

    with_network(tmp_path, crash)
    tun("ip link delete tun660; ip tuntap add tun660 mode tun")  # the device dies with its process
    assert state_of_system(tun) != before

    async def nothing(network: Network) -> None:
        assert state_of_system(tun) == before
        await network.undo()

    with_network(tmp_path, nothing)
    assert state_of_system(tun) == before


def test_who_is_told_to_end_while_it_undoes_what_was_left_undoes_it_all(tun: Shell, tmp_path: Path) -> None:
    before = state_of_system(tun)

    async def crash(network: Network) -> None:
        await network.reconcile(plan(UP))
        await die(network)

    with_network(tmp_path / "state", crash)
    tun("ip link delete tun660; ip tuntap add tun660 mode tun")

    async def interrupted() -> None:
        network = Network(Journal(tmp_path / "state", "client-660"))
        recovery = asyncio.create_task(network.recover())
        await asyncio.sleep(0)
        recovery.cancel()
        await asyncio.wait([recovery])
        assert state_of_system(tun) != before
        await network.undo()

    asyncio.run(interrupted())
    assert state_of_system(tun) == before
    assert not (tmp_path / "state").exists()


def test_a_fence_that_a_killed_run_left_is_taken_over_and_never_down(tun: Shell, tmp_path: Path) -> None:
    before = state_of_system(tun)
    fence = plan(Wanted(660, "tun660", 1336, fenced=EVERYTHING, server=SERVER))

    async def crash(network: Network) -> None:
        await network.reconcile(plan(replace(UP, fenced=EVERYTHING, server=SERVER)))
        await die(network)

    with_network(tmp_path / "state", crash)
    tun("ip link delete tun660; ip tuntap add tun660 mode tun")

    async def take_over() -> None:
        network = Network(Journal(tmp_path / "state", "client-660"))
        monitor = await asyncio.create_subprocess_exec(
            "ip", "monitor", "rule", "route", stdout=asyncio.subprocess.PIPE
        )
        await asyncio.sleep(0.3)  # until it listens
        await network.recover(keep=fence)
        await network.reconcile(fence)
        monitor.terminate()
        told = (await monitor.communicate())[0].decode()
        assert "Deleted" not in told
        assert network.applied == fence
        for version in "46":
            assert tun(f"ip -{version} rule").count("suppress_prefixlength 0") == 1
            assert "No route to host" in tun(f"ip -{version} route get {OUTSIDE[version]} 2>&1 || true")
        await network.undo()

    asyncio.run(take_over())
    assert state_of_system(tun) == before


def test_a_crash_before_a_step_was_done_harms_nothing(tun: Shell, tmp_path: Path) -> None:
    before = state_of_system(tun)

    async def crash(network: Network) -> None:
        network._journal.write(list(plan(UP)))
        await die(network)

    with_network(tmp_path, crash)

    async def nothing(network: Network) -> None:
        await network.undo()

    with_network(tmp_path, nothing)
    assert state_of_system(tun) == before


def test_two_tunnels_share_a_sysctl_and_the_last_restores_it(tun: Shell, tmp_path: Path) -> None:
    tun("sysctl -qw net.ipv4.conf.wan1.rp_filter=1; ip tuntap add tun990 mode tun")
    other_end = Wanted(990, "tun990", 1336, uplinks=(WAN1,))

    async def body(first: Network) -> None:
        second = Network(Journal(tmp_path, "client-990"))
        await first.reconcile(plan(UP))
        await second.reconcile(plan(other_end))
        await first.undo()
        assert tun("sysctl -n net.ipv4.conf.wan1.rp_filter") == "2\n"
        await second.undo()
        assert tun("sysctl -n net.ipv4.conf.wan1.rp_filter") == "1\n"

    with_network(tmp_path, body)


def test_a_sysctl_that_somebody_else_set_meanwhile_is_left_to_them(tun: Shell, tmp_path: Path) -> None:
    tun("sysctl -qw net.ipv4.conf.wan1.rp_filter=1")

    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        tun("sysctl -qw net.ipv4.conf.wan1.rp_filter=0")
        await network.undo()

    with_network(tmp_path, body)
    assert tun("sysctl -n net.ipv4.conf.wan1.rp_filter") == "0\n"


def test_what_somebody_flushes_is_put_back_once(tun: Shell, tmp_path: Path) -> None:
    async def body(network: Network) -> None:
        await network.reconcile(plan(UP))
        whole = state_of_system(tun)
        tun("ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default")
        tun(f"ip route flush table {0x7262_0000 + 660}")
        assert await network.reassert()
        assert state_of_system(tun) == whole
        assert not await network.reassert()
        await network.undo()

    with_network(tmp_path, body)


@pytest.mark.usefixtures("tun")
def test_the_same_end_cannot_run_twice(tmp_path: Path) -> None:
    async def body(network: Network) -> None:
        with pytest.raises(RatbondError, match=r"client with tunnel-id 660 is running.*--tunnel-id"):
            Journal(tmp_path, "client-660")
        await network.undo()

    with_network(tmp_path, body)


@pytest.mark.usefixtures("inside_namespace")
def test_a_kernel_that_refuses_is_an_error_of_one_line_and_all_is_undone(tmp_path: Path) -> None:
    async def body(network: Network) -> None:
        with pytest.raises(OSError, match="no interface tun660"):
            await network.reconcile(plan(UP))  # there is no tun660
        await network.undo()

    with_network(tmp_path / "state", body)
    assert not (tmp_path / "state").exists()
