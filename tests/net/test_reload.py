"""A running bond takes another configuration on SIGHUP, as far as that goes without dropping it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.net.bond import PORT, Bond, End, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def reload(end: End, answer: str) -> None:
    """Sends SIGHUP and waits for what the log says to it."""
    before = end.log.count(answer)
    end.process.send_signal(signal.SIGHUP)
    until(lambda: end.log.count(answer) > before, end)


def test_a_reload_takes_a_link_out_and_in_and_leaves_the_bond_up(bond: Bond, tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    connect = f'connect_addr = "{bond.lab.server_ipv4}:{PORT}"\nstats_interval = 0\n'
    file.write_text(connect)
    bond.server()
    client = bond.start(bond.lab.client, "client", f"--config={file}")
    until(lambda: client.links_up() == ["wan1", "wan2"] and bond.ping(), client)

    file.write_text(connect + 'no_wan = ["wan2"]\nbalance_roundrobin = true\nno_default_route = true\n')
    reload(client, "the configuration has changed")
    until(lambda: client.links_up() == ["wan1"], client)
    assert 'link=wan2 links_up=1 why="left out by --no-wan"' in client.log
    until(
        lambda: (
            " dev tun660 "
            not in bond.lab.client.run("ip", "route", "get", "198.51.100.9", check=False).stdout
        ),
        client,
    )
    assert bond.ping()

    file.write_text(connect + '[links.second]\nwan = "wan2"\n')
    reload(client, "the configuration has changed")
    until(lambda: client.links_up() == ["wan1", "wan2"], client)
    assert "the bond is down" not in client.log


def test_a_reload_says_what_is_wrong_and_what_needs_a_restart(bond: Bond, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("")
    server = bond.server(f"--config={file}")
    until(lambda: "listening" in server.log, server)
    file.write_text("mux = 2\nstats_interval = 5\n")
    reload(server, "the configuration has changed settings=stats_interval")
    assert "change with a restart only settings=mux" in server.log
    file.write_text("mux = 99\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: f"{file}:1: mux = 99: must be at most 11" in server.log, server)
    server.stop()
    bond.ends.remove(server)  # whose log has an error that belongs there
