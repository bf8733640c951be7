"""What happens to a link in the middle of a bond: both ends say so in one line, within a second, and take it back.

The times are those of the daemons' own logs. One try in three has to make it: on a machine that does other things
besides, a line may be late through no fault of the bond's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from ratbond.lab import Lab, Link, topology
from tests.net.bond import Bond, End, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(110)]

LEAVES_WITHIN_S = 1.0
TRIES = 3
LEFT = r"link left the bond .*"


def unplug(lab: Lab, link: Link) -> None:
    """Takes the client's interface away, as a modem that is pulled out; the cable stays with the emulator."""
    lab.client.ip(f"link set {link.name} netns {lab.wan.namespace}")


def plug_in(lab: Lab, link: Link) -> None:
    lab.wan.ip(f"link set {link.name} netns {lab.client.namespace}")
    lab.client.ip(*topology.client_commands(link._plan))


def renumber(lab: Lab, link: Link) -> None:
    del lab
    link.renumber()


def nothing(lab: Lab, link: Link) -> None:
    del lab, link


EVENTS: dict[str, tuple[Callable[[Lab, Link], None], Callable[[Lab, Link], None]]] = {
    "interface down": (lambda _, link: link.interface_down(), lambda _, link: link.interface_up()),
    "carrier lost": (lambda _, link: link.carrier_down(), lambda _, link: link.carrier_up()),
    "default route withdrawn": (lambda _, link: link.route_withdraw(), lambda _, link: link.route_restore()),
    "interface gone": (unplug, plug_in),
    # Deleting the old address takes the route along; which of the two is seen first is the kernel's business.
    "(address changed|default route withdrawn)": (renumber, nothing),
}


def lines_since(end: End, moment_s: float, words: str) -> list[tuple[float, str]]:
    """The lines of an end's log with these words, from a moment on, with their times."""
    found = []
    for line in end.log.splitlines():
        stamp = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) ", line)
        if stamp and re.search(words, line):
            at_s = datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S.%f").astimezone().timestamp()
            if at_s >= moment_s - 0.001:  # the log cuts its milliseconds off
                found.append((at_s, line))
    return found


def both_links_up(server: End, client: End) -> bool:
    return client.links_up() == ["wan1", "wan2"] and len(server.links_up()) == 2


def both_have_told(server: End, client: End, moment_s: float) -> Callable[[], bool]:
    return lambda: all(lines_since(end, moment_s, LEFT) for end in (server, client))


@pytest.mark.parametrize("reason", EVENTS)
def test_a_link_event_takes_it_out_at_both_ends_within_a_second_and_it_joins_again(
    bond: Bond, reason: str
) -> None:
    server, client = bond.up()
    happen, heal = EVENTS[reason]
    times_s = []
    for _ in range(TRIES):
        moment_s = time.time()
        happen(bond.lab, bond.lab.links[1])
        until(both_have_told(server, client, moment_s), client)
        (told_here,), (told_there,) = (lines_since(end, moment_s, LEFT) for end in (client, server))
        assert re.search(rf'link=wan2 links_up=1 why="?{reason}', told_here[1]), told_here
        assert re.search(r'link=10\.77\.2\.\d+:\d+ links_up=1 why="the peer took it down"', told_there[1]), (
            told_there
        )
        assert not lines_since(client, moment_s, "link gone"), "one line for a change"
        heal(bond.lab, bond.lab.links[1])
        until(lambda: both_links_up(server, client), client)
        times_s.append(max(told_here[0], told_there[0]) - moment_s)
        if times_s[-1] < LEAVES_WITHIN_S:
            break
    assert min(times_s) < LEAVES_WITHIN_S, times_s
    assert bond.ping()


def rename(lab: Lab, link: Link) -> None:
    lab.client.ip(f"link set {link.name} name lte0")


def add_address(lab: Lab, link: Link) -> None:
    lab.client.ip(f"addr add 10.99.0.7/24 dev {link.name}", f"addr add 2001:db8:99::7/64 dev {link.name}")


HARMLESS = {"a second address": add_address, "an interface renamed": rename}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_is_no_trouble_does_no_harm(bond: Bond, change: str) -> None:
    server, client = bond.up()
    moment_s = time.time()
    HARMLESS[change](bond.lab, bond.lab.links[1])
    # What comes after it is seen, so it has been seen itself.
    with bond.lab.links[0].route_withdrawn():
        until(lambda: bool(lines_since(server, moment_s, LEFT)), server)
        assert bond.ping()
    until(lambda: bool(lines_since(client, moment_s, "link joined the bond link=wan1")), client)
    assert not lines_since(client, moment_s, r"link left the bond link=(wan2|lte0)")


