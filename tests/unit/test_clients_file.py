"""The clients file: who may read it, what may stand in it, and many who change it at once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.clients import allocate, commands, file
from ratbond.clients.model import Clients
from ratbond.engine import public_key
from ratbond.errors import RatbondError, UsageError
from ratbond.invitation import Invitation
from ratbond.models import HostPort

SERVER = HostPort("192.0.2.1", 12345)
KEY = "ab" * 32


def add(path: Path, name: str, **settings: object) -> Invitation:
    line = commands.add(path, name, SERVER, settings, public_key)
    variable, command = line.split(" ", 1)
    assert command == "ratbond client"
    return Invitation.decode(variable.removeprefix("RATBOND_JOIN="))


def test_the_line_holds_what_the_file_knows_the_client_by(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "clients.toml"
    invitation = add(path, "van", lan=("192.168.7.0/24",), up="20mbit", client_to_client=True)
    clients = file.read(path)
    (entry,) = clients.client
    assert (invitation.server, invitation.tunnel_id) == (SERVER, entry.tunnel_id)
    assert public_key(invitation.private_key) == entry.public_key
    assert invitation.psk == entry.psk.get_secret_value()
    assert invitation.server_key == public_key(clients.server.private_key.get_secret_value())
    assert invitation.private_key not in path.read_text()
    assert (entry.up, entry.down, entry.client_to_client) == (20_000_000, None, True)
    assert entry.lan == (ip_network("192.168.7.0/24"),)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["clients.toml"]


def test_many_who_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    program = [
        sys.executable,
        "-m",
        "ratbond",
        "client",
        "add",
        f"--clients-file={path}",
        f"--server-addr={SERVER}",
    ]
    processes = [
        subprocess.Popen([*program, f"p{n}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for n in range(4)
    ]
    with ThreadPoolExecutor(12) as pool:
        invitations = list(pool.map(lambda n: add(path, f"t{n}"), range(24)))
    for process in processes:
        out, _ = process.communicate()
        assert process.returncode == 0
        invitations.append(Invitation.decode(out.decode().split()[0].removeprefix("RATBOND_JOIN=")))
    clients = file.read(path)
    assert {entry.name for entry in clients.client} == {f"t{n}" for n in range(24)} | {
        f"p{n}" for n in range(4)
    }
    assert {i.tunnel_id for i in invitations} == {entry.tunnel_id for entry in clients.client}
    assert len({i.server_key for i in invitations}) == 1


def test_a_revoked_client_keeps_its_place_and_comes_again_with_new_keys(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    first = add(path, "van")
    commands.revoke(path, "van", forget=False)
    assert file.read(path).client[0].revoked
    other = add(path, "bus")
    again = add(path, "van")
    assert (first.tunnel_id, other.tunnel_id, again.tunnel_id) == (1001, 1002, 1001)
    assert again.private_key != first.private_key
    assert not file.read(path).client[0].revoked
    commands.revoke(path, "van", forget=True)
    assert [entry.name for entry in file.read(path).client] == ["bus"]
    assert add(path, "car").tunnel_id == 1001


def test_a_comment_of_the_operator_stays(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    add(path, "van")
    path.write_text(path.read_text() + "# the one with the broken aerial\n")
    add(path, "bus")
    assert "# the one with the broken aerial" in path.read_text()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "clients.toml"
    add(path, "van")
    before = path.read_text()
    path.chmod(mode)
    for refused in (lambda: file.read(path), lambda: add(path, "bus")):
        with pytest.raises(UsageError, match="run: chmod 600"):
            refused()
    assert path.read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_refused_by_everybody_but_root_and_him(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    add(path, "van")
    os.chown(path, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user"):
        file.read(path)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = tmp_path / "clients.toml"
    path.symlink_to(tmp_path / "real" / "clients.toml")
    add(path, "van")
    add(path, "bus")
    assert path.is_symlink()
    assert len(file.read(path).client) == 2


GOOD = f"""
[server]
private_key = "{KEY}"
[[client]]
name = "van"
tunnel_id = 1001
public_key = "{KEY}"
psk = "{KEY}"
ip = "10.66.0.0/30"
"""
SECOND = GOOD[GOOD.index("[[client]]") :].replace('"van"', '"bus"').replace("1001", "1002")
SECOND = SECOND.replace("0.0/30", "0.4/30").replace(f'public_key = "{KEY}"', f'public_key = "{"cd" * 32}"')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "server: is missing"),
        ("[server", "Expected ']'"),
        ("[server]\n", "server: private_key: is missing"),
        (GOOD.replace(f'private_key = "{KEY}"', 'private_key = "x"'), "server: private_key: a key has 64 hex digits"),
        (GOOD + 'colour = "red"', "client van: colour: there is no such key"),
        (GOOD.replace("10.66.0.0/30", "10.66.0.0/29"), "client van: ip: '10.66.0.0/29' is a /29"),
        (GOOD.replace("1001", "0"), "client van: tunnel_id:"),
        (GOOD.replace('"van"', '"a b"'), "client a b: name:"),
        (GOOD.replace('name = "van"\n', ""), "client number 1: name: is missing"),
        (GOOD + 'up = "20"', "client van: up: '20' is no rate"),
        (GOOD + 'lan = "10.0.0.0/8"', "client van: lan: write a list"),
        (GOOD + 'lan = ["10.0.0.1/8"]', "client van: lan: 10.0.0.1/8 has host bits set"),
        (GOOD + 'lan = ["10.66.0.0/16"]', "overlap"),
        (GOOD + SECOND.replace("1002", "1001"), "clients van and bus have the same tunnel_id"),
        (GOOD + SECOND.replace("cd" * 32, KEY), "clients van and bus have the same public_key"),
        (GOOD + SECOND.replace("0.4/30", "0.0/30"), "10.66.0.0/30 of client van and 10.66.0.0/30 of client bus overlap"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line_that_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "clients.toml"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(RatbondError) as caught:
        file.read(path)
    message = str(caught.value)
    assert message.startswith(f"clients file {path}: ")
    assert words in message, message
    assert "\n" not in message
    assert KEY not in message


def test_the_good_file_above_is_good(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.touch(mode=0o600)
    path.write_text(GOOD + SECOND)
    assert [entry.tunnel_id for entry in file.read(path).client] == [1001, 1002]


def test_a_mistake_while_adding_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    add(path, "van")
    before = path.read_text()
    for name, settings in (
        ("van", {}),
        ("a/b", {}),
        ("bus", {"up": "fast"}),
        ("bus", {"lan": ("10.66.0.0/24",)}),
    ):
        with pytest.raises(RatbondError):
            add(path, name, **settings)
    assert path.read_text() == before


def test_the_servers_address_is_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    assert commands.make_server(path, None, public_key)
    with pytest.raises(UsageError, match="--server-addr"):
        commands.add(path, "van", None, {}, public_key)
    add(path, "van")
    assert (
        Invitation.decode(
            commands.add(path, "bus", None, {}, public_key).split()[0].removeprefix("RATBOND_JOIN=")
        ).server
        == SERVER
    )
    with pytest.raises(UsageError, match="has a key already"):
        commands.make_server(path, None, public_key)


def test_the_list_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    invitation = add(path, "van")
    commands.revoke(path, "van", forget=False)
    clients = file.read(path)
    table = commands.table(clients)
    assert "van" in table
    assert "revoked" in table
    for secret in (invitation.psk, invitation.private_key, clients.server.private_key.get_secret_value()):
        assert secret not in table + repr(clients) + repr(invitation)


def a_table(networks: list[IPv4Network], pool: str) -> Clients:
    entries = [
        {"name": f"c{n}", "tunnel_id": 1001 + n, "public_key": f"{n:064x}", "psk": KEY, "ip": str(network)}
        for n, network in enumerate(networks)
    ]
    return Clients.model_validate({"server": {"private_key": KEY, "pool": pool}, "client": entries})


@given(st.sets(st.integers(min_value=0, max_value=63), max_size=60))
def test_a_new_client_gets_the_first_network_that_nobody_has(taken: set[int]) -> None:
    networks = [IPv4Network((0x0A42_0000 + 4 * n, 30)) for n in sorted(taken)]
    place = allocate.next_place(a_table(networks, "10.66.0.0/24"))
    free = min(set(range(64)) - taken)
    assert place.ip == IPv4Network((0x0A42_0000 + 4 * free, 30))


def test_a_pool_that_is_full_is_said_to_be() -> None:
    networks = [IPv4Network((0x0A42_0000 + 4 * n, 30)) for n in range(4)]
    with pytest.raises(RatbondError, match="has no /30 left"):
        allocate.next_place(a_table(networks, "10.66.0.0/28"))


def test_each_ipv6_network_is_named_after_the_tunnel_id() -> None:
    pool = allocate.new_pool6()
    assert pool.prefixlen == 48
    assert pool.subnet_of(IPv6Network("fd00::/8"))
    clients = Clients.model_validate({"server": {"private_key": KEY, "pool6": "fd12:3456:789a::/48"}})
    assert allocate.next_place(clients).ip6 == IPv6Network("fd12:3456:789a:3e9::/126")
