"""What can happen to a link: each trouble looks as it does in life, and ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from ratbond.lab import Lab, LabError, Link

pytestmark = pytest.mark.netns

MakeLab = Callable[..., Lab]


def answers(lab: Lab, link: Link, *, to: str = "") -> bool:
    """Whether the server answers over this link."""
    done = lab.client.run("ping", "-c", "1", "-W", "1", "-I", link.name, to or lab.server_ipv4, check=False)
    return done.returncode == 0


def default_routes(lab: Lab, family: str = "-4") -> list[str]:
    """The devices of the client's default routes, the preferred one first."""
    routes = json.loads(lab.client.run("ip", "-j", family, "route", "show", "default").stdout)
    return [route["dev"] for route in sorted(routes, key=lambda route: route["metric"])]


def interface(lab: Lab, link: Link) -> dict[str, Any]:
    [found] = json.loads(lab.client.run("ip", "-j", "link", "show", link.name).stdout)
    return dict(found)


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab("100mbit,4ms", "100mbit,8ms")


def test_a_healthy_lab_has_two_ways_out_in_both_families(lab: Lab) -> None:
    for family, server in (("-4", lab.server_ipv4), ("-6", lab.server_ipv6)):
        assert default_routes(lab, family) == ["wan1", "wan2"]
        assert all(answers(lab, link, to=server) for link in lab.links)


def test_a_blackhole_is_silent(lab: Lab) -> None:
    first, second = lab.links
    with first.blackhole(), lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((first.gateway_ipv4, 9))
        for _ in range(3):
            sender.send(b"into the void")  # a closed port: without the blackhole the second one would fail
            assert not answers(lab, first)
        assert interface(lab, first)["operstate"] == "UP"
        assert default_routes(lab) == ["wan1", "wan2"]
        assert answers(lab, second)
        assert first.stats()["up"]["blackholed_packets"] >= 6
        neighbours = lab.client.run("ip", "neigh", "show", "dev", first.name, "nud", "failed").stdout
        assert neighbours == ""
    assert answers(lab, first)


def test_a_lost_carrier_shows_at_the_client_and_its_routes_stay(lab: Lab) -> None:
    first, second = lab.links
    with first.carrier_lost():
        assert "NO-CARRIER" in interface(lab, first)["flags"]
        assert "UP" in interface(lab, first)["flags"]
        assert default_routes(lab) == ["wan1", "wan2"]
        assert not answers(lab, first)
        assert answers(lab, second)
    assert "NO-CARRIER" not in interface(lab, first)["flags"]
    assert answers(lab, first)
    assert answers(lab, first, to=lab.server_ipv6)


def test_an_interface_down_loses_its_routes_and_gets_them_back(lab: Lab) -> None:
    first, second = lab.links
    with first.interface_pulled():
        assert "UP" not in interface(lab, first)["flags"]
        assert default_routes(lab) == ["wan2"]
        assert answers(lab, second)
    for family, server in (("-4", lab.server_ipv4), ("-6", lab.server_ipv6)):
        assert default_routes(lab, family) == ["wan1", "wan2"]
        assert answers(lab, first, to=server)


def test_a_withdrawn_default_route_leaves_the_interface_as_it_is(lab: Lab) -> None:
    first, _ = lab.links
    with first.route_withdrawn():
        for family in ("-4", "-6"):
            assert default_routes(lab, family) == ["wan2"]
        assert interface(lab, first)["operstate"] == "UP"
        assert answers(lab, first, to=first.gateway_ipv4)
    assert default_routes(lab) == ["wan1", "wan2"]
    assert answers(lab, first)


def test_a_renumbered_link_works_from_its_new_address_only(lab: Lab) -> None:
    first, _ = lab.links
    old_ipv4, old_ipv6 = first.ipv4, first.ipv6
    assert first.renumber() == first.ipv4
    assert (first.ipv4, first.ipv6) != (old_ipv4, old_ipv6)
    addresses = lab.client.run("ip", "-o", "addr", "show", first.name).stdout
    assert first.ipv4 in addresses
    assert f"{old_ipv4}/" not in addresses
    assert default_routes(lab) == ["wan1", "wan2"]
    assert answers(lab, first)
    assert answers(lab, first, to=lab.server_ipv6)
    assert Lab.attach(lab.name).links[0].ipv4 == first.ipv4
    with first.interface_pulled():
        pass
    assert answers(lab, first)


def test_a_provider_drops_what_does_not_come_from_its_own_address(lab: Lab) -> None:
    first, second = lab.links
    with lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, second.name.encode())
        sender.bind((first.ipv4, 0))
        sender.sendto(b"from the wrong address", (lab.server_ipv4, 9))
        assert answers(lab, second)  # and by now the other has arrived
    snmp = lab.server.run("nstat", "-asz", "TcpExtIPReversePathFilter").stdout
    assert int(snmp.split()[-2]) == 1


def test_settings_can_be_read_back(lab: Lab) -> None:
    first, second = lab.links
    first.set("10mbit,up.loss=1%")
    assert first.settings().up == {"rate_bps": 10_000_000, "delay_ms": 2.0, "loss": 0.01}
    assert first.settings().down == {"rate_bps": 10_000_000, "delay_ms": 2.0}
    assert second.settings().up == {"rate_bps": 100_000_000, "delay_ms": 4.0}


def test_a_wrong_change_is_refused_and_changes_nothing(lab: Lab) -> None:
    first, _ = lab.links
    before = first.settings()
    with pytest.raises(LabError, match="delay must be at most 60 s"):
        first.set("up.delay=100s")
    assert first.settings() == before
    assert answers(lab, first)


def test_links_are_found_by_name_and_number(lab: Lab) -> None:
    assert lab.link("wan2") is lab.link("2") is lab.links[1]
    with pytest.raises(LabError, match="wan1, wan2"):
        lab.link("wan3")
