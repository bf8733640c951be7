"""What a log line looks like, and where it goes."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ratbond import logs
from ratbond.errors import UsageError


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


def as_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")


def journal_fields(entry: bytes) -> dict[str, str]:
    """Reads the journal's native protocol."""
    fields = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
        entry = rest
    return fields


def test_under_systemd_without_its_socket_a_line_carries_its_priority_and_no_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_under_systemd(monkeypatch)
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", tmp_path / "none")
    logs.configure(debug=False, syslog=True)
    logs.get_logger("ratbond.x").warning("waiting")
    assert capsys.readouterr().err == "<4>waiting\n"


def test_a_stream_that_is_not_the_journals_any_more_gets_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has redirected it: what a service starts inherits the variable."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.configure(debug=False, syslog=False)
    logs.get_logger("ratbond.x").warning("waiting")
    assert capsys.readouterr().err.endswith(" warning: waiting\n")


def test_the_journal_gets_an_events_facts_as_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_under_systemd(monkeypatch)
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        logs.configure(debug=False, syslog=True)
        log = logs.get_logger("ratbond.x")
        log.warning("link left the bond", link="wan1", why="carrier lost", links_up=1)
        assert journal_fields(journal.recv(4096)) == {
            "MESSAGE": 'link left the bond link=wan1 why="carrier lost" links_up=1',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "ratbond",
            "SYSLOG_PID": str(os.getpid()),
            "LOGGER": "ratbond.x",
            "EVENT": "link left the bond",
            "LINK": "wan1",
            "REASON": "carrier lost",
            "LINKS_UP": "1",
        }
        log.info("refused", why="two\nlines", message="forged", priority=0)
        fields = journal_fields(journal.recv(4096))
        assert (fields["REASON"], fields["PRIORITY"]) == ("two\nlines", "6")
        assert fields["MESSAGE"].startswith("refused why=")
        for _ in range(5_000):
            log.info("nobody reads")
    assert capsys.readouterr().err == ""


def test_a_journal_that_was_restarted_gets_the_next_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        logs.configure(debug=False, syslog=False, form="journal")
    path.unlink()
    logs.get_logger("ratbond.x").info("nobody listens")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        logs.get_logger("ratbond.x").info("again")
        assert journal_fields(journal.recv(4096))["EVENT"] == "again"


def test_a_journal_that_is_asked_for_and_not_there_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", tmp_path / "none")
    with pytest.raises(UsageError, match=r"--log-format journal: .*No such file.*text and json need none"):
        logs.configure(debug=False, syslog=False, form="journal")


@pytest.mark.logs_errors
def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(debug=False, syslog=False, form="json")
    log = logs.get_logger("ratbond.x")
    log.warning("link left the bond", link="wan1", why="carrier\nlost", links_up=1, time="forged")
    try:
        int("x")
    except ValueError:
        log.error("unexpected", traceback=True, path=Path("/x"))
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert datetime.fromisoformat(first.pop("time")).utcoffset() == timedelta(0)
    assert first == {
        "level": "warning",
        "event": "link left the bond",
        "link": "wan1",
        "why": "carrier\nlost",
        "links_up": 1,
    }
    assert second["path"] == "/x"
    assert second["traceback"].endswith("ValueError: invalid literal for int() with base 10: 'x'")


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
