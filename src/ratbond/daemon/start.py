"""Puts a daemon together and runs it to its end."""

from __future__ import annotations

import asyncio

from ratbond.config import ClientConfig, Role, ServerConfig, TunnelConfig
from ratbond.daemon.client import Client
from ratbond.daemon.reporting import insecurities
from ratbond.daemon.server import Server
from ratbond.engine import Engine, EngineError, Tun
from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.netcfg.apply import Network
from ratbond.netcfg.journal import Journal, state_directory
from ratbond.secret import link_key

log = get_logger(__name__)


def run(config: ClientConfig | ServerConfig) -> None:
    """Runs until a signal. Raises RatbondError."""
    asyncio.run(_run(config))


async def _run(config: ClientConfig | ServerConfig) -> None:
    journal = Journal(state_directory(), f"{config.role.value}-{config.tunnel_id}")
    network = Network(journal)
    try:
        engine = make_engine(config)
    except EngineError as error:
        await network.recover()
        await network.undo()
        raise RatbondError(str(error)) from None
    for warning in insecurities(config):
        log.warning(warning)
    if config.sealed:
        log.info("the links are sealed: nobody without the secret can read, join or disturb them")
    daemon = (
        Client(config, engine, network, Tun)
        if config.role is Role.CLIENT
        else Server(config, engine, network, Tun)
    )
    await daemon.run()


def make_engine(config: TunnelConfig) -> Engine:
    """The engine for a configuration. Raises EngineError."""
    listen = config.listen_addr if isinstance(config, ServerConfig) else None
    return Engine(
        role=config.role.value,
        protocol=config.link_protocol,
        tunnel_id=config.tunnel_id,
        scheduler=config.scheduler,
        mux=config.mux,
        secret=_engine_secret(config),
        cipher=config.cipher,
        listen=(listen.host, listen.port) if listen else None,
    )


def _engine_secret(config: TunnelConfig) -> str | None:
    """The secret as the protocol takes it: a key for sealed links, a passphrase for the stock program's cipher."""
    secret = config.passphrase()
    return link_key(secret) if config.sealed and secret else secret
