"""The client: it watches the network, keeps the engine's links equal to the WANs there are, and routes into the tunnel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_interface
from typing import Any, Final, Generic, TypeVar

from ratbond.config import ClientConfig
from ratbond.daemon.endpoint import Remote, ResolutionError, resolve
from ratbond.daemon.reload import Reloader, take_common
from ratbond.daemon.reporting import Reporter
from ratbond.daemon.runtime import EventPump, Owner, Process, all_or_none, log_event, told_when_slow
from ratbond.daemon.steering import Steering
from ratbond.daemon.tunnel import Tunnel, overlap, refuse_overlap
from ratbond.daemon.uplinks import Uplinks
from ratbond.daemon.ways import link_policy, uplink_over
from ratbond.engine import EngineApi, Event, TunApi
from ratbond.errors import RatbondError
from ratbond.links.choice import LinkPolicy, choose_links, why_not, why_not_yet
from ratbond.links.model import Snapshot, WanLink
from ratbond.links.watch import Watcher
from ratbond.logs import get_logger
from ratbond.models import Family, IPInterface
from ratbond.netcfg.apply import Network
from ratbond.netcfg.plan import Uplink
from ratbond.speedtest.control import Control
from ratbond.status.model import Status

log = get_logger(__name__)

_ASK_AGAIN_S: Final = 5.0  # the name service, while nothing works
_PATIENCE_S: Final = 3.0  # with a server or a name service that does not answer, before it is said
_TRY_AGAIN_S: Final = 1.0  # what the kernel did not answer

TunT = TypeVar("TunT", bound=TunApi)


class Client(Generic[TunT]):
    """One client. Everything converges: whatever changes only wakes :meth:`_keep_converging`."""

    def __init__(
        self,
        config: ClientConfig,
        engine: EngineApi[TunT],
        network: Network,
        make_tun: Callable[[str], TunT],
        reloader: Reloader[ClientConfig],
        owner: Owner | None = None,
    ) -> None:
        self._config = config
        self._reloader = reloader
        self._engine = engine
        self._network = network
        self._tunnel = Tunnel(config, engine, network, make_tun)
        self._loop = asyncio.get_running_loop()
        self._uplinks = Uplinks(engine, self._loop.time)
        self._steering = Steering(config, engine, self._steer)
        self._uplinks.prefer(self._steering.preferences)
        self._reporter = Reporter(config, engine, usage=self._steering.usage)
        self._owner = owner or Process()
        self._control = Control(config.end_name, self._state, self._uplinks.pin)
        self._changed = asyncio.Event()
        self._watcher = Watcher()
        self._snapshot: Snapshot | None = None
        self._remotes: dict[Family, Remote] = {}
        self._no_remote = ""  # why there is none; empty: the name service has not answered yet
        self._ways: dict[int, Uplink] = {}  # by device index
        self._waiting_for = ""

    async def run(self) -> None:
        """Runs until its owner ends it. Raises RatbondError when the system is not as it must be to begin with."""
        pump = EventPump(self._engine, self._on_event)

        async def cleanup() -> None:
            self._owner.stopping()
            pump.close()
            self._watcher.close()
            await self._network.undo()
            self._steering.close()
            self._engine.close()
            self._tunnel.close()

        async def start() -> None:
            log.info("connecting", server=str(self._config.connect_addr), tunnel_id=self._config.tunnel_id)
            async with told_when_slow("undoing what a former run left behind"):
                await self._network.recover(keep=self._tunnel.plan())
                await self._tunnel.converge()
            async with told_when_slow("reading the network's state"):
                self._snapshot = await self._watcher.read()
            if self._config.invitation is None:
                refuse_overlap(self._config, self._snapshot)
            self._say_what_is_not_there_yet(self._snapshot)
            self._tunnel.open()
            self._owner.ready()
            told = partial(self._owner.keep_told, self._reporter.status)
            await all_or_none(
                self._watch,
                self._keep_resolving,
                self._keep_converging,
                self._steering.run,
                self._reporter.run,
                self._control.run,
                told,
            )

        await self._owner.run(start, cleanup=cleanup, reload=self._reload)

    def status(self) -> Status:
        """The status at this moment."""
        return self._reporter.status()

    def _state(self) -> dict[str, Any]:
        """What a speedtest asks for."""
        return {
            "status": self.status().to_json(),
            "sealed": self._config.sealed,
            "tun": self._tunnel.device,
            "server": [str(address) for address in self._tunnel.peers],
        }

    def _reload(self) -> None:
        """What a changed configuration changes at once: links, routes, translation, how packets are spread, what is logged."""
        config = self._reloader.read()
        if config is not None:
            take_common(self._config, config, self._engine)
            self._config = config
            try:
                self._steering.configure(config)
            except RatbondError as error:
                log.error("quotas and policy are as before", why=str(error))
            self._uplinks.prefer(self._steering.preferences)
            self._tunnel.configure(config)
            self._reporter.configure(config)
            self._changed.set()

    async def _watch(self) -> None:
        async for snapshot in self._watcher.snapshots():
            if snapshot == self._snapshot:
                await self._network.reassert()  # nothing new: the regular look whether all is still in place
            self._snapshot = snapshot
            self._changed.set()

    async def _keep_resolving(self) -> None:
        """Asks where the server is until it answers, and again while no link is up."""
        while True:
            if not self._tunnel.up:
                try:
                    remotes = await resolve(self._config.connect_addr)
                    self._no_remote = ""
                except ResolutionError as error:
                    remotes = self._remotes  # an old answer is better than none
                    self._no_remote = str(error)
                if remotes != self._remotes or self._no_remote:
                    self._remotes = remotes
                    self._changed.set()
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _keep_converging(self) -> None:
        while True:
            await self._wait_for_change()
            if self._snapshot is None:
                continue
            try:
                await self._converge(self._snapshot)
            except OSError as error:
                log.error(
                    "the kernel does not say what is wanted; trying again", why=error.strerror or "no answer"
                )
                self._loop.call_later(_TRY_AGAIN_S, self._changed.set)

    async def _wait_for_change(self) -> None:
        retry_at = self._uplinks.next_retry_at()
        try:
            async with asyncio.timeout_at(retry_at):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _converge(self, snapshot: Snapshot) -> None:
        """Brings system and engine to the present links. What a new link needs of the system comes first."""
        policy = self._policy()
        stopped = self._steering.stopped
        links = choose_links(snapshot, policy) if self._remotes else []
        links = [link for link in links if link.device not in stopped]
        self._ways = {link.index: self._ways[link.index] for link in links if link.index in self._ways}
        await self._tunnel.converge(tuple([await self._uplink_of(link) for link in links]))
        self._uplinks.reconcile(links, self._remotes, self._why_gone(snapshot, policy))
        self._say_what_is_missing()

    def _why_gone(self, snapshot: Snapshot, policy: LinkPolicy) -> Callable[[int], str]:
        def why(index: int) -> str:
            device = snapshot.device_at(index)
            is_stopped = device is not None and device.name in self._steering.stopped
            return "its quota is used up" if is_stopped else why_not(snapshot, policy, index)

        return why

    def _steer(self) -> None:
        """What is wanted of the links has changed."""
        self._uplinks.prefer(self._steering.preferences)
        self._changed.set()

    def _policy(self) -> LinkPolicy:
        return link_policy(
            self._config,
            self._remotes,
            device=self._tunnel.device,
            tunnel_networks=self._tunnel.own_networks,
            keep_sources=self._uplinks.sources(),
        )

    async def _uplink_of(self, link: WanLink) -> Uplink:
        """The way over a link holds as long as the link: once it is there, the kernel finds it, by our own doing."""
        remote = self._remotes[link.family]
        known = self._ways.get(link.index)
        if known is None or (known.source, known.server) != (link.source, ip_address(remote[0])):
            known = await uplink_over(link, remote)
            self._ways[link.index] = known
        return known

    def _on_event(self, event: Event) -> None:
        log_event(event)
        self._owner.on_event(event)
        self._uplinks.on_event(event)
        if event.kind == "assigned":
            self._assign(tuple(ip_interface(text) for text in event.addresses))
        elif event.kind == "session_up":
            self._tunnel.session_up(event.session, event.peer)
        elif event.kind == "mtu":
            self._tunnel.set_mtu(event.mtu)
        elif event.kind == "session_down":
            self._tunnel.session_down(event.session)
        self._changed.set()

    def _assign(self, addresses: tuple[IPInterface, ...]) -> None:
        networks = tuple(interface.network for interface in addresses)
        taken = overlap(networks, self._tunnel.device, self._snapshot) if self._snapshot else ""
        if taken:
            log.error(
                "what the server assigns is in use here; let its operator give this client others", why=taken
            )
        else:
            self._tunnel.assign(addresses)

    def _say_what_is_missing(self) -> None:
        """Logs, once for each cause, what the bond waits for."""
        if self._tunnel.up:
            missing = ""
        elif not self._remotes:
            missing = self._no_remote or f"the name service to say where {self._config.connect_addr.host} is"
        elif not len(self._uplinks):
            families = " or ".join(f"IPv{family}" for family in self._remotes)
            missing = (
                f"no WAN link: no interface that is up has an {families} default route (--wan names one)"
            )
        else:
            missing = f"no answer from {self._config.connect_addr} yet{_stock_hint(self._config)}"
        if missing and missing != self._waiting_for:
            is_asked = len(self._uplinks) or missing.startswith("the name service")
            self._loop.call_later(_PATIENCE_S if is_asked else 0, self._say_if_still, missing)
        self._waiting_for = missing

    def _say_if_still(self, missing: str) -> None:
        if self._waiting_for == missing:
            log.warning("waiting", what=missing)

    def _say_what_is_not_there_yet(self, snapshot: Snapshot) -> None:
        """Logs once which interfaces that the user named are not there: a modem may be plugged in later."""
        policy = self._policy()
        present = {link.device for link in choose_links(snapshot, policy)}
        for spec in self._config.named_wans:
            if spec.device not in present:
                log.warning(
                    "waiting for an interface", link=spec.device, why=why_not_yet(snapshot, policy, spec)
                )
        for name in self._config.no_wan:
            if snapshot.device_named(name) is None:
                log.warning("there is no such interface to leave out yet", device=name)


def _stock_hint(config: ClientConfig) -> str:
    """What to check when nobody answers."""
    if config.invitation:
        return "; is it running, and does `ratbond client list` there still have this client?"
    if config.sealed:
        return (
            "; is it running, with the same secret and --tunnel-id, and without --aes and --protocol kcp?"
            " (a stock ratbond needs --aes and its secret here, or no secret at all)"
        )
    if config.aes:
        return "; is it running, with the same --tunnel-id and --secret, and with --aes?"
    return (
        "; is it running, with the same --tunnel-id, without a secret and without --aes?"
        " (a server with --aes, as a stock one may be, needs --aes and its secret here;"
        " a port serves one client, the newest: is there another?)"
    )
