"""What a log line looks like, and where it goes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratbond import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    yield
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(before[1])
    logging.raiseExceptions = before[2]


def test_an_event_is_one_line_with_its_facts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.configure(debug=False, syslog=False)
    logs.get_logger("ratbond.x").info("link left the bond", link="wan1", why="carrier lost", links_up=1)
    line = capsys.readouterr().err
    assert line.endswith(' info: link left the bond link=wan1 why="carrier lost" links_up=1\n')


def test_under_systemd_a_line_carries_its_priority_and_no_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.configure(debug=False, syslog=True)
    logs.get_logger("ratbond.x").warning("waiting")
    assert capsys.readouterr().err == "<4>waiting\n"


def test_a_newline_from_outside_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(debug=False, syslog=False)
    logs.get_logger("ratbond.x").info("refused", why="a\nforged line")
    assert capsys.readouterr().err.count("\n") == 1


def test_what_libraries_chatter_about_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(debug=True, syslog=False)
    logging.getLogger("pyroute2.netlink.core").info("a message")
    logs.get_logger("ratbond.x").debug("our own")
    assert "a message" not in (err := capsys.readouterr().err)
    assert "our own" in err


def test_syslog_is_used_where_it_is_and_its_end_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        logs.configure(debug=False, syslog=True)
        logs.get_logger("ratbond.x").info("somebody listens", link="wan1")
        assert b"somebody listens link=wan1" in syslog.recv(4096)
    (tmp_path / "log").unlink()
    logs.get_logger("ratbond.x").info("nobody does any more")
    assert capsys.readouterr().err.count("\n") == 2


def test_a_syslog_that_takes_nothing_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        logs.configure(debug=False, syslog=True)
        for _ in range(5_000):  # far more than a socket's queue
            logs.get_logger("ratbond.x").info("nobody reads")
        assert syslog.recv(4096).endswith(b"nobody reads")


def test_trace_is_more_than_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(debug=True, syslog=False)
    logs.get_logger("ratbond.x").trace("a datagram")
    logs.configure(debug=False, trace=True, syslog=False)
    logs.get_logger("ratbond.x").trace("another")
    err = capsys.readouterr().err
    assert "a datagram" not in err
    assert " trace: another" in err


def test_no_syslog_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", tmp_path / "log")
    logs.configure(debug=False, syslog=True)
    logs.get_logger("ratbond.x").info("nobody listens")
    assert "nobody listens" in capsys.readouterr().err


def test_a_dead_socket_file_is_no_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", tmp_path / "log")
    (tmp_path / "log").touch()
    logs.configure(debug=False, syslog=True)
