"""Links that are not for everything: both ends over two emulated WANs of 50 Mbit/s and 20 ms, see conftest.py."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from ratbond.secret import generate
from tests.net.bond import PORT, RATBOND, Bond, End, UdpStream, until
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def tiers(end: End) -> dict[str, str]:
    return {link["name"]: link["tier"] for s in end.status()["sessions"] for link in s["links"]}


def carried(end: End, name: str) -> int:
    """Packets of the tun that a link has carried."""
    links = (link for session in end.status()["sessions"] for link in session["links"])
    return sum(link["tx_packets"] + link["rx_packets"] for link in links if link["name"] == name)


def test_a_backup_waits_takes_over_without_a_loss_and_is_a_primary_link_after_a_reload(
    bond: Bond, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path, generate())
    file = tmp_path / "client.toml"
    connect = f'connect_addr = "{bond.lab.server_ipv4}:{PORT}"\nno_default_route = true\n'
    file.write_text(f'{connect}[links.wan2]\ntier = "backup"\nrate = "10mbit/20mbit"\n')
    server = bond.server(secret)
    client = bond.start(bond.lab.client, "client", f"--config={file}", secret)
    until(lambda: tiers(client) == {"wan1": "primary", "wan2": "backup"} and bond.ping(), client)
    until(lambda: sorted(tiers(server).values()) == ["backup", "primary"], server)
    caps = {link["cap_down_bps"] for session in server.status()["sessions"] for link in session["links"]}
    assert caps == {None, 20_000_000}

    before = carried(client, "wan2")
    stream = UdpStream(bond.lab)
    until(lambda: len(stream.received) > 200)
    assert carried(client, "wan2") == before
    with bond.lab.links[0].interface_pulled():
        until(lambda: client.links_up() == ["wan2"], client)
        until(lambda: carried(client, "wan2") > before + 100, client)
    assert stream.finish() == set()
    assert stream.doubled == 0

    file.write_text(f'{connect}[links.wan2]\ntier = "secondary"\n')
    client.process.send_signal(signal.SIGHUP)
    until(lambda: sorted(tiers(server).values()) == ["primary", "secondary"], server)
    assert "link=wan2 preference=tier=secondary" in client.log.replace('"', "")
    assert "up (secondary)" in client.host.run(*RATBOND, "status").stdout


def flood(bond: Bond, megabytes: int) -> None:
    """Sends this through the tunnel at 20 Mbit/s."""
    sender = bond.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(megabytes * 1_000_000 // 1_300):
        sender.sendto(bytes(1_300), ("10.10.10.1", 7000))
        time.sleep(0.000_5)
    sender.close()


def used_bytes(client: End) -> int:
    (link,) = (link for session in client.status()["sessions"] for link in session["links"])
    return int(link["quota_used_bytes"])


def test_a_quota_outlives_a_killed_client_and_makes_the_link_a_backup_at_its_end(
    bond: Bond, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path, generate())
    file = tmp_path / "client.toml"
    connect = f'connect_addr = "{bond.lab.server_ipv4}:{PORT}"\nno_default_route = true\nno_wan = ["wan1"]\n'
    file.write_text(f'{connect}[links.wan2]\nquota = "6MB/month"\n')
    bond.server(secret)

    def start() -> End:
        kept_here = ("env", f"STATE_DIRECTORY={tmp_path}")
        started = bond.start(
            bond.lab.client, "client", f"--config={file}", secret, "--tunnel-id=660", wrapper=kept_here
        )
        until(lambda: started.links_up() == ["wan2"] and bond.ping(), started)
        return started

    client = start()
    flood(bond, 3)
    time.sleep(1)
    before = used_bytes(client)
    assert before > 3_000_000
    client.stop(signal.SIGKILL)
    bond.ends.remove(client)
    client = start()
    assert before - 60_000 < used_bytes(client) < before + 60_000, "a hundredth of the quota"
    flood(bond, 3)
    until(lambda: tiers(client) == {"wan2": "backup"}, client)
    assert "is used to" in client.log
    assert "is used up: it is a backup" in client.log
    assert bond.ping(), "nothing else is up"


def test_redundant_sends_everything_twice_and_delivers_it_once_though_both_links_lose(
    bond: Bond, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path, generate())
    _server, client = bond.up(secret, "--balance-redundant")
    for link in bond.lab.links:
        link.set("50mbit,20ms,loss=5%")
    before = carried(client, "wan1"), carried(client, "wan2")
    stream = UdpStream(bond.lab)
    until(lambda: len(stream.received) > 600)
    assert stream.finish() == set()
    assert stream.doubled == 0
    on_each = [carried(client, name) - was for name, was in zip(("wan1", "wan2"), before, strict=True)]
    assert min(on_each) >= stream.sent
    doubled = sum(session["doubled_packets"] for session in client.status()["sessions"])
    assert doubled >= stream.sent
