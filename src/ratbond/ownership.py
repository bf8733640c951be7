"""Whose the files are that root writes and the service reads: the service runs as a user of its own, not as root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Final

SERVICE_USER: Final = "ratbond"
CONFIGURATION: Final = Path("/etc/ratbond")


def service_user() -> pwd.struct_passwd | None:
    """The user that `ratbond service install` makes; None where there is no such service."""
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None


def give_to_service(descriptor: int, path: Path) -> None:
    """Makes a private file that root has just made below /etc/ratbond one that the service can read."""
    user = service_user()
    if user and os.geteuid() == 0 and path.absolute().is_relative_to(CONFIGURATION):
        os.fchown(descriptor, user.pw_uid, user.pw_gid)


def give_to_owner_of(directory: Path, descriptor: int) -> None:
    """What root makes in somebody's directory is theirs: they could not take it away again otherwise."""
    facts = directory.stat()
    if os.geteuid() == 0 and facts.st_uid != 0:
        os.fchown(descriptor, facts.st_uid, facts.st_gid)
