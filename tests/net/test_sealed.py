"""Sealed links, both ends, over emulated WANs: two links of 50 Mbit/s and 20 ms, see conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratbond.secret import generate
from tests.net.bond import TUNNEL_IPV6, Bond, UdpStream, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def secret_file(directory: Path, secret: str) -> str:
    """The flag for a secret in a file."""
    file = directory / f"secret-{secret[:8]}"
    file.write_text(secret)
    file.chmod(0o600)
    return f"--secret-file={file}"


def test_a_secret_seals_the_bond_and_both_families_go_through(bond: Bond, tmp_path: Path) -> None:
    server, client = bond.up(secret_file(tmp_path, generate()))
    assert bond.ping("10.10.10.1", "-M", "do", "-s", "1372")  # 1,400 bytes with IPv4 and ICMP
    assert bond.ping(TUNNEL_IPV6)
    for end in (server, client):
        status = end.status()
        assert (status["protocol"], status["warnings"]) == ("bond", [])
        assert "sealed" in status["encryption"]
        assert "sealed" in end.log
        assert "not encrypted" not in end.log


def test_a_link_pulled_or_silent_under_a_udp_stream_loses_and_doubles_nothing(
    bond: Bond, tmp_path: Path
) -> None:
    _, client = bond.up(secret_file(tmp_path, generate()))
    stream = UdpStream(bond.lab)
    for link in bond.lab.links:  # one of them carries it
        with link.interface_pulled():
            until(lambda: len(client.links_up()) == 1, client)
        until(lambda: len(client.links_up()) == 2, client)
        with link.blackhole():
            until(lambda: len(client.links_up()) == 1, client)
        until(lambda: len(client.links_up()) == 2, client)
    assert stream.finish() == set()
    assert stream.doubled == 0


def test_a_server_that_restarts_has_its_sealed_client_back(bond: Bond, tmp_path: Path) -> None:
    secret = secret_file(tmp_path, generate())
    server, client = bond.up(secret)
    server.stop()
    server = bond.server(secret)
    until(lambda: len(server.links_up()) == 2 and bond.ping(), client)


def test_another_tunnel_id_is_one_clear_line(bond: Bond, tmp_path: Path) -> None:
    secret = secret_file(tmp_path, generate())
    server, client = bond.server(secret), bond.client(secret, "--tunnel-id=661")
    until(
        lambda: "tunnel-id" in "".join(line for line in server.log.splitlines() if "refused" in line), server
    )
    until(lambda: "no answer from" in client.log and "--tunnel-id" in client.log, client)
    assert "a stock ratbond needs --aes" in client.log
    assert client.links_up() == []


def test_another_secret_is_one_clear_line_at_both_ends(bond: Bond, tmp_path: Path) -> None:
    server = bond.server(secret_file(tmp_path, generate()))
    client = bond.client(secret_file(tmp_path, generate()))
    until(lambda: "give both ends the same secret" in server.log, server)
    until(lambda: "no answer from" in client.log and "same secret" in client.log, client)
    assert server.log.count("does not know the secret") == 1
    assert client.links_up() == []
