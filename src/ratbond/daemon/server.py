"""The server: it listens, and makes a tun for each client when it has connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from ratbond.clients.model import ClientEntry
from ratbond.config import ServerConfig
from ratbond.daemon.forwarding import refuse_taken
from ratbond.daemon.reload import Reloader, take_common
from ratbond.daemon.reporting import Reporter
from ratbond.daemon.roster import Roster, addresses_of, tunnel_config
from ratbond.daemon.runtime import EventPump, Owner, Process, all_or_none, log_event, told_when_slow
from ratbond.daemon.tunnel import Tunnel, overlap, refuse_overlap
from ratbond.engine import EngineApi, Event, TunApi
from ratbond.errors import RatbondError
from ratbond.links.model import Snapshot
from ratbond.links.watch import Watcher
from ratbond.logs import get_logger
from ratbond.models import IPNetwork
from ratbond.netcfg.apply import Network
from ratbond.speedtest.service import MeasuringService
from ratbond.status.model import Status

log = get_logger(__name__)

# Each client that comes brings a burst of changes of our own making, and a look at hundreds of devices takes its time.
_LOOK_AGAIN_S: Final = 1.0

TunT = TypeVar("TunT", bound=TunApi)


class Server(Generic[TunT]):
    """One server: of one client, or of all those in a roster. Each client's session has a tunnel of its own."""

    def __init__(
        self,
        config: ServerConfig,
        engine: EngineApi[TunT],
        network: Network,
        make_tun: Callable[[str], TunT],
        reloader: Reloader[ServerConfig],
        roster: Roster | None = None,
        owner: Owner | None = None,
    ) -> None:
        self._config = config
        self._reloader = reloader
        self._engine = engine
        self._network = network
        self._make_tun = make_tun
        self._roster = roster
        self._tunnels: dict[int, Tunnel[TunT]] = {}
        self._reporter = Reporter(config, engine, roster)
        self._owner = owner or Process()
        self._measuring = MeasuringService()
        self._changed = asyncio.Event()
        self._watcher = Watcher()

    async def run(self) -> None:
        """Runs until its owner ends it. Raises RatbondError when the system is not as it must be to begin with."""
        pump = EventPump(self._engine, self._on_event)

        async def cleanup() -> None:
            self._owner.stopping()
            pump.close()
            self._watcher.close()
            self._measuring.close_all()
            await self._network.undo()
            self._engine.close()
            for tunnel in self._tunnels.values():
                tunnel.close()

        async def start() -> None:
            async with told_when_slow("undoing what a former run left behind"):
                await self._network.recover()
            async with told_when_slow("reading the network's state"):
                self._refuse_overlap(await self._watcher.read())
            self._refuse_taken(self._config)
            if self._roster:
                self._engine.set_clients(self._roster.for_engine())
            log.info("listening", address=str(self._config.listen_addr), **self._whom())
            self._owner.ready()
            told = partial(self._owner.keep_told, self._reporter.status)
            await all_or_none(self._keep_in_place, self._keep_converging, self._reporter.run, told)

        await self._owner.run(start, cleanup=cleanup, reload=self._reload)

    def status(self) -> Status:
        """The status at this moment."""
        return self._reporter.status()

    def _reload(self) -> None:
        """Reads configuration and clients anew; a file that is wrong changes nothing."""
        config = self._reloader.read(self._refuse_taken)
        if config is not None:
            take_common(self._config, config, self._engine)
            self._config = config
            for session, tunnel in self._tunnels.items():
                tunnel.configure(self._config_of(session))
                if self._roster is None:
                    tunnel.route(config.behind, config.forward)
            self._reporter.configure(config)
            self._changed.set()
        if self._roster:
            self._reload_clients(self._roster)

    def _config_of(self, session: int) -> ServerConfig:
        """The configuration as far as one client's tunnel goes."""
        entry = self._roster.clients.get(session) if self._roster else None
        return tunnel_config(self._config, entry) if entry else self._config

    def _reload_clients(self, roster: Roster) -> None:
        """Who is in the file as before notices nothing."""
        try:
            wanted = roster.read_again()
            refuse_taken(self._config, wanted.client)
        except RatbondError as error:
            log.error("the clients are as before", why=str(error))
            return
        if wanted.server.private_key.get_secret_value() != roster.private_key:
            log.error("the clients are as before", why="another private key needs a restart of the server")
            return
        before = roster.clients
        roster.take(wanted)
        self._engine.set_clients(roster.for_engine())
        self._follow(before, roster.clients)
        log.info("read the clients again", **self._whom())
        self._changed.set()

    def _follow(self, before: dict[int, ClientEntry], now: dict[int, ClientEntry]) -> None:
        """Lets go of the tunnels of those who have left or are called otherwise now."""
        for session, tunnel in list(self._tunnels.items()):
            entry = now.get(session)
            if entry is None or entry.revoked or addresses_of(entry) != addresses_of(before[session]):
                del self._tunnels[session]
                self._measuring.close(tunnel.device)
                tunnel.leave()
                self._network.device_gone(tunnel.device)
            else:
                tunnel.route(entry.behind, entry.forward)

    async def _keep_in_place(self) -> None:
        async for _ in self._watcher.snapshots():
            await self._network.reassert()
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _keep_converging(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            steps = [step for tunnel in self._tunnels.values() for step in tunnel.plan()]
            try:
                await self._network.reconcile(tuple(dict.fromkeys(steps)))
            except OSError as error:
                log.error("the kernel refused a change; trying again at the next one", why=error.strerror)

    def _on_event(self, event: Event) -> None:
        log_event(event, client=self._roster.name_of(event.session) if self._roster else "")
        self._owner.on_event(event)
        if event.kind == "session_up":
            try:
                tunnel = self._tunnel_of(event.session)
                tunnel.session_up(event.session, event.peer)
                if self._config.speedtest and self._config.sealed:
                    self._measuring.open(tunnel.device)
            except RatbondError as error:
                log.error("a client connected, but there is no tun for it", why=str(error))
        elif event.kind == "session_down" and event.session in self._tunnels:
            self._tunnels[event.session].session_down(event.session)
        elif event.kind == "mtu" and event.session in self._tunnels:
            self._tunnels[event.session].set_mtu(event.mtu)
        self._changed.set()

    def _tunnel_of(self, session: int) -> Tunnel[TunT]:
        """The session's tunnel. Raises RatbondError for a client that the roster has lost meanwhile."""
        if session not in self._tunnels:
            self._tunnels[session] = self._new_tunnel(session)
        return self._tunnels[session]

    def _new_tunnel(self, session: int) -> Tunnel[TunT]:
        if self._roster is None:
            tunnel = Tunnel(self._config, self._engine, self._network, self._make_tun)
            tunnel.route(self._config.behind, self._config.forward)
            return tunnel
        entry = self._roster.clients.get(session)
        if entry is None:
            raise RatbondError(f"no client has tunnel-id {session} any more")
        config = tunnel_config(self._config, entry)
        tunnel = Tunnel(config, self._engine, self._network, self._make_tun)
        tunnel.assign(addresses_of(entry))
        tunnel.route(entry.behind, entry.forward)
        return tunnel

    def _refuse_overlap(self, snapshot: Snapshot) -> None:
        if self._roster is None:
            refuse_overlap(self._config, snapshot)
            return
        for entry in self._roster.clients.values():
            inside: tuple[IPNetwork, ...] = tuple(address.network for address in addresses_of(entry))
            taken = overlap(inside, f"tun{entry.tunnel_id}", snapshot)
            if taken:
                raise RatbondError(
                    f"client {entry.name}: {taken}; give it another network in the clients file"
                )

    def _refuse_taken(self, config: ServerConfig) -> None:
        refuse_taken(config, self._roster.clients.values() if self._roster else ())

    def _whom(self) -> dict[str, int]:
        if self._roster is None:
            return {"tunnel_id": self._config.tunnel_id}
        return {"clients": sum(not entry.revoked for entry in self._roster.clients.values())}
