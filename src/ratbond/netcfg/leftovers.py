"""Sweeps away the notes of network namespaces that are gone: with them went all that the notes could undo."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import Final

_NOTES: Final = re.compile(r"net-[0-9a-f]+-(\d+)")
_MOUNTED: Final = re.compile(
    r" net:\[(\d+)\] "
)  # mountinfo's fourth field, as ip-netns(8) mounts a namespace


def sweep(base: Path) -> int:
    """Removes the directories below ``base`` that no end holds and whose namespace nobody is in; returns how many.

    Only root sees who is in which namespace, so for anybody else none is gone.
    """
    if os.geteuid() != 0:
        return 0
    candidates = {
        directory: int(match[1])
        for directory in (base.iterdir() if base.is_dir() else ())
        if (match := _NOTES.fullmatch(directory.name))
    }
    if not candidates:
        return 0
    living = _living_namespaces()
    gone = [directory for directory, inode in candidates.items() if inode not in living]
    return sum(_remove(directory) for directory in gone)


def _living_namespaces() -> set[int]:
    """The inodes of all network namespaces with a process in them or a name."""
    inodes = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It ended meanwhile, or is beyond our rights: then so was its namespace when the notes were made.
            with contextlib.suppress(OSError):
                inodes.add((entry / "ns/net").stat().st_ino)
    mounts = Path("/proc/self/mountinfo").read_text()
    return inodes | {int(match[1]) for match in _MOUNTED.finditer(mounts)}


def _remove(directory: Path) -> bool:
    """Removes a directory of notes, unless an end that cannot be seen holds it."""
    for lock in directory.glob("*.lock"):
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    for file_name in directory.iterdir():
        file_name.unlink(missing_ok=True)
    directory.rmdir()
    return True
