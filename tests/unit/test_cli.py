"""The command line: every mistake is one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from ratbond import __version__, cli


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ratbond", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, capsys, "--version") == (0, f"ratbond {__version__}\n", "")


def test_what_nobody_thought_of_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PanicException(BaseException):
        """As pyo3 has it."""

    def panics(*_: object, **__: object) -> None:
        raise PanicException("overflow when adding durations")

    monkeypatch.setattr(cli, "app", panics)
    said = "ratbond: error: unexpected, please report it: PanicException: overflow when adding durations\n"
    assert run(monkeypatch, capsys, "keygen") == (1, "", said)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--connect-addr"]),
        (["client"], ["--connect-addr"]),
        (["--connect-addr", "192.0.2.1"], ["port"]),
        (
            ["--connect-addr=192.0.2.1:1", "--frobnicate"],
            ["No such option: --frobnicate", "see `ratbond client --help`"],
        ),
        (["client", "--tunel-id=1"], ["--tunel-id", "--tunnel-id", "see `ratbond client --help`"]),
        (["serve"], ["serve", "see `ratbond --help`"]),
        (["--tunnel-id=abc"], ["--tunnel-id"]),
        (["server", "--aes"], ["--secret"]),
        (["server", "--tunnel-ip=10.0.0.0/29"], ["/30"]),
        (["client", "add"], ["NAME"]),
        (["client", "list", "--clients-file=/nowhere/clients.toml"], ["/nowhere/clients.toml"]),
        (["client", "revoke", "van", "--clients-file=/nowhere/clients.toml"], ["/nowhere"]),
        (["client", "add", "van", "--server-addr=x"], ["--server-addr"]),
        (["client", "add", "van", "--lan=x"], ["--lan"]),
        (["client", "frobnicate"], ["frobnicate"]),
        (["server", "--clients-file=/nowhere/clients.toml", "--nosyslog"], ["/nowhere/clients.toml"]),
        (["server", "--clients-file=x", "--tunnel-id=5"], ["--tunnel-id", "each client's own"]),
        (["server", "--workers=4"], ["--workers", "--clients-file"]),
        (["server", "--clients-file=x", "--workers=65"], ["--workers", "64"]),
        (["keygen", "--clients-file=x"], ["--server"]),
        (["status", "--http-listen-addr", "x"], ["--http-listen-addr"]),
        (["status", "--http-listen-addr", "127.0.0.1:1"], ["nobody answers"]),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code in {1, 2}
    assert out == ""
    assert err.startswith("ratbond: error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize("command", [*cli._LAZY_COMMANDS, "client", "server", "status", "keygen"])
def test_each_command_has_help_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, _ = run(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: ratbond {command} ")


def test_help_begins_with_the_two_ends_and_says_each_command_in_a_whole_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    listed = out.split("Commands:")[1]
    commands = re.findall(r"^  ([a-z]+)  +\S", listed, re.MULTILINE)
    assert commands[:2] == ["client", "server"]
    assert {"keygen", "status", "lab"} <= set(commands)
    assert "..." not in listed, "cut off: it needs a short_help"
    assert "    ratbond client --connect-addr HOST:12345" in out


ISSUE_FLAGS = {
    "client": [
        "--connect-addr", "--wan", "--no-wan", "--no-default-route", "--no-leak", "--route", "--lan", "--join-file", "--policy",
    ],
    "server": ["--listen-addr", "--clients-file", "--workers", "--lan", "--forward", "--speedtest"],
    "both": [
        "--config", "--tunnel-id", "--tun-name", "--tunnel-ip", "--tunnel-ip6", "--address", "--protocol", "--aes", "--cipher",
        "--secret",
        "--secret-file", "--balance-adaptive", "--balance-consistent", "--balance-roundrobin", "--balance-redundant", "--nat", "--mux", "--no-offload",
        "--http-listen-addr", "--http-token-file", "--stats-interval", "--debug", "--trace", "--log-format", "--nosyslog",
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", ["client", "server"])
def test_help_describes_every_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, _ = run(monkeypatch, capsys, command, "--help")
    assert code == 0
    listed = set(re.findall(r"^  (?:-h, )?(--[a-z0-9-]+)", out, re.MULTILINE))
    assert listed == {*ISSUE_FLAGS["both"], *ISSUE_FLAGS[command], "--help"}


def test_the_man_page_describes_every_flag() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ratbond.1").read_text().replace("\\-", "-")
    described = set(re.findall(r"^\.(?:BI?|TP\n\.BI?) (--[a-z0-9-]+)", page, re.MULTILINE))
    assert described == {
        *ISSUE_FLAGS["both"],
        *ISSUE_FLAGS["client"],
        *ISSUE_FLAGS["server"],
        "--role",
        "--json",
        "--watch",
        "--server",
        "--server-addr",
        "--seconds",
        "--connections",
        "--metered",
        "--up",
        "--down",
        "--client-to-client",
        "--forget",
        "--yes",
        "--client",
        "--directory",
        "--dry-run",
        "--root",
        "--help",
    }
