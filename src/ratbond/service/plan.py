"""What installing and removing a service does, as data: pure, so that it can be shown, tested and done elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final

from ratbond.ownership import SERVICE_USER as USER

UNITS: Final = Path("/etc/systemd/system")
INIT_SCRIPT: Final = Path("/etc/init.d/ratbond")
MANUAL: Final = Path("/usr/local/share/man/man1/ratbond.1")
ROLES: Final = ("client", "server")
_COMMAND_IN_FILES: Final = "/usr/bin/ratbond"
_EXECUTABLE: Final = 0o755
_READABLE: Final = 0o644


class Manager(StrEnum):
    """Who starts services on a machine."""

    SYSTEMD = "systemd"
    PROCD = "procd"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the plan depends on."""

    manager: Manager
    command: tuple[str, ...]  # that runs this installation's ratbond
    runs: bool  # the manager itself is there to be told; not in a chroot, a container without it, or below --root
    user_exists: bool | None  # None: users are not this machine's to make
    configurations: frozenset[str] = frozenset()  # the roles that have one
    secrets: tuple[
        Path, ...
    ] = ()  # files in /etc/ratbond that belong to root and that only their owner may read
    kept: tuple[Path, ...] = ()  # those that belong to the service's user
    units: frozenset[str] = frozenset()  # the roles whose unit is there
    manual: str = ""  # the manual page's text


@dataclass(frozen=True, slots=True)
class Write:
    """A file with this content, in place of one of that name."""

    path: Path
    content: str
    mode: int = _READABLE


@dataclass(frozen=True, slots=True)
class Remove:
    """No such file."""

    path: Path


@dataclass(frozen=True, slots=True)
class Own:
    """A file belongs to a user."""

    path: Path
    user: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command, which may fail only if ``may_fail``."""

    words: tuple[str, ...]
    may_fail: bool = False


Step = Write | Remove | Own | Run


def install(machine: Machine, role: str) -> list[Step]:
    """The steps that make a service of one end, in their order; done again they change nothing."""
    if machine.manager is Manager.PROCD:
        return _install_procd(machine)
    steps: list[Step] = []
    if machine.user_exists is False:
        steps.append(Run(add_user()))
    steps += [Own(path, USER) for path in machine.secrets]
    steps.append(Write(_unit_path(role), unit(role, machine.command)))
    if machine.manual:
        steps.append(Write(MANUAL, machine.manual))
    if machine.runs:
        steps += [Run(("systemctl", "daemon-reload")), Run(("systemctl", "enable", _unit(role)))]
        if role in machine.configurations:
            steps.append(Run(("systemctl", "restart", _unit(role))))
    return steps


def remove(machine: Machine, role: str) -> list[Step]:
    """The steps that take it back. The configuration stays; what only the service needed goes with the last unit."""
    if machine.manager is Manager.PROCD:
        return _remove_procd(machine)
    steps: list[Step] = []
    if machine.runs and role in machine.units:
        steps.append(Run(("systemctl", "disable", "--now", _unit(role))))
    steps.append(Remove(_unit_path(role)))
    if machine.runs:
        steps.append(Run(("systemctl", "daemon-reload")))
    if machine.units <= {role}:
        steps += [Remove(MANUAL), *(Own(path, "root") for path in machine.kept)]
        if machine.user_exists:
            steps += [Run(("userdel", USER)), Run(("rmdir", "/run/ratbond"), may_fail=True)]
    return steps


def unit(role: str, command: Iterable[str]) -> str:
    """The unit of one end that runs this command."""
    text = _file(f"ratbond-{role}.service")
    started = " ".join(_for_systemd(word) for word in command)
    text = text.replace(f"ExecStart={_COMMAND_IN_FILES} ", f"ExecStart={started} ")
    for place, hidden, shown in (
        ("/home", "ProtectHome=yes", "ProtectHome=read-only"),
        ("/tmp", "PrivateTmp=yes", "PrivateTmp=no"),
    ):
        if any(Path(word).is_relative_to(place) for word in command):
            text = text.replace(hidden, shown)  # or it could not read its own program
    return text


def init_script(command: Iterable[str]) -> str:
    """The init script that runs this command."""
    text = _file("ratbond.init")
    return text.replace(f"RATBOND={_COMMAND_IN_FILES}", f"RATBOND={shlex.quote(shlex.join(command))}")


def add_user() -> tuple[str, ...]:
    """The command that makes the service's user."""
    return (
        "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin",
        "--comment", "ratbond tunnel", USER,
    )  # fmt: skip


def in_words(step: Step) -> str:
    """What a step does, as a person would type or say it."""
    match step:
        case Write(path=path):
            return f"write {path}"
        case Remove(path=path):
            return f"remove {path}"
        case Own(path=path, user=user):
            return f"chown {user} {path}"
        case Run(words=words):
            return shlex.join(words)


def _install_procd(machine: Machine) -> list[Step]:
    steps: list[Step] = [Write(INIT_SCRIPT, init_script(machine.command), _EXECUTABLE)]
    if machine.runs:
        steps += [Run((str(INIT_SCRIPT), "enable")), Run((str(INIT_SCRIPT), "restart"))]
    return steps


def _remove_procd(machine: Machine) -> list[Step]:
    steps: list[Step] = []
    if machine.runs and machine.units:
        steps += [Run((str(INIT_SCRIPT), "stop"), may_fail=True), Run((str(INIT_SCRIPT), "disable"))]
    return [*steps, Remove(INIT_SCRIPT)]


def _file(name: str) -> str:
    return (files("ratbond.service") / "files" / name).read_text(encoding="utf-8")


def _unit(role: str) -> str:
    return f"ratbond-{role}.service"


def _unit_path(role: str) -> Path:
    return UNITS / _unit(role)


def _for_systemd(word: str) -> str:
    """A word of ExecStart: % and $ would be expanded, and blanks part words (systemd.service(5), command lines)."""
    word = word.replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(c.isspace() for c in word) else word
