"""Network namespaces: making them, running things in them, taking them away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ratbond.lab.errors import CommandError

_NAMESPACES = Path("/run/netns")
_KILL_AFTER_S = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Host:
    """One host of the lab: a network namespace with processes in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._started: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"Host({self.namespace!r})"

    def run(
        self, *command: str, check: bool = True, timeout_s: float | None = 60.0, input_text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and return what it printed.

        Raises:
            CommandError: it failed (unless ``check`` is false), or took too long.
        """
        return run(self.command(*command), check=check, timeout_s=timeout_s, input_text=input_text)

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command; ``options`` are those of :class:`subprocess.Popen`.

        The process is the command itself, no wrapper: signals reach it. What still runs when the lab ends is killed.
        """
        process = subprocess.Popen(self.command(*command), **options)
        self._started.append(process)
        return process

    def reap(self) -> None:
        """Take the exit codes of the processes that were started here, now that they have ended."""
        while self._started:
            self._started.pop().wait()

    def command(self, *command: str) -> list[str]:
        """Make the argument list that runs a command on this host, for whoever starts it in a way of their own."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def socket(
        self, family: socket.AddressFamily, kind: socket.SocketKind, protocol: int = 0
    ) -> socket.socket:
        """Open a socket of this host for the calling process, which stays where it is."""
        opened: list[socket.socket] = []
        failure: list[OSError] = []

        def open_inside() -> None:
            try:
                enter(self.namespace)
                opened.append(socket.socket(family, kind, protocol))
            except OSError as error:
                failure.append(error)

        # A thread of its own, because only a thread that ends can leave its namespace without a way to fail.
        thread = threading.Thread(target=open_inside)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return opened[0]

    def ip(self, *commands: str) -> None:
        """Carry out commands of iproute2, all in one process."""
        run(["ip", "-n", self.namespace, "-batch", "-"], input_text="\n".join(commands) + "\n")

    def pids(self) -> list[int]:
        """List the processes of this host."""
        return pids_in(self.namespace)


def run(
    command: list[str], *, check: bool = True, timeout_s: float | None = 60.0, input_text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its failure is one line.

    Raises:
        CommandError: it failed (unless ``check`` is false), took too long, or does not exist.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"'{shown}' did not end within {timeout_s} s") from error
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CommandError(f"'{shown}' failed: {said[0] if said else f'exit code {done.returncode}'}")
    return done


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait whose handlers may raise, until what happens in here has happened.

    A process that is being started is not known yet to whoever would have to end it: it would go on after the cleaning.
    """
    # No other thread is interrupted, or may change a handler.
    numbers = _SIGNALS if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    arrived: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace.

    Raises:
        OSError: there is none of that name, or no permission.
    """
    from pyroute2 import netns

    netns.setns(namespace, flags=0)


def exists(namespace: str) -> bool:
    """Say whether a namespace of this name is known to ip(8)."""
    return (_NAMESPACES / namespace).exists()


def names(prefix: str) -> list[str]:
    """List the namespaces whose name begins so."""
    if not _NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in _NAMESPACES.iterdir() if path.name.startswith(prefix))


def pids_in(namespace: str) -> list[int]:
    """List the processes that are in a namespace."""
    try:
        wanted = (_NAMESPACES / namespace).stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                there = (entry / "ns/net").stat()
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
    return found


def remove(namespaces: Iterable[str]) -> None:
    """End every process in these namespaces, then take them away; those that are not there are skipped."""
    namespaces = [name for name in namespaces if exists(name)]
    _end(lambda: (pid for name in namespaces for pid in pids_in(name) if pid != os.getpid()))
    for name in namespaces:
        run(["ip", "netns", "del", name])


def _end(find: Callable[[], Iterable[int]]) -> None:
    """Ask the processes to end, then make them; new ones that appear meanwhile are found as well."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        deadline_s = time.monotonic() + _KILL_AFTER_S
        told: set[int] = set()
        while (left := set(find())) and time.monotonic() < deadline_s:
            for pid in left - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
            told |= left
            time.sleep(0.01)
        if not left:
            return
