"""The commands of the stock documentation, word for word, over its example of two WANs; and what else a user may type.

::

    rb-NAME-cli: lan 192.168.99.14/24, the only route in main     rb-NAME-srv: 1.1.1.1
    wan1, table 6, rule from its address  ═ emulator ═
    wan2, table 7, rule from its address  ═ emulator ═
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.net.bond import Bond, End, until
from tests.net.conftest import as_documented

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

SECONDS = 4  # 60 in the documentation's command


def download(bond: Bond, server_address: str) -> None:
    """``iperf3 -P 6 -R``, which must go on to its end and use both links."""
    before = [link.stats()["down"]["delivered_bytes"] for link in bond.lab.links]
    bond.lab.server.popen("iperf3", "-s", "-1", "-B", server_address, stdout=subprocess.DEVNULL)
    listening = ("ss", "-Hltn", "src", f"{server_address}:5201")
    until(lambda: bool(bond.lab.server.run(*listening).stdout.strip()))
    command = ["iperf3", "-P", "6", "-R", "-c", server_address, "-t", str(SECONDS), "-J"]
    report = json.loads(bond.lab.client.run(*command, timeout_s=60, check=False).stdout)
    assert "error" not in report, report["error"]
    assert all(stream["receiver"]["bytes"] > 0 for stream in report["end"]["streams"])
    after = [link.stats()["down"]["delivered_bytes"] for link in bond.lab.links]
    assert all(b > a for a, b in zip(before, after, strict=True)), "both links carry"


def both_up(server: End, client: End) -> Callable[[], bool]:
    return lambda: client.links_up() == ["wan1", "wan2"] and len(server.links_up()) == 2


def test_the_trivial_commands_work_over_tables_6_and_7(bond: Bond) -> None:
    as_documented(bond.lab)
    server = bond.start(bond.lab.server, *["server", "--listen-addr=0.0.0.0:12345"], verbatim=True)
    client = bond.start(bond.lab.client, *["client", "--connect-addr=1.1.1.1:12345"], verbatim=True)
    until(both_up(server, client), client)
    until(lambda: bond.ping("10.10.10.1"), client)
    assert "10.10.10.2/30" in bond.lab.client.run("ip", "-br", "address", "show", "tun660").stdout
    until(lambda: " dev tun660 " in bond.lab.client.run("ip", "route", "get", "198.51.100.9").stdout, client)
    assert " dev lan " in bond.lab.client.run("ip", "route", "get", "192.168.99.77").stdout
    download(bond, "10.10.10.1")


def test_the_aes_commands_work_over_tables_6_and_7(bond: Bond) -> None:
    as_documented(bond.lab)
    server_words = "server --aes --secret=verysecret --tunnel-id=990 --listen-addr=0.0.0.0:5432 --tunnel-ip=10.10.10.40/30"
    client_words = (
        "client --aes --secret=verysecret --tunnel-id=990 --tun-name=tun1 --connect-addr=1.1.1.1:5432"
        " --tunnel-ip=10.10.10.40/30"
    )
    server = bond.start(bond.lab.server, *server_words.split(), verbatim=True)
    client = bond.start(bond.lab.client, *client_words.split(), verbatim=True)
    until(both_up(server, client), client)
    until(lambda: bond.ping("10.10.10.41"), client)
    assert "10.10.10.42/30" in bond.lab.client.run("ip", "-br", "address", "show", "tun1").stdout
    assert "10.10.10.41/30" in bond.lab.server.run("ip", "-br", "address", "show", "tun990").stdout
    for end in (server, client):
        assert "verysecret" not in end.log
        assert "--secret-file" in end.log, "which is better than the command line"
    download(bond, "10.10.10.41")


def test_mux_is_how_many_conversations_a_link_has(bond: Bond) -> None:
    server, client = bond.server(), bond.client("--mux=2")

    def conversations(end: End) -> list[int]:
        links = [link for session in end.status()["sessions"] for link in session["links"]]
        return sorted(link["conv"] for link in links if link["state"] == "up")

    until(lambda: conversations(client) == conversations(server) == [660, 661, 662, 663], client)
    assert client.links_up() == ["wan1", "wan1", "wan2", "wan2"]


def test_a_taken_default_port_of_the_status_warns_and_goes_on(bond: Bond) -> None:
    with bond.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("0.0.0.0", 8091))
        taken.listen()
        bond.server()
        client = bond.client()
        until(bond.ping, client)
        assert "no status server" in client.log
        assert "0.0.0.0:8091" in client.log
