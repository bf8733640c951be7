"""What a record of the log looks like: for people, as JSON, for the journal. What handlers share of it is :mod:`ratbond.logs`'s."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

TRACE: Final = 5  # below DEBUG: each datagram and packet
JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "ratbond"
_PRIORITIES: Final = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
    TRACE: 7,
}
_REASON: Final = "why"  # a fact that the journal calls REASON


def priority(record: logging.LogRecord) -> int:
    """The severity of RFC 5424, section 6.2.1."""
    return _PRIORITIES.get(record.levelno, 6)


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 info: event key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{stamp}.{int(record.msecs):03} {record.levelname.lower()}: {super().format(record)}"


class PrefixFormatter(logging.Formatter):
    """``<6>event key=value``, as sd-daemon(3) has it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"<{priority(record)}>{super().format(record)}"


class JsonFormatter(logging.Formatter):
    """An object a line: ``time`` (RFC 3339, UTC), ``level``, ``event``, and the facts by their names."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, object] = {
            "time": stamp.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": _event(record),
        }
        entry |= {key: value for key, value in _facts(record).items() if key not in entry}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class LogSocket:
    """A daemon that takes log entries as datagrams. What it does not take at once is lost: a tunnel does not wait for a log.

    Raises OSError when it is not there to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = self._connect()

    def send(self, entry: bytes) -> None:
        """Sends an entry; to a daemon that was restarted, too."""
        try:
            self._socket.send(entry)
        except BlockingIOError:
            return
        except OSError:
            self._send_anew(entry)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _send_anew(self, entry: bytes) -> None:
        """The daemon was restarted, or is gone."""
        try:
            fresh = self._connect()
            self._socket.close()
            self._socket = fresh
            self._socket.send(entry)
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


class JournalHandler(logging.Handler):
    """To the journal in its own protocol, with fields: ``EVENT``, ``REASON``, ``LINK``, and whatever other facts there are.

    Raises OSError when there is none.
    """

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._daemon = LogSocket(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        self._daemon.send(b"".join(_field(name, value) for name, value in self._fields(record)))

    def close(self) -> None:
        """Closes the socket."""
        self._daemon.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        own = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "SYSLOG_PID": str(os.getpid()),
            "LOGGER": record.name,
            "EVENT": _event(record),
        }
        yield from own.items()
        for key, value in _facts(record).items():
            name = "REASON" if key == _REASON else key.upper()
            if name not in own:
                yield name, str(value)


def _field(name: str, value: str) -> bytes:
    """One field of the journal's native protocol; a value of several lines comes with its length in 8 bytes before it."""
    data = value.encode(errors="replace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _event(record: logging.LogRecord) -> str:
    """The sentence; a library's record is one as a whole."""
    return str(getattr(record, "event", None) or record.getMessage())


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    facts: Mapping[str, object] = getattr(record, "facts", {})
    return {
        key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in facts.items()
    }
