"""Logging: one line an event, to standard error and, where there is one, to syslog.

Under systemd standard error is the journal, and the lines carry the journal's priority prefix (sd-daemon(3)) instead
of a time. It is the standard library's logging with facts beside the words: an event is a sentence that never changes,
and what changes are its facts. (structlog would do it too, at 5 MB of memory and a fifth of a second at start.)
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TRACE: Final = 5  # below DEBUG: each datagram and packet
SYSLOG_SOCKET = Path("/dev/log")
_LOG_DAEMON: Final = 3 << 3  # the facility, RFC 5424 section 6.2.1
_OURS: Final = "ratbond"
_SD_PRIORITY: Final = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
    TRACE: 7,
}


class Log:
    """A logger whose events are sentences and whose keywords are their facts."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def trace(self, event: str, **facts: object) -> None:
        """What goes over the wire."""
        self._log(TRACE, event, facts)

    def debug(self, event: str, **facts: object) -> None:
        """For those who look for a fault."""
        self._log(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        """Something that a user may want to know."""
        self._log(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Something that a user should know."""
        self._log(logging.WARNING, event, facts)

    def error(self, event: str, *, traceback: bool = False, **facts: object) -> None:
        """Something that does not work."""
        self._log(logging.ERROR, event, facts, traceback=traceback)

    def _log(self, level: int, event: str, facts: Mapping[str, object], *, traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(
                level, "%s", _line(event, facts), exc_info=traceback, extra={"event": event, "facts": facts}
            )


def get_logger(name: str) -> Log:
    """The logger of a module."""
    return Log(name)


def configure(*, debug: bool, syslog: bool, trace: bool = False) -> None:
    """Sends every logger of the process, those of libraries included, one way."""
    logging.addLevelName(TRACE, "TRACE")
    in_journal = "JOURNAL_STREAM" in os.environ
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_JournalFormatter() if in_journal else _TerminalFormatter())
    handlers: list[logging.Handler] = [terminal]
    if syslog and not in_journal and (handler := _syslog_handler()):
        handlers.append(handler)
    root = logging.getLogger()
    for handler in handlers:
        handler.addFilter(_worth_reading)
        root.addHandler(handler)
    set_level(debug=debug, trace=trace)


def set_level(*, debug: bool, trace: bool) -> None:
    """How much is logged from now on."""
    logging.getLogger().setLevel(TRACE if trace else logging.DEBUG if debug else logging.INFO)
    # A syslog daemon that went away is no reason to write tracebacks.
    logging.raiseExceptions = debug or trace


def _line(event: str, facts: Mapping[str, object]) -> str:
    """``event key=value``; whatever came from outside, it stays one line."""
    words = [event, *(f"{key}={_quoted(value)}" for key, value in facts.items())]
    return " ".join(" ".join(words).splitlines())


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text


def _worth_reading(record: logging.LogRecord) -> bool:
    """Our own records, and what libraries warn of (pyroute2 tells every netlink message at DEBUG)."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == _OURS


def _syslog_handler() -> logging.Handler | None:
    try:
        return _SyslogHandler(SYSLOG_SOCKET)
    except OSError:
        return None  # there is none, or a dead socket file: nobody listens


class _SyslogHandler(logging.Handler):
    """To the syslog daemon, as long as it takes lines at once: a tunnel does not wait for a log (the standard library's does)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a line; one that the daemon has no room for is lost."""
        priority = _LOG_DAEMON | _SD_PRIORITY.get(record.levelno, 7)
        line = f"<{priority}>ratbond[{os.getpid()}]: {self.format(record)}".encode(errors="replace")
        try:
            self._socket.send(line)
        except BlockingIOError:
            return
        except OSError:
            self._send_anew(line)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        super().close()

    def _send_anew(self, line: bytes) -> None:
        """The daemon was restarted, or is gone."""
        try:
            fresh = self._connect()
            self._socket.close()
            self._socket = fresh
            self._socket.send(line)
        except OSError:
            return

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection


class _TerminalFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 info: event key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{stamp}.{int(record.msecs):03} {record.levelname.lower()}: {super().format(record)}"


class _JournalFormatter(logging.Formatter):
    """``<6>event key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_SD_PRIORITY.get(record.levelno, 6)}>{super().format(record)}"
