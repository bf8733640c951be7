"""Puts a daemon together and runs it to its end."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

from ratbond.config import ClientConfig, ServerConfig, TunnelConfig
from ratbond.daemon.client import Client
from ratbond.daemon.reload import Reloader
from ratbond.daemon.reporting import insecurities
from ratbond.daemon.roster import Roster
from ratbond.daemon.runtime import Owner
from ratbond.daemon.server import Server
from ratbond.engine import Engine, EngineError, Tun
from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.netcfg.apply import Network
from ratbond.netcfg.journal import Journal, state_directory
from ratbond.netcfg.leftovers import sweep
from ratbond.secret import link_key

log = get_logger(__name__)

_MOST_WORKERS_UNASKED = 8  # each costs 0.1 MB, and its buffers once it is busy


def run(
    config: ClientConfig | ServerConfig, read: Callable[[], ClientConfig | ServerConfig] | None = None
) -> None:
    """Runs until a signal; ``read`` gives the configuration anew on SIGHUP. Raises RatbondError."""

    async def assembled_and_run() -> None:
        daemon = await assemble(config, Reloader(config, read or (lambda: config)))
        await daemon.run()

    asyncio.run(assembled_and_run())


async def assemble(
    config: ClientConfig | ServerConfig, reloader: Reloader[Any], owner: Owner | None = None
) -> Client[Tun] | Server[Tun]:
    """The end for a configuration, ready to run; it holds the right to be this end already. Raises RatbondError."""
    roster = Roster(config.clients_file) if isinstance(config, ServerConfig) and config.clients_file else None
    needs = _needing_nft(config, roster)
    if needs and shutil.which("nft") is None:
        raise RatbondError(f"{needs} needs nft, which is not installed (Debian: apt-get install nftables)")
    network = Network(Journal(state_directory(), config.end_name))
    _sweep_leftovers()
    try:
        engine = make_engine(config, roster)
    except EngineError as error:
        await network.recover()
        await network.undo()
        raise RatbondError(str(error)) from None
    for warning in insecurities(config):
        log.warning(warning)
    if config.sealed:
        log.info(
            "the links are sealed: nobody else can read, join or disturb them",
            by="keys of each client" if config.has_key_pair else "the secret",
        )
    make_tun = partial(Tun, offload=not config.no_offload)
    if isinstance(config, ClientConfig):
        return Client(config, engine, network, make_tun, reloader, owner)
    return Server(config, engine, network, make_tun, reloader, roster, owner)


def _needing_nft(config: ClientConfig | ServerConfig, roster: Roster | None) -> str:
    """The setting that needs it; empty if none does."""
    if config.nat:
        return "--nat"
    if isinstance(config, ClientConfig):
        return "--lan" if config.lan else ""
    forwarding = config.forward or (roster and any(entry.forward for entry in roster.clients.values()))
    return "a port forward" if forwarding else ""


def _sweep_leftovers() -> None:
    """Removes what ends that were killed have left of namespaces that are gone. That it fails is no reason not to run."""
    try:
        swept = sweep(state_directory().parent)
    except OSError as error:
        log.debug("could not look for old notes", why=error.strerror)
    else:
        log.debug("swept away the notes of namespaces that are gone", directories=swept)


def make_engine(config: TunnelConfig, roster: Roster | None = None) -> Engine:
    """The engine for a configuration. Raises EngineError."""
    invitation = config.invitation if isinstance(config, ClientConfig) else None
    private_key = roster.private_key if roster else invitation.private_key if invitation else None
    listen = config.listen_addr if isinstance(config, ServerConfig) else None
    return Engine(
        role=config.role.value,
        protocol=config.link_protocol,
        tunnel_id=config.tunnel_id,
        scheduler=config.scheduler,
        mux=config.mux,
        secret=_engine_secret(config),
        cipher=config.cipher,
        private_key=private_key,
        server_key=invitation.server_key if invitation else None,
        psk=invitation.psk if invitation else None,
        workers=_workers(config) if roster else 1,
        listen=(listen.host, listen.port) if listen else None,
        offload=not config.no_offload,
        trace=config.trace,
    )


def _workers(config: TunnelConfig) -> int:
    """How many threads share a server's clients: as many as were asked for, or one for each processor that it may use."""
    asked = config.workers if isinstance(config, ServerConfig) else None
    return asked or min(_MOST_WORKERS_UNASKED, len(os.sched_getaffinity(0)))


def _engine_secret(config: TunnelConfig) -> str | None:
    """The secret as the protocol takes it: a key for sealed links, a passphrase for the stock program's cipher."""
    secret = config.passphrase()
    return link_key(secret) if config.sealed and secret else secret
