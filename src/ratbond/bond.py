"""The Python API: a bond inside somebody's asyncio program (docs/python.md).

It is the daemon of ``ratbond client`` and ``ratbond server`` itself, run for another owner than a process: no signal handler is
installed, no log configured, no service manager told, and nothing ends the interpreter. Errors are raised as :class:`RatbondError`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from ratbond.config import ClientConfig, ServerConfig, load
from ratbond.config.file import NONE
from ratbond.daemon.client import Client
from ratbond.daemon.reload import Reloader
from ratbond.daemon.runtime import Job, run_until
from ratbond.daemon.server import Server
from ratbond.daemon.start import assemble
from ratbond.engine import Event, Tun
from ratbond.errors import RatbondError, UsageError
from ratbond.models import WanSpec
from ratbond.status.model import Status

logging.getLogger("ratbond").addHandler(logging.NullHandler())  # what is logged is the program's to decide

_MAX_WAITING: Final = 1000
_NOT_RUNNING: Final = "the bond is not running: call start() first"

EventKind = Literal[
    "bond_up", "bond_down", "link_up", "link_suspect", "link_down", "assigned", "replaced", "refused", "note"
]
_KINDS: Final[dict[str, EventKind]] = {
    "session_up": "bond_up",
    "session_down": "bond_down",
    "link_up": "link_up",
    "link_suspect": "link_suspect",
    "link_down": "link_down",
    "assigned": "assigned",
    "replaced": "replaced",
    "refused": "refused",
    "note": "note",
}


@dataclass(frozen=True, slots=True)
class BondEvent:
    """Something that happened.

    ``bond_up`` and ``bond_down``: the first link of a session is up, its last is dead. ``link_up``, ``link_suspect``, ``link_down``: a
    link has joined, does not answer, has left. ``assigned``: the server has said which addresses this client has. ``replaced``: another
    process with this client's key has taken over. ``refused``: a peer's datagrams were refused.
    """

    kind: EventKind
    at: datetime  # UTC
    session: int
    link: str  # its name; "" for what is no link's
    why: str
    peer: str  # "ratbond" or "stock", with bond_up
    links_up: int
    addresses: tuple[str, ...]


class Bond:
    """One end of a tunnel: ``Bond(connect_addr="vps.example.org:12345", secret_file="/etc/ratbond.secret")`` is a client.

    Settings have the names and values of the configuration file (docs/configuration.md), ``config`` is such a file to begin with.
    Without ``http_listen_addr`` no status is served. Raises UsageError for a setting that cannot be meant.
    """

    def __init__(
        self,
        *,
        role: Literal["client", "server"] = "client",
        config: Path | str | None = None,
        **settings: Any,
    ) -> None:
        self._model: type[ClientConfig | ServerConfig] = ClientConfig if role == "client" else ServerConfig
        self._file = NONE if config is None else Path(config)
        self._settings = {"http_listen_addr": "disable", **settings}
        self._config = self._read(self._settings)
        self._daemon: Client[Tun] | Server[Tun] | None = None
        self._task: asyncio.Task[None] | None = None
        self._owner = _Program()

    async def start(self) -> None:
        """Starts, and comes back once the end is ready: a client looks for its server from then on. Raises RatbondError."""
        if self._task is not None:
            raise RatbondError("this bond has been started before: make another")
        self._task = asyncio.create_task(self._run(), name=f"ratbond {self._config.end_name}")
        ready = asyncio.create_task(self._owner.is_ready.wait())
        try:
            await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            ready.cancel()
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Ends it and takes back all that it has changed on the machine. Raises what it failed with, if it did."""
        self._owner.stopped.set()
        await self.wait()

    async def wait(self) -> None:
        """Waits until it has ended. Raises RatbondError when that was a failure."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    async def events(self) -> AsyncIterator[BondEvent]:
        """What happens from now on, until the bond has ended. Who is more than 1,000 events behind loses the oldest."""
        waiting: deque[BondEvent] = deque(maxlen=_MAX_WAITING)
        self._owner.followers[id(waiting)] = waiting
        try:
            while True:
                while waiting:
                    yield waiting.popleft()
                if self._owner.has_ended:
                    return
                await self._owner.changed.wait()
        finally:
            del self._owner.followers[id(waiting)]

    async def samples(self, interval_s: float = 1.0) -> AsyncIterator[Status]:
        """The statistics, every so many seconds, until the bond has ended: where a policy looks and acts."""
        while not self._owner.has_ended:
            if self._daemon is not None:
                yield self._daemon.status()
            await asyncio.sleep(interval_s)

    def stats(self) -> Status:
        """All counters and states at this moment (docs/status.md). Raises RatbondError when it is not running."""
        if self._daemon is None or self._owner.has_ended:
            raise RatbondError(_NOT_RUNNING)
        return self._daemon.status()

    def add_link(self, wan: str) -> None:
        """Uses an interface, ``IFACE[=ADDRESS][@GATEWAY]``, which may come up later. Raises UsageError."""
        try:
            device = WanSpec.parse(wan).device
        except ValueError as error:
            raise UsageError(str(error)) from None
        named, _, left_out = self._without(device)
        self._change(wan=[*named, wan], no_wan=left_out)

    def remove_link(self, device: str) -> None:
        """Leaves an interface alone, also one that was found by itself, until it is added. Raises UsageError."""
        named, tables, left_out = self._without(device)
        self._change(wan=named, links=tables, no_wan=[*left_out, device])

    def _without(self, device: str) -> tuple[list[str], dict[str, Any], list[str]]:
        """The links that are named, those in tables, and those left out, but for one interface."""
        if not isinstance(self._config, ClientConfig):
            raise UsageError("only a client has links to add or remove: a server takes those that join")
        tables = {n: link for n, link in self._config.links.items() if (link.wan or n) != device}
        return (
            [str(spec) for spec in self._config.wan if spec.device != device],
            {name: link.model_dump(exclude_none=True) for name, link in tables.items()},
            [name for name in self._config.no_wan if name != device],
        )

    def _change(self, **changes: Any) -> None:
        if self._daemon is None or self._owner.has_ended:
            raise RatbondError(_NOT_RUNNING)
        settings = self._settings | changes
        self._config = self._read(settings)
        self._settings = settings
        self._owner.reload()

    def _read(self, settings: dict[str, Any]) -> ClientConfig | ServerConfig:
        return load(self._model, settings, {}, self._file).config

    async def _run(self) -> None:
        try:
            self._daemon = await assemble(
                self._config, Reloader(self._config, lambda: self._config), self._owner
            )
            await self._daemon.run()
        finally:
            self._owner.end()


class _Program:
    """The owner of a daemon that runs inside somebody's program."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.is_ready = asyncio.Event()
        self.changed = asyncio.Event()
        self.has_ended = False
        self.followers: dict[int, deque[BondEvent]] = {}  # by identity: those that are as far are equal
        self.reload: Callable[[], None] = lambda: None

    async def run(
        self, job: Job, *, cleanup: Callable[[], Awaitable[None]], reload: Callable[[], None]
    ) -> None:
        """Runs the daemon until the program stops it."""
        self.reload = reload
        await run_until(self.stopped, job, cleanup=cleanup)

    def ready(self) -> None:
        """The start is over."""
        self.is_ready.set()

    def stopping(self) -> None:
        """Who follows hears of the end when it has come."""

    async def keep_told(self, status: Callable[[], Status]) -> None:
        """The program asks when it wants to know."""
        del status

    def on_event(self, event: Event) -> None:
        """Hands an event to all who follow."""
        kind = _KINDS.get(event.kind)
        if kind is None:
            return
        at_s = time.time() - (time.monotonic_ns() - event.at_ns) / 1e9
        happened = BondEvent(
            kind, datetime.fromtimestamp(at_s, UTC), event.session, event.name, event.detail, event.peer,
            event.links_up, tuple(event.addresses),
        )  # fmt: skip
        for waiting in self.followers.values():
            waiting.append(happened)
        self._wake()

    def end(self) -> None:
        """Nothing comes any more."""
        self.has_ended = True
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
