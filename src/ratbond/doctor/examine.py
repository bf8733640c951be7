"""Gathers the facts of one end and hands them to the checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ratbond.clients import file as clients_file
from ratbond.config import ClientConfig, ServerConfig
from ratbond.daemon.endpoint import Remote, ResolutionError, resolve
from ratbond.daemon.tunnel import overlap
from ratbond.daemon.ways import link_policy, uplink_over
from ratbond.doctor import ask, checks, look, uplink_checks
from ratbond.doctor.model import Answers, Finding, Listening, Machine, Name, Uplinks
from ratbond.errors import RatbondError
from ratbond.links.choice import choose_links, why_not_yet
from ratbond.links.model import Snapshot, WanLink
from ratbond.links.netlink import read_snapshot
from ratbond.models import Family
from ratbond.netcfg.apply import Network
from ratbond.netcfg.journal import Journal, state_directory
from ratbond.netcfg.plan import Wanted, plan
from ratbond.status.client import fetch


async def examine(config: ClientConfig | ServerConfig) -> list[Finding]:
    """All findings, in the order in which a packet would meet what they are about."""
    snapshot = await read_snapshot()
    machine = await _machine(config, snapshot)
    findings = list(checks.machine(machine))
    if isinstance(config, ClientConfig):
        findings += uplink_checks.uplinks(await _uplinks(config, snapshot, machine), config.link_protocol)
    else:
        findings += checks.listening(_listening(config, snapshot, running=machine.running), machine.firewall)
    return findings


async def _machine(config: ClientConfig | ServerConfig, snapshot: Snapshot) -> Machine:
    ends = look.ends()
    running = ends.get(config.end_name, False)
    many = isinstance(config, ServerConfig) and config.clients_file is not None
    device = "" if many else config.device
    taken = bool(device) and not running and snapshot.device_named(device) is not None
    return Machine(
        role=config.role.value, protocol=config.link_protocol, nat=config.nat, running=running,
        rights=look.rights(), tun=look.tun(taken=taken), udp=look.udp(), clock=look.clock(),
        firewall=await look.firewall(), device=device, taken_networks=_taken(config, snapshot),
        leftovers=await look.leftovers(ends), files=look.secret_files(config),
    )  # fmt: skip


def _taken(config: ClientConfig | ServerConfig, snapshot: Snapshot) -> tuple[str, ...]:
    """Which networks of the tunnel are in use here; a named client's are the server's to say."""
    if isinstance(config, ServerConfig) and config.clients_file:
        of_clients = [
            overlap(entry.networks, f"tun{entry.tunnel_id}", snapshot)
            for entry in clients_file.read(config.clients_file).client
        ]
        return tuple(words for words in of_clients if words)
    if config.has_key_pair:
        return ()
    words = (overlap((network,), config.device, snapshot) for network in (config.tunnel_ip, config.network6))
    return tuple(text for text in words if text)


async def _uplinks(config: ClientConfig, snapshot: Snapshot, machine: Machine) -> Uplinks:
    name, remotes = await _name(config)
    policy = link_policy(
        config, remotes, device=config.device, tunnel_networks=(config.tunnel_ip, config.network6)
    )
    links = choose_links(snapshot, policy)
    present = {link.device for link in links}
    answers, not_asked = await _answers(config, links, remotes, machine)
    return Uplinks(
        name, look.wans(links),
        tuple((s.device, why_not_yet(snapshot, policy, s)) for s in config.named_wans if s.device not in present),
        look.routeless(snapshot, policy.families, links, config.device), answers, not_asked,
    )  # fmt: skip


async def _name(config: ClientConfig) -> tuple[Name, dict[Family, Remote]]:
    server = config.connect_addr
    began = time.monotonic()
    try:
        remotes = await resolve(server)
    except ResolutionError as error:
        return Name(server.host, server.port, error=str(error)), {}
    took_s = time.monotonic() - began
    families = tuple(family.value for family in remotes)
    return Name(
        server.host, server.port, families, took_s=took_s, literal=server.literal is not None
    ), remotes


async def _answers(
    config: ClientConfig, links: list[WanLink], remotes: dict[Family, Remote], machine: Machine
) -> tuple[tuple[Answers, ...], str]:
    """What comes back over each link; or why nobody was asked."""
    if not remotes:
        return (), "nobody knows where it is"
    if not (machine.rights.net_admin and machine.rights.net_raw):
        return (), "sockets cannot be bound to links without the rights above"
    if machine.running and not config.sealed:
        return _told(config, links)
    async with _ways(config, links, remotes, running=machine.running):
        if config.sealed:
            knock = ask.knock_of(config)
            asked = (asyncio.to_thread(ask.by_request, link, remotes[link.family], knock) for link in links)
            return tuple(await asyncio.gather(*asked)), ""
        joined = [
            await asyncio.to_thread(ask.by_joining, config, link, remotes[link.family]) for link in links
        ]
        return tuple(joined), ""


def _told(config: ClientConfig, links: list[WanLink]) -> tuple[tuple[Answers, ...], str]:
    """What the client that runs says of its links: another one would take its place at a server of one client."""
    why = "a client runs here, and a second one would take its place"
    if config.http_listen_addr is None:
        return (), f"{why}; it serves no status"
    try:
        status = fetch(config.http_listen_addr)
    except RatbondError as error:
        return (), f"{why}; {error}"
    states = {link["name"]: link["state"] for session in status["sessions"] for link in session["links"]}
    return tuple(
        Answers(link.device, 0, state=states.get(link.device, "not in the bond")) for link in links
    ), ""


@asynccontextmanager
async def _ways(
    config: ClientConfig, links: list[WanLink], remotes: dict[Family, Remote], *, running: bool
) -> AsyncIterator[None]:
    """What a client would set up for its links to reach the server, and takes back: loose rp_filter, routes over gateways."""
    if running:
        yield
        return
    network = Network(Journal(state_directory(), f"doctor-{config.tunnel_id}"))
    try:
        await network.recover()
        ways = tuple([await uplink_over(link, remotes[link.family]) for link in links])
        await network.reconcile(plan(Wanted(config.tunnel_id, config.device, config.tun_mtu, uplinks=ways)))
        yield
    finally:
        await network.undo()


def _listening(config: ServerConfig, snapshot: Snapshot, *, running: bool) -> Listening:
    address = config.listen_addr
    clients = None
    if config.clients_file:
        clients = sum(not entry.revoked for entry in clients_file.read(config.clients_file).client)
    return Listening(
        address.host, address.port, None if running else look.binding_error(address.host, address.port), clients,
        public=any(a.address.is_global for a in snapshot.addresses),
    )  # fmt: skip
