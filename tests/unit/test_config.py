"""What may be configured, and what is said when it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.config import ClientConfig, ServerConfig, merge
from ratbond.errors import UsageError
from ratbond.models import HostPort, WanSpec

CONNECT = {"connect_addr": "192.0.2.1:12345"}


def client(**flags: object) -> ClientConfig:
    return merge(ClientConfig, CONNECT | flags, {})


def complaint(**flags: object) -> str:
    with pytest.raises(UsageError) as caught:
        merge(ClientConfig, CONNECT | flags, {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults_are_the_stock_programs() -> None:
    config = client()
    assert (config.tunnel_id, config.device, str(config.tunnel_ip)) == (660, "tun660", "10.10.10.0/30")
    assert (config.scheduler, config.mux, config.stats_interval) == ("consistent", 1, 15)
    assert str(config.http_listen_addr) == "0.0.0.0:8091"
    assert str(merge(ServerConfig, {}, {}).listen_addr) == "0.0.0.0:12345"


def test_the_stock_documentations_flags_are_understood() -> None:
    config = client(aes=True, secret="verysecret", tunnel_id=990, tun_name="tun1", tunnel_ip="10.10.10.40/30")
    assert (config.device, config.passphrase(), config.aes) == ("tun1", "verysecret", True)
    server = merge(ServerConfig, {"listen_addr": "0.0.0.0:5432", "tunnel_id": 990, "tun_name": "tun1"}, {})
    assert server.device == "tun990"  # whatever it is told


def test_both_ends_make_the_same_ipv6_network_from_the_tunnel_id() -> None:
    assert str(client(tunnel_id=660).network6) == "fd72:6174:626f:294::/126"
    assert str(client(tunnel_id=65_525).network6) == "fd72:6174:626f:fff5::/126"


@pytest.mark.parametrize(
    ("flags", "scheduler"),
    [
        ({}, "consistent"),
        ({"secret": "x", "aes": True}, "consistent"),
        ({"secret": "x"}, "adaptive"),
        ({"secret": "x", "balance_adaptive": True}, "adaptive"),
        ({"secret": "x", "balance_redundant": True}, "redundant"),
        ({"secret": "x", "balance_consistent": True}, "consistent"),
        ({"secret": "x", "balance_roundrobin": True}, "roundrobin"),
    ],
)
def test_sealed_links_share_every_flow_unless_told_otherwise(
    flags: dict[str, object], scheduler: str
) -> None:
    assert ServerConfig.model_validate(flags).scheduler == scheduler


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"connect_addr": None}, ["--connect-addr", "required"]),
        ({"connect_addr": "192.0.2.1"}, ["--connect-addr", "no port"]),
        ({"connect_addr": "2001:db8::1:12345"}, ["brackets"]),
        ({"tunnel_ip": "10.10.10.0/29"}, ["--tunnel-ip", "/29", "/30"]),
        ({"tunnel_ip": "10.10.10.0"}, ["--tunnel-ip", "/32", "/30"]),
        ({"tunnel_ip": "fd00::/126"}, ["--tunnel-ip", "/30"]),
        ({"tunnel_ip6": "fd00::/64"}, ["--tunnel-ip6", "/64", "/126"]),
        ({"tunnel_id": 0}, ["--tunnel-id", "at least 1"]),
        ({"tunnel_id": 65_526}, ["--tunnel-id", "at most 65525"]),
        ({"tun_name": "a name/with all"}, ["--tun-name"]),
        ({"aes": True}, ["--aes", "--secret"]),
        ({"protocol": "bond"}, ["--secret-file", "ratbond keygen"]),
        ({"protocol": "kcp", "secret": "x"}, ["--aes", "--protocol"]),
        ({"protocol": "bond", "secret": "x", "aes": True}, ["--aes", "--protocol kcp"]),
        ({"secret": "x", "mux": 2}, ["--mux", "--protocol kcp"]),
        ({"cipher": "aes-256-gcm"}, ["--cipher", "secret"]),
        ({"cipher": "aes-256-gcm", "secret": "x", "aes": True}, ["--cipher", "--aes"]),
        ({"cipher": "rot13", "secret": "x"}, ["--cipher", "aes-256-gcm", "chacha20-poly1305"]),
        (
            {"balance_consistent": True, "balance_roundrobin": True},
            ["--balance-consistent", "--balance-roundrobin"],
        ),
        (
            {"balance_adaptive": True, "balance_consistent": True, "secret": "x"},
            ["--balance-adaptive", "--balance-consistent"],
        ),
        ({"balance_adaptive": True}, ["--balance-adaptive", "ratbond keygen", "--secret-file"]),
        ({"balance_adaptive": True, "secret": "x", "aes": True}, ["--balance-adaptive", "--aes"]),
        ({"balance_redundant": True}, ["--balance-redundant", "--secret-file"]),
        ({"wan": ["eth0"], "no_wan": ["eth0"]}, ["eth0", "--wan", "--no-wan"]),
        ({"wan": ["eth0@nowhere"]}, ["--wan", "nowhere"]),
        ({"wan": ["tun660"]}, ["tun660", "tunnel itself"]),
        ({"mux": 12}, ["--mux", "at most 11"]),
        ({"http_listen_addr": "everywhere"}, ["--http-listen-addr", "port"]),
        ({"stats_interval": -1}, ["--stats-interval", "at least 0"]),
    ],
)
def test_what_cannot_be_meant_is_one_line_that_names_the_flag(
    flags: dict[str, object], words: list[str]
) -> None:
    line = complaint(**flags)
    assert all(word in line for word in words), line


def test_a_flag_wins_over_the_environment() -> None:
    environment = {"RATBOND_SECRET": "from the environment"}
    assert merge(ClientConfig, CONNECT | {"aes": True}, environment).passphrase() == "from the environment"
    assert merge(ClientConfig, CONNECT | {"aes": True, "secret": "flag"}, environment).passphrase() == "flag"


def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("quite secret\n")
    file.chmod(0o640)
    assert f"chmod 600 {file}" in complaint(aes=True, secret_file=file)
    file.chmod(0o600)
    assert client(aes=True, secret_file=file).passphrase() == "quite secret"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00"])
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    assert str(file) in complaint(aes=True, secret_file=file)


def test_a_missing_secret_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in complaint(aes=True, secret_file=tmp_path / "none")


def test_a_secret_never_shows() -> None:
    config = client(aes=True, secret="hunter2")
    assert "hunter2" not in repr(config) + str(config) + config.model_dump_json()


def test_the_status_server_can_be_turned_off() -> None:
    assert client(http_listen_addr="disable").http_listen_addr is None
    assert client().http_is_default
    assert not client(http_listen_addr="0.0.0.0:8091").http_is_default


@pytest.mark.parametrize(
    ("text", "device", "address", "gateway"),
    [
        ("eth0", "eth0", "None", "None"),
        ("eth0=192.0.2.7", "eth0", "192.0.2.7", "None"),
        ("eth0@192.0.2.1", "eth0", "None", "192.0.2.1"),
        ("wwan0=2001:db8::7@2001:db8::1", "wwan0", "2001:db8::7", "2001:db8::1"),
    ],
)
def test_a_wan_is_named_with_its_address_and_gateway(
    text: str, device: str, address: str, gateway: str
) -> None:
    spec = WanSpec.parse(text)
    assert (spec.device, str(spec.address), str(spec.gateway)) == (device, address, gateway)


@given(st.text())
def test_any_text_is_an_address_or_a_complaint_of_one_line(text: str) -> None:
    for parse in (HostPort.parse, WanSpec.parse):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 (most texts are refused, some are not)


@given(st.ip_addresses().map(str), st.integers(1, 65_535))
def test_an_address_and_port_survive_being_written(host: str, port: int) -> None:
    assert HostPort.parse(str(HostPort(host, port))) == HostPort(host, port)


@pytest.mark.parametrize(
    ("flags", "protocol", "mtu"),
    [
        ({}, "kcp", 1336),
        ({"secret": "x"}, "bond", 1400),
        ({"secret": "x", "protocol": "bond"}, "bond", 1400),
        ({"secret": "x", "aes": True}, "kcp", 1336),
        ({"secret": "x", "aes": True, "protocol": "kcp"}, "kcp", 1336),
    ],
)
def test_a_secret_seals_the_links_unless_the_stock_cipher_is_asked_for(
    flags: dict[str, object], protocol: str, mtu: int
) -> None:
    config = client(**flags)
    assert (config.link_protocol, config.tun_mtu) == (protocol, mtu)
