"""The server: it listens, and makes the tun when a client has connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ratbond.config import ServerConfig
from ratbond.daemon.reporting import Reporter
from ratbond.daemon.runtime import EventPump, all_or_none, log_event, run_until_signal
from ratbond.daemon.tunnel import Tunnel, refuse_overlap
from ratbond.engine import EngineApi, Event, TunApi
from ratbond.errors import RatbondError
from ratbond.links.netlink import read_snapshot
from ratbond.links.watch import Watcher
from ratbond.logs import get_logger
from ratbond.netcfg.apply import Network

log = get_logger(__name__)

TunT = TypeVar("TunT", bound=TunApi)


class Server(Generic[TunT]):
    """One server."""

    def __init__(
        self, config: ServerConfig, engine: EngineApi[TunT], network: Network, make_tun: Callable[[str], TunT]
    ) -> None:
        self._config = config
        self._engine = engine
        self._network = network
        self._tunnel = Tunnel(config, engine, network, make_tun)
        self._reporter = Reporter(config, engine)
        self._changed = asyncio.Event()
        self._watcher = Watcher()

    async def run(self) -> None:
        """Runs until a signal. Raises RatbondError when the system is not as it must be to begin with."""
        pump = EventPump(self._engine, self._on_event)

        async def cleanup() -> None:
            pump.close()
            self._watcher.close()
            await self._network.undo()
            self._engine.close()
            self._tunnel.close()

        async def start() -> None:
            await self._network.recover()
            refuse_overlap(self._config, await read_snapshot())
            log.info("listening", address=str(self._config.listen_addr), tunnel_id=self._config.tunnel_id)
            await all_or_none(self._keep_in_place, self._keep_converging, self._reporter.run)

        await run_until_signal(start, cleanup=cleanup)

    async def _keep_in_place(self) -> None:
        async for _ in self._watcher.snapshots():
            await self._network.reassert()

    async def _keep_converging(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._tunnel.converge()

    def _on_event(self, event: Event) -> None:
        log_event(event)
        if event.kind == "session_up":
            try:
                self._tunnel.session_up(event.session, event.peer)
            except RatbondError as error:
                log.error("a client connected, but there is no tun for it", why=str(error))
        elif event.kind == "session_down":
            self._tunnel.session_down(event.session)
        self._changed.set()
