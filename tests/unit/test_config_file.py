"""The configuration file: what it may say, what is said when it cannot be meant, and that it, flags and variables are one."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond import cli, config_cli
from ratbond.config import ClientConfig, Role, ServerConfig, TunnelConfig, load
from ratbond.config.file import lines_of
from ratbond.daemon.reload import differences, is_live
from ratbond.errors import UsageError
from ratbond.flags import settings_of

ROOT = Path(__file__).parents[2]
CONNECT = 'connect_addr = "192.0.2.1:12345"\n'


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "client.toml"


def client(file: Path, environment: dict[str, str] | None = None, **flags: object) -> ClientConfig:
    return load(ClientConfig, flags, environment or {}, file).config


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ratbond", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


# What people get wrong: the file's text, and what the one line must say. CLIENT stands for the line that is right.
MISTAKES = {
    "a misspelt key": ('tunel_id = 5\n', [":2: tunel_id", "did you mean tunnel_id"]),
    "a flag's dashes": ('"no-wan" = ["eth0"]\n', [":2: no-wan", "did you mean no_wan"]),
    "a key of nothing": ("frobnicate = 1\n", [":2: frobnicate", "no such key", "allowed are"]),
    "a key of the other end": ('listen_addr = "0.0.0.0:1"\n', [":2: listen_addr", "for a server"]),
    "a number in quotes": ('tunnel_id = "660"\n', [':2: tunnel_id = "660"', "whole number", "without quotes"]),
    "a number that is too large": ("tunnel_id = 70000\n", [":2: tunnel_id = 70000", "at most 65525"]),
    "a boolean for a number": ("mux = true\n", [":2: mux = true", "whole number"]),
    "a word for a boolean": ('nat = "yes"\n', [':2: nat = "yes"', "true or false"]),
    "one of a few words": ('cipher = "rot13"\n', [':2: cipher = "rot13"', "aes-256-gcm", "chacha20"]),
    "the wrong host": ('address = "third"\n', [':2: address = "third"', "first", "second"]),
    "a network of the wrong size": ('tunnel_ip = "10.0.0.0/24"\n', [":2: tunnel_ip", "/24", "/30"]),
    "a number for a network": ("tunnel_ip = 5\n", [":2: tunnel_ip = 5", "network, in quotes"]),
    "a number for a server": ("http_listen_addr = 8091\n", [":2: http_listen_addr = 8091", "text in quotes"]),
    "a number for an address": ("[links.dsl]\ngateway = 5\n", [":3: links.dsl.gateway = 5", "address", "in quotes"]),
    "a text for a list": ('wan = "eth0"\n', [':2: wan = "eth0"', "list"]),
    "a WAN with a gateway that is none": ('wan = ["eth0@nowhere"]\n', [":2: wan", "nowhere"]),
    "a link's gateway that is none": ('[links.dsl]\nwan = "eth0"\ngateway = "home"\n', [":4: links.dsl.gateway", "home"]),
    "a link's misspelt key": ('[links.dsl]\ngatewy = "192.0.2.1"\n', [":3: links.dsl.gatewy", "did you mean gateway"]),
    "a link of two families": (
        '[links.dsl]\naddress = "192.0.2.7"\ngateway = "fe80::1"\n', [":2: links.dsl", "one family"],
    ),
    "a link that is no table": ('links.dsl = "eth0"\n', [":2: links.dsl", "table"]),
    "a route with host bits": ('route = ["198.51.100.7/24"]\n', [":2: route", "198.51.100.7/24", "host bits"]),
    "a WAN in and out": ('wan = ["eth0"]\nno_wan = ["eth0"]\n', [":2: eth0", "wan", "no_wan"]),
    "AES without a secret": ("aes = true\n", [":2: aes needs a secret", "secret_file"]),
    "two schedulers": (
        "balance_consistent = true\nbalance_roundrobin = true\n", [":2:", "balance_consistent", "balance_roundrobin"],
    ),
    "a secret twice": ('secret = "a"\nsecret_file = "/b"\n', [":2: secret and secret_file", "one place"]),
    "a secret file that is not there": ('secret_file = "/nowhere/secret"\n', [":2: secret_file /nowhere/secret", "No such file"]),
    "a word that was cut": ('join = "rbj1.abc"\n', [":2: join", "cut or changed"]),
    "no TOML": ("nat = yes\n", ["client.toml: ", "line 2"]),
    "a key twice": ("mux = 1\nmux = 2\n", ["client.toml: ", "line 3"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_file_line_key_and_what_is_allowed(
    file: Path, text: str, words: list[str]
) -> None:
    write(file, CONNECT + text)
    with pytest.raises(UsageError) as caught:
        client(file)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(file))
    assert all(word in line for word in words), line


def test_a_server_file_without_a_server_is_told_so(file: Path) -> None:
    with pytest.raises(UsageError, match=r"client\.toml: connect_addr is missing"):
        client(write(file, "nat = true\n"))


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_for_it(file: Path) -> None:
    with pytest.raises(UsageError, match=r"client\.toml:1: conect_addr: .* did you mean connect_addr"):
        client(write(file, 'conect_addr = "192.0.2.1:1"\n'))


def test_a_file_that_is_not_there_is_an_error_only_if_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--config .*nowhere\.toml: No such file"):
        client(tmp_path / "nowhere.toml")
    assert client(Path("none"), connect_addr="192.0.2.1:1").connect_addr.port == 1


@pytest.mark.parametrize("key", ["secret", "join"])
def test_a_file_with_a_secret_that_others_may_read_is_refused(file: Path, key: str) -> None:
    write(file, f'{CONNECT}{key} = "hunter2"\n', mode=0o644)
    with pytest.raises(UsageError, match=rf"it holds {key}; run: chmod 600") as caught:
        client(file)
    assert "hunter2" not in str(caught.value)


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(file: Path) -> None:
    write(file, f'{CONNECT}aes = true\nsecret = "file"\ntunnel_id = 5\nmux = 2\n')
    assert client(file).passphrase() == "file"
    assert client(file, {"RATBOND_SECRET": "variable"}).passphrase() == "variable"
    flagged = client(file, {"RATBOND_SECRET": "variable"}, secret="flag", tunnel_id=6)
    assert (flagged.passphrase(), flagged.tunnel_id, flagged.mux) == ("flag", 6, 2)


def test_a_flag_puts_another_of_its_kind_out_of_the_file(file: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "from a file of its own")
    write(file, f'{CONNECT}aes = true\nsecret = "file"\nbalance_consistent = true\n')
    config = client(file, secret_file=str(secret), balance_roundrobin=True)
    assert (config.passphrase(), config.scheduler) == ("from a file of its own", "roundrobin")


def test_a_boolean_of_the_file_can_be_turned_off_by_a_flag(file: Path) -> None:
    write(file, CONNECT + "nat = true\nno_default_route = true\n")
    assert (client(file).nat, client(file, nat=False).nat) == (True, False)
    assert not client(file, no_default_route=False).no_default_route


def test_links_are_named_in_tables_or_by_flags(file: Path) -> None:
    write(
        file,
        CONNECT
        + '[links.dsl]\nwan = "eth0"\ngateway = "192.0.2.1"\n[links.wwan0]\n[links.fibre]\nwan = "eth1"\n',
    )
    named = client(file, wan=["eth1=198.51.100.7"]).named_wans
    assert [str(spec) for spec in named] == ["eth0@192.0.2.1", "wwan0", "eth1=198.51.100.7"]


@pytest.mark.parametrize("model", [ClientConfig, ServerConfig])
def test_every_setting_has_a_description_and_a_flag_or_stands_in_the_file_alone(
    model: type[TunnelConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(monkeypatch, capsys, model.role.value, "--help")
    flags = set(re.findall(r"^  (--[a-z0-9-]+)", out, re.MULTILINE)) - {"--config"}
    settings = settings_of(model)
    assert flags == {f"--{name.replace('_', '-')}" for name, (_, setting) in settings.items() if setting.flag}
    assert {name for name, (_, setting) in settings.items() if not setting.flag} <= {"links", "join"}
    assert all(field.description for field, _ in settings.values())


@pytest.mark.parametrize("role", list(Role))
def test_the_committed_schema_is_the_models(role: Role) -> None:
    committed = (ROOT / "contrib" / f"{role.value}.schema.json").read_text()
    assert committed == config_cli.schema_of(role), (
        f"ratbond config schema {role.value} > contrib/{role.value}.schema.json"
    )
    properties = json.loads(committed)["properties"]
    assert set(properties) == set(config_cli.MODELS[role].model_fields)
    assert all("description" in entry for entry in properties.values())


def test_check_says_all_that_is_wrong_a_line_each(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, 'connect_addr = "192.0.2.1"\nmux = 44\nnatt = true\n')
    code, out, err = run(monkeypatch, capsys, "config", "check", str(file))
    assert (code, out) == (2, "")
    assert [line.split(": ", 2)[1] for line in err.splitlines()] == ["error"] * 3
    assert all(f"{file}:{number}: " in err for number in (1, 2, 3))


def test_check_tells_whose_file_it_is_by_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "home.toml", 'listen_addr = "0.0.0.0:5"\n')
    assert run(monkeypatch, capsys, "config", "check", str(file)) == (0, f"{file}: good, for a server\n", "")
    write(file, "nat = true\n")
    code, _, err = run(monkeypatch, capsys, "config", "check", str(file))
    assert code == 2
    assert "--role" in err
    assert run(monkeypatch, capsys, "config", "check", "--role=server", str(file))[0] == 0


def test_show_is_toml_that_tells_where_each_value_came_from_and_no_secret(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, f'{CONNECT}aes = true\nno_wan = ["eth2"]\n[links."dsl.1"]\nwan = "eth0"\n')
    monkeypatch.setenv("RATBOND_SECRET", "hunter2")
    code, out, err = run(monkeypatch, capsys, "config", "show", "client", f"--config={file}", "--tunnel-id=7")
    assert (code, err) == (0, "")
    assert "hunter2" not in out
    origins = dict(re.findall(r"^(?:# )?(\w+) .*# (.+)$", out, re.MULTILINE))
    assert origins["connect_addr"] == f"{file}:1"
    assert (origins["tunnel_id"], origins["secret"], origins["mux"]) == (
        "--tunnel-id",
        "RATBOND_SECRET",
        "default",
    )
    values = tomllib.loads(out)
    assert (values["tunnel_id"], values["no_wan"], values["aes"]) == (7, ["eth2"], True)
    assert values["links"] == {"dsl.1": {"wan": "eth0", "tier": "primary", "weight": 1}}


def test_what_show_prints_is_a_file_that_says_the_same(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        file,
        CONNECT
        + 'nat = true\nhttp_listen_addr = "disable"\nstats_interval = 0.5\nwan = ["eth0@192.0.2.9"]\n',
    )
    _, out, _ = run(monkeypatch, capsys, "config", "show", "client", f"--config={file}")
    again = write(tmp_path / "again.toml", out)
    assert differences(client(file), client(again)) == set()


def test_a_reload_changes_links_and_says_that_an_identity_needs_a_restart(file: Path) -> None:
    before = client(write(file, CONNECT))
    after = client(write(file, CONNECT + 'tunnel_id = 5\nno_wan = ["eth1"]\n[links.dsl]\nwan = "eth0"\n'))
    changed = differences(before, after)
    assert changed == {"tunnel_id", "no_wan", "links"}
    assert {name for name in changed if is_live(before, name)} == {"no_wan", "links"}


@given(
    st.lists(
        st.tuples(st.sampled_from(["nat", "wan", "links.a", 'links."b c"']), st.integers(0, 3)),
        unique_by=lambda item: item[0],
    )
)
def test_the_line_of_a_key_is_found_among_comments_and_empty_lines(keys: list[tuple[str, int]]) -> None:
    text, expected = "", {}
    for name, gap in keys:
        text += "# nat = 1\n" * gap + f"{name} = 1 # mux = 2\n"
        path = tuple(part.strip('"') for part in name.split("."))
        expected[path] = text.count("\n")
    assert dict(lines_of(text)) == expected


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("costs", "policy 'costs': there are cost, latency-first, time-of-day, and module:Class"),
        ("time-of-day", "policy 'time-of-day': "),
        ("nowhere.to_be:Found", "policy 'nowhere.to_be:Found': No module named 'nowhere'"),
        ("broken_policy:Mine", "policy 'broken_policy:Mine': ZeroDivisionError: division by zero"),
    ],
)
def test_check_makes_the_policy_as_the_client_would(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    policy: str,
    said: str,
) -> None:
    (tmp_path / "broken_policy.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    write(file, f'{CONNECT}policy = "{policy}"\n')
    code, out, err = run(monkeypatch, capsys, "config", "check", "--role=client", str(file))
    assert (code, out) == (2, "")
    assert err.startswith(f"ratbond: error: {file}:2: {said}")
    assert err.count("\n") == 1
    write(file, f'{CONNECT}policy = "time-of-day 22:00-06:00"\n')
    assert run(monkeypatch, capsys, "config", "check", "--role=client", str(file))[0] == 0
