"""The word that a named client is set up with, and what else may be given beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.config import ClientConfig, ServerConfig, merge
from ratbond.errors import UsageError
from ratbond.invitation import Invitation
from ratbond.models import HostPort

INVITATION = Invitation(HostPort("vps.example.org", 12345), 1001, "ab" * 32, "cd" * 32, "ef" * 32)
WORD = INVITATION.encode()

hosts = st.sampled_from(["192.0.2.1", "2001:db8::1", "vps.example.org", "a" * 200 + ".example"])
keys = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(hosts, st.integers(1, 65_535), st.integers(1, 65_525), keys, keys, keys)
def test_what_is_written_is_read(
    host: str, port: int, tunnel_id: int, private_key: str, server_key: str, psk: str
) -> None:
    invitation = Invitation(HostPort(host, port), tunnel_id, private_key, server_key, psk)
    word = invitation.encode()
    assert Invitation.decode(f"  {word}\n") == invitation
    assert len(word.split()) == 1
    assert not set(word) & set("'\"$`\\;&|<>*?()[]{}~!#=")


@given(st.integers(0, len(WORD) - 1))
def test_a_word_that_was_cut_or_changed_is_refused(at: int) -> None:
    for wrong in (WORD[:at], WORD[:at] + ("B" if WORD[at] == "A" else "A") + WORD[at + 1 :]):
        with pytest.raises(ValueError, match=r"rbj1|cut or changed") as caught:
            Invitation.decode(wrong)
        assert WORD[10:20] not in str(caught.value)


@given(st.text(max_size=200))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    for word in (text, f"rbj1.{text}"):
        with pytest.raises(ValueError, match=r"."):
            Invitation.decode(word)


def client(environment: dict[str, str] | None = None, **flags: object) -> ClientConfig:
    return merge(ClientConfig, flags, environment or {})


def test_the_word_says_where_the_server_is_and_flags_may_say_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "join"
    path.touch(mode=0o600)
    path.write_text(WORD)
    for config in (client({"RATBOND_JOIN": WORD}), client(join_file=path)):
        assert (config.connect_addr, config.tunnel_id) == (INVITATION.server, 1001)
        assert config.invitation == INVITATION
        assert config.sealed
        assert "ab" * 32 not in repr(config)
        assert WORD not in repr(config)
    moved = client({"RATBOND_JOIN": WORD}, connect_addr="192.0.2.9:1", tunnel_id=7)
    assert (str(moved.connect_addr), moved.tunnel_id) == ("192.0.2.9:1", 7)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tunnel_ip": "10.0.0.0/30"}, "--tunnel-ip is the server's to say"),
        ({"aes": True}, "exclude"),
        ({"protocol": "kcp"}, "exclude"),
    ],
)
def test_what_contradicts_the_word_is_refused(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        client({"RATBOND_JOIN": WORD}, **flags)


def test_two_identities_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "join"
    path.touch(mode=0o600)
    path.write_text(WORD)
    with pytest.raises(UsageError, match="exclude"):
        client({"RATBOND_JOIN": WORD, "RATBOND_SECRET": "x"})
    with pytest.raises(UsageError, match="exclude"):
        client(join_file=path, secret="x")
    assert client({"RATBOND_JOIN": WORD}, secret="x", connect_addr="192.0.2.1:1").invitation is None


def test_a_wrong_word_and_a_file_that_others_may_read_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="RATBOND_JOIN: it was cut or changed"):
        client({"RATBOND_JOIN": WORD[:-3]})
    path = tmp_path / "join"
    path.write_text(WORD)
    path.chmod(0o644)
    with pytest.raises(UsageError, match=r"--join-file .*chmod 600"):
        client(join_file=path)


def test_a_server_serves_the_clients_there_are_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clients.toml"
    monkeypatch.setattr("ratbond.config.sources.DEFAULT_CLIENTS_FILE", path)
    assert merge(ServerConfig, {}, {}).clients_file is None
    path.touch()
    assert merge(ServerConfig, {}, {}).clients_file == path
    assert merge(ServerConfig, {}, {}).sealed
    for flags in ({"secret": "x"}, {"protocol": "kcp"}):
        assert merge(ServerConfig, flags, {}).clients_file is None
    assert merge(ServerConfig, {}, {"RATBOND_SECRET": "x"}).clients_file is None
    with pytest.raises(UsageError, match="--tunnel-id is each client's own"):
        merge(ServerConfig, {"tunnel_id": 5}, {})
