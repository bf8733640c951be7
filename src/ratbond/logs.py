"""Logging: one line an event, to standard error and, where there is one, to syslog.

Under systemd standard error is the journal, and the lines carry the journal's priority prefix (sd-daemon(3)) instead
of a time.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

# Through the standard library's logging, also before `configure`: a test's log is then a log like any other.
structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)

SYSLOG_SOCKET = Path("/dev/log")
_SD_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

Entry = MutableMapping[str, Any]


def configure(*, debug: bool, syslog: bool) -> None:
    """Sends every logger of the process, those of libraries included, one way."""
    in_journal = "JOURNAL_STREAM" in os.environ
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(_formatter(_journal_line if in_journal else _terminal_line))
    if syslog and not in_journal and (handler := _syslog_handler()):
        handler.setFormatter(_formatter(_plain_line))
        handlers.append(handler)
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, (logging.StreamHandler, logging.handlers.SysLogHandler)) and getattr(
            old, "ratbond", False
        ):
            root.removeHandler(old)
    for handler in handlers:
        handler.ratbond = True  # type: ignore[attr-defined]
        handler.addFilter(_worth_reading)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.raiseExceptions = debug  # a syslog daemon that went away is no reason to write tracebacks


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events are sentences and whose keywords are their facts."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _worth_reading(record: logging.LogRecord) -> bool:
    """Our own records, and what libraries warn of (pyroute2 tells every netlink message at DEBUG)."""
    return record.levelno >= logging.WARNING or record.name.startswith("ratbond")


def _syslog_handler() -> logging.Handler | None:
    if not SYSLOG_SOCKET.exists():
        return None
    try:
        handler = logging.handlers.SysLogHandler(
            str(SYSLOG_SOCKET), logging.handlers.SysLogHandler.LOG_DAEMON
        )
    except OSError:
        return None  # a dead socket file: nobody listens
    handler.ident = f"ratbond[{os.getpid()}]: "
    return handler


def _formatter(render: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )


def _plain_line(_logger: object, _method: str, entry: Entry) -> str:
    """Without time or level: ``event key=value``."""
    entry.pop("level", None)
    event = str(entry.pop("event", ""))
    traceback = entry.pop("exception", None)
    words = [event, *(f"{key}={_quoted(value)}" for key, value in entry.items())]
    line = " ".join(words).replace("\n", " ")
    return f"{line}\n{traceback}" if traceback else line


def _terminal_line(logger: object, method: str, entry: Entry) -> str:
    """With both: ``2026-01-31 12:00:00 info: event key=value``."""
    stamp = structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)(None, "", {})["timestamp"]
    level = entry.get("level", "info")
    return f"{stamp} {level}: {_plain_line(logger, method, entry)}"


def _journal_line(logger: object, method: str, entry: Entry) -> str:
    """With the journal's priority: ``<6>event key=value``."""
    priority = _SD_PRIORITY.get(str(entry.get("level", "info")), 6)
    return f"<{priority}>{_plain_line(logger, method, entry)}"


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text
