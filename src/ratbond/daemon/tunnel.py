"""One end's tun and all that the system must know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Generic, TypeVar

from ratbond.config import ClientConfig, Host, Role, TunnelConfig
from ratbond.engine import EngineApi, EngineError, TunApi
from ratbond.errors import RatbondError
from ratbond.forward import PortForward
from ratbond.links.model import Snapshot
from ratbond.logs import get_logger
from ratbond.models import Family, IPAddress, IPInterface, IPNetwork
from ratbond.netcfg.apply import Network
from ratbond.netcfg.kernel import ipv6_is_on
from ratbond.netcfg.plan import (
    EVERYTHING,
    Plan,
    PortForwards,
    Translation,
    Uplink,
    Wanted,
    plan,
    tunnel_addresses,
)

log = get_logger(__name__)

_LEAST_MTU: Final = 1280

TunT = TypeVar("TunT", bound=TunApi)


class Tunnel(Generic[TunT]):
    """Makes the tun, hands it to the engine, and keeps addresses and routes as the session's state wants them."""

    def __init__(
        self, config: TunnelConfig, engine: EngineApi[TunT], network: Network, make_tun: Callable[[str], TunT]
    ) -> None:
        self._config = config
        self._engine = engine
        self._network = network
        self._make_tun = make_tun
        self._networks: tuple[IPNetwork, ...] = ()
        self._forwards: tuple[PortForward, ...] = ()
        self._assigned: tuple[IPInterface, ...] = ()
        self._tun: TunT | None = None
        self._session: int | None = None
        self._peer = ""
        self._up = False
        self._mtu = 0  # the configuration's

    def configure(self, config: TunnelConfig) -> None:
        """Another configuration counts, as far as it may change; :meth:`converge` does the rest."""
        self._config = config

    @property
    def up(self) -> bool:
        """Whether a session is up."""
        return self._up

    @property
    def device(self) -> str:
        """The tun's name, also before it exists."""
        return self._tun.name if self._tun else self._config.device

    def open(self) -> None:
        """Makes the tun. Raises RatbondError when its name is taken or there is no permission."""
        if self._tun is None:
            try:
                self._tun = self._make_tun(self._config.device)
            except EngineError as error:
                raise RatbondError(str(error)) from None

    def session_up(self, session: int, peer: str) -> None:
        """A peer has been met: the engine gets the tun. Addresses and routes come with :meth:`converge`."""
        self.open()
        if self._tun is None:
            return
        if self._session is not None and self._session != session:
            self._engine.detach_tun(self._session)
            self._session = None
        if self._session is None:
            self._engine.attach_tun(session, self._tun)
        self._session, self._peer, self._up = session, peer, True

    @property
    def own_networks(self) -> tuple[IPNetwork, ...]:
        """The networks inside the tunnel that both ends are in."""
        if self._assigned:
            return tuple(interface.network for interface in self._assigned)
        return (self._config.tunnel_ip, self._config.network6)

    @property
    def peers(self) -> tuple[IPAddress, ...]:
        """The peer's addresses: the other host of each of the tunnel's networks. None before it has been met."""
        own = self._own_addresses()
        return tuple(next(host for host in (i.network[1], i.network[2]) if host != i.ip) for i in own)

    def _own_addresses(self) -> tuple[IPInterface, ...]:
        if self._session is None:
            return ()
        return self._assigned or configured_addresses(self._config, self._peer)

    def assign(self, addresses: tuple[IPInterface, ...]) -> None:
        """The server has said what this end is called; in place of what is configured."""
        self._assigned = addresses

    def route(self, networks: tuple[IPNetwork, ...], forwards: tuple[PortForward, ...] = ()) -> None:
        """These networks are behind the peer, and these ports of this host lead into them."""
        self._networks, self._forwards = networks, forwards

    def set_mtu(self, mtu: int) -> None:
        """So long may packets be that every link carries them.

        A device below 1,280 bytes loses its IPv6 addresses (RFC 8200, section 5); there the engine refuses what is longer.
        """
        self._mtu = max(mtu, _LEAST_MTU)

    def session_down(self, session: int) -> None:
        """The last link is dead. The tun and its addresses stay, so that connections over it can wait."""
        if session == self._session:
            self._up = False

    async def converge(self, uplinks: tuple[Uplink, ...] = ()) -> None:
        """Brings addresses, routes, rules and sysctls to what is wanted now. What the kernel refuses is logged."""
        try:
            await self._network.reconcile(self.plan(uplinks))
        except OSError as error:
            log.error("the kernel refused a change; trying again at the next one", why=error.strerror)

    def plan(self, uplinks: tuple[Uplink, ...] = ()) -> Plan:
        """What this tunnel wants of the system now."""
        wanted = self._wanted(uplinks)
        return plan(replace(wanted, mtu=self._mtu or wanted.mtu))

    def leave(self) -> None:
        """The client is not welcome any more: its tun goes at once, while the engine works on."""
        if self._session is not None:
            self._engine.detach_tun(self._session)
            self._session = None
        self.close()

    def close(self) -> None:
        """Lets the tun go; it is gone when the engine does not use it either."""
        if self._tun:
            self._tun.close()
            self._tun = None

    def _wanted(self, uplinks: tuple[Uplink, ...]) -> Wanted:
        return wanted(
            self._config,
            self.device,
            uplinks,
            addresses=self._own_addresses(),
            networks=self._networks if self._session is not None else (),
            forwards=self._forwards,
            up=self._up,
        )


