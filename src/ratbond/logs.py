"""Logging: one record an event, to standard error or the journal and, where there is one, to syslog.

It is the standard library's logging with facts beside the words: an event is a sentence that never changes,
and what changes are its facts. (structlog would do it too, at 5 MB of memory and a fifth of a second at start.)
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from ratbond.errors import UsageError
from ratbond.log_formats import (
    IDENTIFIER,
    JOURNAL_SOCKET,
    TRACE,
    JournalHandler,
    JsonFormatter,
    LogSocket,
    PrefixFormatter,
    TextFormatter,
    priority,
)

SYSLOG_SOCKET = Path("/dev/log")
_LOG_DAEMON: Final = 3 << 3  # the facility, RFC 5424 section 6.2.1
_OURS: Final = "ratbond"
_STANDARD_ERROR: Final = 2
Format = Literal["auto", "text", "json", "journal"]


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


def configure(*, debug: bool, syslog: bool, trace: bool = False, form: Format = "auto") -> None:
    """Sends every logger of the process, those of libraries included, one way. Raises UsageError for a journal that is not there."""
    logging.addLevelName(TRACE, "TRACE")
    main = _main_handler(form)
    handlers = [main]
    if syslog and not _is_for_the_journal(main) and (handler := _syslog_handler()):
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


def _main_handler(form: Format) -> logging.Handler:
    in_journal = form == "auto" and _standard_error_is_the_journal()
    if in_journal or form == "journal":
        try:
            return JournalHandler(JOURNAL_SOCKET)
        except OSError as error:
            if not in_journal:
                raise UsageError(
                    f"--log-format journal: {JOURNAL_SOCKET}: {error.strerror}; is systemd's journal there? text and json need none"
                ) from None
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(
        PrefixFormatter() if in_journal else JsonFormatter() if form == "json" else TextFormatter()
    )
    return stream


def _is_for_the_journal(handler: logging.Handler) -> bool:
    return isinstance(handler, JournalHandler) or isinstance(handler.formatter, PrefixFormatter)


def _standard_error_is_the_journal() -> bool:
    """Whether systemd connected it, and nobody has redirected it since (systemd.exec(5), JOURNAL_STREAM)."""
    here = os.fstat(_STANDARD_ERROR)
    return os.environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"


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
    """To the syslog daemon, as long as it takes lines at once (the standard library's waits)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._daemon = LogSocket(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a line."""
        number = _LOG_DAEMON | priority(record)
        self._daemon.send(
            f"<{number}>{IDENTIFIER}[{os.getpid()}]: {self.format(record)}".encode(errors="replace")
        )

    def close(self) -> None:
        """Closes the socket."""
        self._daemon.close()
        super().close()
