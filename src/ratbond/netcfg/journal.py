"""What was changed, kept on disk before it is changed, so that whoever comes after a crash can undo it.

One directory a network namespace, since namespaces may share /run: ``/run/ratbond/net-<cookie>-<inode>/``; what a namespace that
is gone has left there is swept away. In it, for each end:
``client-660.lock`` (held while it runs), ``client-660.json`` (its routes and rules), and ``sysctls.json``, which all share,
because two tunnels may want the same sysctl: who comes first notes the old value, who goes last restores it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TextIO, TypedDict

from ratbond.errors import RatbondError
from ratbond.forward import PortForward
from ratbond.models import Family
from ratbond.netcfg.plan import Barrier, PortForwards, Route, Rule, Step, Translation
from ratbond.ownership import SERVICE_USER, give_to_owner_of

_SO_NETNS_COOKIE: Final = 71  # asm-generic/socket.h; Linux 5.14
_FORMAT: Final = 1
_LOCK_WITHIN_S: Final = 2.0
_NOTED: Final = (Route, Barrier, Rule, Translation, PortForwards)


class SysctlEntry(TypedDict):
    """Who wants a sysctl, and what it was before anybody did."""

    before: str
    wanted: str
    users: list[str]


def state_directory() -> Path:
    """Where this network namespace's state lies."""
    base = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/ratbond"))
    return base / f"net-{_namespace_cookie():x}-{Path('/proc/self/ns/net').stat().st_ino}"


def _namespace_cookie() -> int:
    """A number that no other network namespace has had since boot, as its inode may have; 0 on older kernels."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
        except OSError:
            return 0


class Journal:
    """One end's notes. Holding it is holding the right to run that end."""

    def __init__(self, directory: Path, owner: str) -> None:
        self.owner = owner
        self._directory = directory
        self._file = directory / f"{owner}.json"
        self._lock_file = directory / f"{owner}.lock"
        self._lock = self._take_lock()

    def _take_lock(self) -> int:
        try:
            _make(self._directory)
            descriptor = _open(self._lock_file)
        except OSError as error:
            raise RatbondError(
                f"cannot write {self._directory}: {error.strerror}; run as root, or, if root has run it before: "
                f"chown -R {SERVICE_USER} {self._directory.parent}"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RatbondError(_running_already(self.owner)) from None
        return descriptor

    def read(self) -> list[Step]:
        """What a former run left noted. A damaged file counts as none: it was being written when nothing was done yet."""
        try:
            content = json.loads(self._file.read_text())
            return [_step(entry) for entry in content["steps"]] if content["format"] == _FORMAT else []
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def write(self, steps: list[Step]) -> None:
        """Notes what is about to be in place; call it before doing so. Addresses go with the tun, sysctls have notes of their own."""
        _replace(
            self._file,
            {
                "format": _FORMAT,
                "steps": [_entry(s) for s in steps if isinstance(s, _NOTED)],
            },
        )

    def close(self) -> None:
        """Forgets everything and lets another run."""
        self._file.unlink(missing_ok=True)
        self._lock_file.unlink(missing_ok=True)
        os.close(self._lock)
        for directory in (self._directory, self._directory.parent):
            try:
                directory.rmdir()
            except OSError:
                break  # others' notes are in it

    @contextmanager
    def sysctls(self) -> Iterator[dict[str, SysctlEntry]]:
        """The shared notes on sysctls, to be changed in place, under their lock; written back at the end."""
        path = self._directory / "sysctls.json"
        with self._lock_sysctls():
            try:
                entries: dict[str, SysctlEntry] = json.loads(path.read_text())
            except (FileNotFoundError, ValueError):
                entries = {}
            try:
                yield entries
            finally:
                if entries:
                    _replace(path, entries)
                else:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".lock").unlink(missing_ok=True)

    def _lock_sysctls(self) -> TextIO:
        """The lock file, locked. Raises OSError when somebody holds it for long: that somebody does not run any more."""
        path = self._directory / "sysctls.lock"
        deadline_s = time.monotonic() + _LOCK_WITHIN_S
        while True:
            lock = os.fdopen(_open(path), "w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                    return lock  # and not a file that its last user has removed meanwhile
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    lock.close()
                    raise OSError(errno.EBUSY, f"another process holds {path}") from None
            lock.close()
            time.sleep(0.01)


def ends(directory: Path) -> dict[str, bool]:
    """The ends that have notes in a directory, and whether each runs; one that does not was killed. Raises OSError."""
    return {file.stem: _is_held(file) for file in sorted(directory.glob("*-*.lock"))}


def _is_held(lock_file: Path) -> bool:
    with lock_file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _running_already(owner: str) -> str:
    role, _, number = owner.partition("-")
    if number.startswith("port-"):
        port = number.removeprefix("port-")
        return f"a {role} on port {port} is running already: stop it, or give another --listen-addr"
    return f"a {role} with tunnel-id {number} is running already: stop it, or give another --tunnel-id"


def _make(directory: Path) -> None:
    """Makes a directory and the one above it, for whoever the one above is."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        directory.mkdir(mode=0o755)
    except FileExistsError:
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give_to_owner_of(directory.parent, descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int = 0) -> int:
    """Opens a file of notes for writing. The directory may be the service's own: root must not follow its links elsewhere."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o644)
    give_to_owner_of(path.parent, descriptor)
    return descriptor


def _replace(path: Path, content: object) -> None:
    """Writes a file so that it is whole at any moment."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(_open(new, os.O_EXCL), "w") as file:
        file.write(json.dumps(content))
    new.replace(path)


def _entry(step: Route | Barrier | Rule | Translation | PortForwards) -> dict[str, Any]:
    fields = {name: getattr(step, name) for name in step.__slots__}
    return {"kind": type(step).__name__, **{name: _plain(value) for name, value in fields.items()}}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, int) else str(value)


def _step(entry: dict[str, Any]) -> Step:
    kind = entry.pop("kind")
    for name in ("destination", "source"):
        if entry.get(name) is not None:
            entry[name] = ip_network(entry[name])
    if kind == "Translation":
        networks = {name: tuple(map(ip_network, entry.get(name, ()))) for name in ("routed", "inside")}
        return Translation(**{**entry, **networks})
    if kind == "PortForwards":
        return PortForwards(**{**entry, "forwards": tuple(map(PortForward.parse, entry["forwards"]))})
    if kind == "Barrier":
        return Barrier(**entry)
    if kind == "Rule":
        return Rule(**{**entry, "family": Family(entry["family"])})
    gateway = entry.get("gateway")
    return Route(**{**entry, "gateway": ip_address(gateway) if gateway else None})
