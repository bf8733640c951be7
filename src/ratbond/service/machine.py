"""Looks at a machine for what the plan needs, and does the plan's steps on it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from ratbond.errors import RatbondError
from ratbond.ownership import CONFIGURATION, service_user
from ratbond.service.plan import (
    INIT_SCRIPT,
    ROLES,
    UNITS,
    Machine,
    Manager,
    Own,
    Remove,
    Run,
    Step,
    Write,
)

_MANUAL_IN_TREE: Final = Path(__file__).parents[3] / "docs" / "ratbond.1"  # of an editable installation
_SYSTEMD_RUNS: Final = Path("/run/systemd/system")  # sd_booted(3)
_PROCD: Final = Path("/sbin/procd")
_OTHERS_MAY_ENTER: Final = stat.S_IXOTH


def look(root: Path) -> Machine:
    """The machine whose files lie below ``root``. Raises RatbondError when it starts services in no known way."""
    manager = _manager(root)
    here = root == Path("/")
    readable = _configuration_files(root) if manager is Manager.SYSTEMD and here else []
    user = service_user() if here else None
    return Machine(
        manager=manager,
        command=own_command(),
        runs=here and (_SYSTEMD_RUNS.is_dir() if manager is Manager.SYSTEMD else _PROCD.exists()),
        user_exists=user is not None if here else None,
        configurations=frozenset(
            role for role in ROLES if (_below(root, CONFIGURATION) / f"{role}.toml").exists()
        ),
        secrets=tuple(path for path, owner, private in readable if owner == 0 and private),
        kept=tuple(path for path, owner, _ in readable if user and owner == user.pw_uid),
        units=_installed(root, manager),
        manual=_manual(),
    )


def do(steps: list[Step], root: Path) -> None:
    """Does the steps. Raises RatbondError with the first that fails."""
    for step in steps:
        try:
            _do(step, root)
        except (OSError, LookupError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RatbondError(f"{_what(step)}: {reason}; run as root, or give --root DIR") from None


def own_command() -> tuple[str, ...]:
    """How a service starts this very installation. Raises RatbondError when the service's user could not."""
    script = Path(sysconfig.get_path("scripts")) / "ratbond"
    command = (str(script),) if script.exists() else (sys.executable, "-m", "ratbond")
    for place in (
        Path(command[0]),
        Path(__file__),
        Path(sys.executable),
    ):  # the interpreter of a venv may be elsewhere
        _refuse_private(place)
    return command


def _refuse_private(place: Path) -> None:
    for directory in place.resolve().parents:
        if not directory.stat().st_mode & _OTHERS_MAY_ENTER:
            raise RatbondError(
                f"the service's own user cannot read {place}, as {directory} is private; install ratbond where others "
                "can read it: python3 -m venv /opt/ratbond && /opt/ratbond/bin/pip install ratbond"
            )


def _do(step: Step, root: Path) -> None:
    match step:
        case Write(path=path, content=content, mode=mode):
            target = _below(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            new.write_text(content, encoding="utf-8")
            new.chmod(mode)
            new.replace(target)
        case Remove(path=path):
            _below(root, path).unlink(missing_ok=True)
        case Own(path=path, user=user):
            entry = pwd.getpwnam(user)
            os.chown(_below(root, path), entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        case Run():
            _run(step)


def _run(step: Run) -> None:
    if shutil.which(step.words[0]) is None:
        raise RatbondError(f"{step.words[0]} is not there; do what it does by hand: {' '.join(step.words)}")
    done = subprocess.run(step.words, capture_output=True, text=True, check=False)
    if done.returncode and not step.may_fail:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise RatbondError(f"{' '.join(step.words)}: {said[-1]}")


def _what(step: Step) -> str:
    return step.words[0] if isinstance(step, Run) else str(step.path)


def _manager(root: Path) -> Manager:
    if _below(root, _PROCD).exists():
        return Manager.PROCD
    if _below(root, Path("/lib/systemd/system")).is_dir() or _below(root, Path("/usr/lib/systemd")).is_dir():
        return Manager.SYSTEMD
    if root != Path("/"):
        return Manager.SYSTEMD  # a package's tree: empty as yet
    raise RatbondError(
        "neither systemd nor OpenWrt's procd is here; start `ratbond client --config=/etc/ratbond/client.toml` the way "
        "that this machine starts its services"
    )


def _configuration_files(root: Path) -> list[tuple[Path, int, bool]]:
    """The files in /etc/ratbond, whose they are, and whether their owner alone may read them; links are left alone."""
    found = []
    directory = _below(root, CONFIGURATION)
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode):
            found.append((path, facts.st_uid, not facts.st_mode & (stat.S_IRGRP | stat.S_IROTH)))
    return found


def _installed(root: Path, manager: Manager) -> frozenset[str]:
    if manager is Manager.PROCD:
        return frozenset(ROLES if _below(root, INIT_SCRIPT).exists() else ())
    return frozenset(role for role in ROLES if (_below(root, UNITS) / f"ratbond-{role}.service").exists())


def _manual() -> str:
    """The manual page, from where the wheel or the working copy has it; not when man(1) finds it there anyway."""
    prefix = Path(sys.prefix)
    if prefix in {Path("/usr"), Path("/usr/local")}:
        return ""
    for page in (prefix / "share/man/man1/ratbond.1", _MANUAL_IN_TREE):
        if page.is_file():
            return page.read_text(encoding="utf-8")
    return ""


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
