"""What every daemon needs: signals, tasks that end together, and engine events on the event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from ratbond.daemon.notify import ServiceManager
from ratbond.engine import EngineApi, Event
from ratbond.logs import get_logger
from ratbond.status.model import Status

log = get_logger(__name__)

_SLOW_S: Final = 3.0

Job = Callable[[], Coroutine[Any, Any, None]]


class Stop(Exception):  # noqa: N818 (not an error: the way out of a task group)
    """The daemon was told to end."""


class EventPump:
    """Hands the engine's events to a callback on the event loop."""

    def __init__(self, engine: EngineApi[Any], handle: Callable[[Event], None]) -> None:
        self._engine = engine
        self._handle = handle
        self._fd = engine.event_fd
        asyncio.get_running_loop().add_reader(self._fd, self._pump)

    def close(self) -> None:
        """Stops; call it before the engine is closed."""
        asyncio.get_running_loop().remove_reader(self._fd)

    def _pump(self) -> None:
        for event in self._engine.events():
            self._handle(event)


class Owner(Protocol):
    """Who a daemon runs for: it says when to end and when to read the configuration again, and is told how things are."""

    async def run(
        self, job: Job, *, cleanup: Callable[[], Awaitable[None]], reload: Callable[[], None]
    ) -> None:
        """Runs the daemon to its end, then cleans up, whatever happens."""

    def ready(self) -> None:
        """The start is over; what is left is the network's doing."""

    def stopping(self) -> None:
        """From here on it is putting things back."""

    async def keep_told(self, status: Callable[[], Status]) -> None:
        """Is told of the state until it is cancelled."""

    def on_event(self, event: Event) -> None:
        """The engine has said something."""


class Process:
    """A process of its own: it ends by signals, and its service manager, if there is one, is told."""

    def __init__(self) -> None:
        self._manager = ServiceManager()
        self.ready = self._manager.ready
        self.stopping = self._manager.stopping
        self.keep_told = self._manager.keep_told

    async def run(
        self, job: Job, *, cleanup: Callable[[], Awaitable[None]], reload: Callable[[], None]
    ) -> None:
        """Runs the job until SIGINT, SIGTERM or a failure. SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            await run_until(stopped, job, cleanup=cleanup)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def on_event(self, event: Event) -> None:
        """The log has it already."""


async def run_until(stopped: asyncio.Event, job: Job, *, cleanup: Callable[[], Awaitable[None]]) -> None:
    """Runs a job until it is to stop, or fails; then cleans up, whatever happens."""

    async def wait() -> None:
        await stopped.wait()
        raise Stop

    try:
        with suppress(Stop):
            await all_or_none(wait, job)
    finally:
        await asyncio.shield(cleanup())


async def all_or_none(*jobs: Job) -> None:
    """A task group that raises the first failure itself, not a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@asynccontextmanager
async def told_when_slow(what: str) -> AsyncIterator[None]:
    """Says so when a step of the start takes long: nobody should wait for a silent program."""
    timer = asyncio.get_running_loop().call_later(_SLOW_S, lambda: log.warning("still busy", step=what))
    try:
        yield
    finally:
        timer.cancel()


def log_event(event: Event, client: str = "") -> None:
    """One line for what the engine says: whose, which link, why, how many are left."""
    match event.kind:
        case "link_up":
            log.info("link joined the bond", link=event.name, links_up=event.links_up, **_more(event, client))
        case "link_suspect":
            log.info("link does not answer", link=event.name, links_up=event.links_up, **_more(event, client))
        case "link_down":
            log.warning(
                "link left the bond", link=event.name, links_up=event.links_up, **_more(event, client)
            )
        case "session_up":
            cipher = {"cipher": event.detail} if event.detail else {}
            log.info("the bond is up", peer=event.peer, **_whose(client), **cipher)
        case "session_down":
            log.warning("the bond is down", **_more(event, client))
        case "assigned":
            log.info("the server has assigned addresses", addresses=" ".join(event.addresses))
        case "mtu":
            log.info("the links carry packets of this length", mtu=event.mtu, **_whose(client))
        case "replaced":
            log.warning(
                "another process with this client's key has taken over; if this repeats, two machines use one key: "
                "give each its own with `ratbond client add`",
                link=event.name,
                **_more(event, client),
            )
        case "refused":
            log.warning("refused a peer's datagrams", **_more(event, client))
        case "trace":
            log.trace(event.detail)
        case "note":
            log.info(event.detail or event.name)


def _more(event: Event, client: str) -> dict[str, str]:
    return _whose(client) | ({"why": event.detail} if event.detail else {})


def _whose(client: str) -> dict[str, str]:
    return {"client": client} if client else {}