def wanted(
    config: TunnelConfig,
    device: str,
    uplinks: tuple[Uplink, ...] = (),
    *,
    addresses: tuple[IPInterface, ...] = (),
    networks: tuple[IPNetwork, ...] = (),
    forwards: tuple[PortForward, ...] = (),
    up: bool = False,
) -> Wanted:
    """What a tunnel wants of the system: with addresses once a peer has been met, with routes while the bond is up."""
    return Wanted(
        tunnel_id=config.tunnel_id,
        tun=device,
        mtu=config.tun_mtu,
        addresses=addresses,
        networks=networks,
        through=through_tunnel(config) if up else (),
        fenced=through_tunnel(config) if _is_fenced(config) else (),
        server=config.connect_addr.literal
        if isinstance(config, ClientConfig) and _is_fenced(config)
        else None,
        uplinks=uplinks,
        families=(Family.V4, Family.V6) if ipv6_is_on() else (Family.V4,),
        translation=_translation(config, device, addresses),
        forwards=PortForwards(f"{_owner(config)}-forwards", device, forwards) if forwards else None,
    )


def _is_fenced(config: TunnelConfig) -> bool:
    return isinstance(config, ClientConfig) and config.no_leak


def configured_addresses(config: TunnelConfig, peer: str) -> tuple[IPInterface, ...]:
    """This end's addresses where no server assigns them."""
    return tunnel_addresses(config.tunnel_ip, config.network6, first=takes_first_host(config, peer))


def _translation(config: TunnelConfig, device: str, addresses: tuple[IPInterface, ...]) -> Translation | None:
    routed = config.lan if isinstance(config, ClientConfig) else ()
    if not config.nat and not routed:
        return None
    return Translation(
        _owner(config),
        device,
        towards_tunnel=config.role is Role.CLIENT,
        masquerade=config.nat,
        routed=routed,
        inside=tuple(interface.network for interface in addresses) if routed else (),
    )


def _owner(config: TunnelConfig) -> str:
    return f"{config.role.value}-{config.tunnel_id}"


def overlap(networks: tuple[IPNetwork, ...], device: str, snapshot: Snapshot) -> str:
    """Says which address of another device is in one of the networks; nothing when none is."""
    for address in snapshot.addresses:
        other = snapshot.device_at(address.index)
        for network in networks if other is not None and other.name != device else ():
            if other is not None and address.address in network:
                return f"{network} is in use: {other.name} has {address.address}"
    return ""


def through_tunnel(config: TunnelConfig) -> tuple[IPNetwork, ...]:
    """The networks that a client sends through the tunnel: those it is told, or everything, or nothing."""
    if not isinstance(config, ClientConfig):
        return ()
    return config.route or (() if config.no_default_route else EVERYTHING)


def takes_first_host(config: TunnelConfig, peer: str) -> bool:
    """Which host this end is: the server the first, as documented; towards a stock peer the reverse, as stock does it."""
    if config.address is not Host.AUTO:
        return config.address is Host.FIRST
    return (config.role is Role.SERVER) != (peer == "stock")


def refuse_overlap(config: TunnelConfig, snapshot: Snapshot) -> None:
    """Raises RatbondError when the tunnel's addresses are in use on this machine already."""
    for network, flag in ((config.tunnel_ip, "--tunnel-ip"), (config.network6, "--tunnel-ip6")):
        taken = overlap((network,), config.device, snapshot)
        if taken:
            raise RatbondError(f"{taken}; give another {flag} on both ends")
