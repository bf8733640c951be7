"""The commands of the stock documentation, word for word, over its example of two WANs; and what else a user may type.

::

    rb-NAME-cli: lan 192.168.99.14/24, the only route in main     rb-NAME-srv: 1.1.1.1
    wan1, table 6, rule from its address  ═ emulator ═
    wan2, table 7, rule from its address  ═ emulator ═
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.net.bond import PORT, RATBOND, Bond, End, until
from tests.net.conftest import DOCUMENTED_SECONDS, as_documented

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90 + 2 * DOCUMENTED_SECONDS)]


def download(bond: Bond, server_address: str) -> None:
    """``iperf3 -P 6 -R``, which must go on to its end and use both links."""
    before = [link.stats()["down"]["delivered_bytes"] for link in bond.lab.links]
    bond.lab.server.popen("iperf3", "-s", "-1", "-B", server_address, stdout=subprocess.DEVNULL)
    listening = ("ss", "-Hltn", "src", f"{server_address}:5201")
    until(lambda: bool(bond.lab.server.run(*listening).stdout.strip()))
    command = ["iperf3", "-P", "6", "-R", "-c", server_address, "-t", str(DOCUMENTED_SECONDS), "-J"]
    timeout_s = 60 + DOCUMENTED_SECONDS
    report = json.loads(bond.lab.client.run(*command, timeout_s=timeout_s, check=False).stdout)
    assert "error" not in report, report["error"]
    print(f"{report['end']['sum_received']['bits_per_second'] / 1e6:.1f} Mbit/s in {DOCUMENTED_SECONDS} s")
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


def test_a_server_that_is_given_the_clients_tun_name_warns_and_goes_on(bond: Bond) -> None:
    server, client = bond.server("--tun-name=tun1"), bond.client("--tun-name=tun1")
    until(lambda: bond.ping("10.10.10.1"), client)
    assert "warning: --tun-name is the client's" in server.log
    assert "tun660" in bond.lab.server.run("ip", "-br", "link").stdout


@pytest.mark.parametrize(
    ("listen", "family"), [("[::]", 4), ("[::]", 6), ("one address", 4), ("one address", 6)]
)
def test_a_server_is_reached_by_each_family_that_it_listens_on(bond: Bond, listen: str, family: int) -> None:
    address = bond.lab.server_ipv4 if family == 4 else f"[{bond.lab.server_ipv6}]"
    server = bond.server(f"--listen-addr={address if listen == 'one address' else listen}:{PORT}")
    client = bond.start(bond.lab.client, "client", f"--connect-addr={address}:{PORT}")
    until(both_up(server, client), client)
    until(bond.ping, client)
    sources = [link["source"] for session in client.status()["sessions"] for link in session["links"]]
    assert all(source.startswith("[") == (family == 6) for source in sources), sources


def test_each_end_chooses_its_scheduler_for_itself(bond: Bond) -> None:
    server, client = bond.server("--balance-roundrobin"), bond.client("--balance-consistent")
    until(both_up(server, client), client)
    until(bond.ping, client)
    assert (server.status()["scheduler"], client.status()["scheduler"]) == ("roundrobin", "consistent")


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


def test_the_status_is_not_served_to_public_addresses(bond: Bond) -> None:
    """The server's own address is in a public range that the lab borrows; asked from there, it tells nothing."""
    server, client = bond.up()
    bond.lab.server.ip("addr add 1.1.1.1/32 dev lo")
    bond.lab.client.ip("addr add 1.0.0.1/32 dev lo")
    bond.lab.server.ip(f"route add 1.0.0.1/32 via {bond.lab.links[0].ipv4} dev isp1")
    ask = (
        "curl",
        "-s",
        "--interface",
        "1.0.0.1",
        "-w",
        "%{http_code}",
        f"http://{bond.lab.server_ipv4}:8091/status",
    )
    answer = bond.lab.client.run(*ask).stdout
    assert answer.endswith("403")
    assert "1.0.0.1 is a public one" in answer
    assert "sessions" not in answer
    assert server.status()["sessions"]
    assert client.status()["sessions"]


def test_status_is_watched_as_json_until_interrupted(bond: Bond) -> None:
    bond.up()
    watch = bond.lab.client.popen(*RATBOND, "status", "--json", "--watch", stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    first, second = (json.loads(watch.stdout.readline()) for _ in range(2))
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=20)
    assert watch.returncode == 0
    assert first["schema"] == 1
    assert second["uptime_s"] > first["uptime_s"]
    text = bond.lab.client.run(*RATBOND, "status").stdout
    assert text.startswith("ratbond ")
    assert all(word in text for word in ("wan1", "wan2", "LOSS", "RTO", "HELLO"))


def test_statistics_are_logged_as_often_as_asked(bond: Bond) -> None:
    server, client = bond.server("--stats-interval=0"), bond.client("--stats-interval=0.5")
    until(lambda: client.log.count("statistics session=0 links_up=2/2") >= 2, client)
    assert "statistics" not in server.log


def test_debug_says_more_and_trace_tells_every_datagram_at_a_bounded_rate(bond: Bond) -> None:
    server, client = bond.server("--debug"), bond.client("--trace")
    until(both_up(server, client), client)
    until(lambda: bond.ping("10.10.10.1", "-f", "-c", "400"), client)
    time.sleep(1.1)
    until(lambda: "more were not told" in client.log, client)
    assert f"trace: to {bond.lab.server_ipv4}:{PORT} 84 B, push conv 660 sn 0 una 0" in client.log
    assert "trace: tun in 84 B, icmp 10.10.10.2 to 10.10.10.1" in client.log
    assert " debug: " in server.log
    assert " trace: " not in server.log


def test_a_name_service_that_does_not_answer_is_named(bond: Bond) -> None:
    """Nobody answers at the name server's address, which holds a look-up for many seconds."""
    resolver = 'echo nameserver 198.51.100.53 > $1; mount --bind $1 /etc/resolv.conf; shift; exec "$@"'
    file = bond.file("resolv.conf")
    wrapper = ("unshare", "--mount", "sh", "-ec", resolver, "sh", str(file))
    with bond.lab.links[0].blackhole(), bond.lab.links[1].blackhole():
        client = bond.start(
            bond.lab.client, "client", f"--connect-addr=vps.example.com:{PORT}", wrapper=wrapper
        )
        until(lambda: "the name service to say where vps.example.com is" in client.log, client)
        assert client.stop() == 0
