"""Files that are whole at any moment: written anew beside the old one, on disk before they take its name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from ratbond.errors import RatbondError
from ratbond.ownership import give_to_service

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


def replace(path: Path, text: str, label: str, mode: int = PRIVATE) -> None:
    """Puts a new file in the place of the old one, whose owner stays. One at a time: the caller sees to it. Raises RatbondError."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)  # what a killed run left; nobody else is here, by the lock
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _take_over(path, descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise RatbondError(f"{label}: {error.strerror}; nothing was changed") from None


def _take_over(path: Path, descriptor: int, mode: int) -> None:
    """Owner and mode as before, but for what others may not do any more; a service that is not root may be reading it."""
    try:
        before = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode)  # whatever the umask says
        if mode == PRIVATE:
            give_to_service(descriptor, path)
        return
    if os.geteuid() == 0:
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, mode & before.st_mode)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
