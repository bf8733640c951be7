"""The clients file on disk: readable by its owner alone, whole at any moment, changed by one at a time."""

from __future__ import annotations

import fcntl
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratbond import files
from ratbond.clients.model import Clients, parse
from ratbond.errors import RatbondError, UsageError
from ratbond.ownership import service_user

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


def read(path: Path) -> Clients:
    """The clients. Raises UsageError with one line."""
    return parse(_data(path, _text(path)), _label(path))


@contextmanager
def editing(path: Path, *, create: bool = False) -> Iterator[TOMLDocument]:
    """The file as a document that keeps comments and order, to be changed in place; written when the block ends without an error.

    Others who edit wait. A document with ``create`` may be empty. Raises RatbondError with one line.
    """
    import tomlkit

    real = path.resolve()  # a symbolic link stays one
    with _directory_lock(real.parent, create=create):
        exists = real.exists()
        if not exists and not create:
            raise UsageError(f"{_label(path)}: there is none yet; `ratbond client add NAME` makes it")
        text = _text(real) if exists else ""
        if exists:
            parse(_data(path, text), _label(path))
        document = tomlkit.parse(text)
        yield document
        changed = tomlkit.dumps(document)
        parse(_data(path, changed), _label(path))
        files.replace(real, changed, _label(path))


def _label(path: Path) -> str:
    return f"clients file {path}"


def _text(path: Path) -> str:
    """The content, once it is sure that nobody else can read or write it: checked on the open file, not on its name."""
    try:
        with path.open(encoding="utf-8") as file:
            facts = os.fstat(file.fileno())
            if stat.S_IMODE(facts.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(
                    f"{_label(path)}: others may read it, and it holds keys; run: chmod 600 {path}"
                )
            if facts.st_uid not in _trusted():
                raise UsageError(f"{_label(path)}: it belongs to another user; run: chown root {path}")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"{_label(path)}: {reason}") from None


def _trusted() -> set[int]:
    """Who may own the file: root, oneself, and for root the service, which reads it."""
    user = service_user() if os.geteuid() == 0 else None
    return {0, os.geteuid()} | ({user.pw_uid} if user else set())


def _data(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{_label(path)}: {error}") from None


@contextmanager
def _directory_lock(directory: Path, *, create: bool) -> Iterator[None]:
    """Holds the directory's lock: the file itself is replaced by each change, and a lock on it would be lost."""
    try:
        if create:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RatbondError(
            f"{directory}: {error.strerror}; run as root, or give another --clients-file"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