def test_a_renamed_interface_is_the_same_link_under_its_new_name(bond: Bond) -> None:
    server, client = bond.up()
    moment_s = time.time()
    rename(bond.lab, bond.lab.links[1])
    until(lambda: client.links_up() == ["lte0", "wan1"], client)
    assert len(lines_since(client, moment_s, "link renamed link=lte0 before=wan2")) == 1
    assert not lines_since(client, moment_s, LEFT)
    bond.lab.client.ip("link set lte0 down")
    until(lambda: bool(lines_since(client, moment_s, "link left the bond link=lte0 ")), client)
    until(lambda: client.links_up() == ["wan1"], client)
    plan = bond.lab.links[1]._plan
    bond.lab.client.ip(
        "link set lte0 up",
        *(line.replace("dev wan2", "dev lte0") for line in topology.client_neighbour_commands(plan)),
        *(line.replace("dev wan2", "dev lte0") for line in topology.default_route_commands(plan, "replace")),
    )
    until(lambda: client.links_up() == ["lte0", "wan1"] and len(server.links_up()) == 2, client)


def test_a_client_with_new_addresses_on_all_its_links_is_back(bond: Bond) -> None:
    server, client = bond.up()
    sources = [link.renumber() for link in bond.lab.links]

    def met_again() -> bool:
        links = [link for session in server.status()["sessions"] for link in session["links"]]
        up = {link["remote"].partition(":")[0] for link in links if link["state"] == "up"}
        return up == set(sources) and client.links_up() == ["wan1", "wan2"]

    until(met_again, client)
    assert bond.ping()


BACK_BY_THE_SAME_WAY = """
table ip back {
    chain in {
        type filter hook prerouting priority mangle
        iifname "isp1" ct mark set 1
        iifname "isp2" ct mark set 2
    }
    chain out {
        type route hook output priority mangle
        meta mark set ct mark
    }
}
"""


def test_two_modems_with_the_same_subnet_and_address_are_two_links_that_carry(bond: Bond) -> None:
    """Two sticks of one make, each with the network that its maker gave it. The server tells them apart by the way they come."""
    client, server = bond.lab.client, bond.lab.server
    client.run("sh", "-c", "ip route flush 0/0")
    server.run("sh", "-c", "for f in /proc/sys/net/ipv4/conf/isp*/rp_filter; do echo 0 > $f; done")
    for link in bond.lab.links:
        plan, at = link._plan, link.number
        client.ip(
            f"addr flush dev {link.name}",
            f"addr add 192.168.8.100/24 dev {link.name}",
            f"neigh replace 192.168.8.1 lladdr {plan.server_mac} dev {link.name} nud permanent",
            f"route add default via 192.168.8.1 dev {link.name} metric {plan.metric}",
        )
        server.ip(
            f"neigh replace 192.168.8.100 lladdr {plan.client_mac} dev isp{at} nud permanent",
            f"route add 192.168.8.100 dev isp{at} table {40 + at}",
            f"rule add fwmark {at} lookup {40 + at}",
        )
    # What came by one provider goes back by it, as it would to two addresses of a provider's own.
    server.ip(
        "route add 192.168.8.100 dev isp1"
    )  # the kernel looks for a way first, and for the mark's way after that
    server.run("nft", "-f", "-", input_text=BACK_BY_THE_SAME_WAY)
    here = bond.client()
    there = bond.server()
    until(lambda: both_links_up(there, here), here)
    sources = {link["source"].partition(":")[0] for link in here.status()["sessions"][0]["links"]}
    assert sources == {"192.168.8.100"}
    for link in bond.lab.links:
        link.interface_down()
        until(lambda: len(here.links_up()) == len(there.links_up()) == 1, here)
        assert bond.ping(), f"without {link.name}"
        client.ip(
            f"link set {link.name} up",
            f"neigh replace 192.168.8.1 lladdr {link._plan.server_mac} dev {link.name} nud permanent",
            f"route add default via 192.168.8.1 dev {link.name} metric {link._plan.metric}",
        )
        until(lambda: both_links_up(there, here), here)


def test_a_route_without_a_source_is_enough(bond: Bond) -> None:
    """The stock program passes over routes outside the main table that name no source address."""
    client = bond.lab.client
    for link in bond.lab.links:
        client.ip(
            f"route add default via {link.gateway_ipv4} dev {link.name} table {5 + link.number}",
            f"rule add from {link.ipv4} lookup {5 + link.number}",
        )
    _, end = bond.up()
    assert "src" not in client.run("ip", "route", "show", "table", "6").stdout
    assert end.links_up() == ["wan1", "wan2"]


def test_the_last_link_has_none_to_be_told_over_and_the_server_finds_out_by_silence(bond: Bond) -> None:
    server, client = bond.up()
    moment_s = time.time()
    bond.lab.links[0].interface_down()
    bond.lab.links[1].interface_down()
    until(lambda: len(lines_since(client, moment_s, LEFT)) == 2, client)
    until(lambda: len(lines_since(server, moment_s, LEFT)) == 2, server)
    assert "no answer from the peer" in lines_since(server, moment_s, LEFT)[-1][1]
    assert lines_since(server, moment_s, "the bond is down")
    assert lines_since(client, moment_s, "the bond is down")
    for link in bond.lab.links:
        link.interface_up()
    until(lambda: both_links_up(server, client), client)
