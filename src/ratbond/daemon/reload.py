"""Reads the configuration again on SIGHUP: what may change at once does, and what needs a restart is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ratbond import logs
from ratbond.config import Setting, TunnelConfig
from ratbond.engine import EngineApi
from ratbond.errors import RatbondError
from ratbond.logs import get_logger

log = get_logger(__name__)

ConfigT = TypeVar("ConfigT", bound=TunnelConfig)


class Reloader(Generic[ConfigT]):
    """The configuration that counts now, and how to read it anew."""

    def __init__(self, config: ConfigT, read: Callable[[], ConfigT]) -> None:
        self._config = config
        self._read = read

    def read(self, check: Callable[[ConfigT], None] | None = None) -> ConfigT | None:
        """The configuration that counts from now on; None when nothing changes. What is wrong with it is logged.

        ``check`` raises RatbondError for what this machine cannot have.
        """
        try:
            wanted = self._read()
            if check:
                check(wanted)
        except RatbondError as error:
            log.error("the configuration is as before", why=str(error))
            return None
        changed = differences(self._config, wanted)
        live = {name for name in changed if is_live(self._config, name)}
        waiting = changed - live
        if waiting:
            log.warning("these settings change with a restart only", settings=" ".join(sorted(waiting)))
        if not live:
            log.info("the configuration is as before")
            return None
        log.info("the configuration has changed", settings=" ".join(sorted(live)))
        self._config = self._config.model_copy(update={name: getattr(wanted, name) for name in live})
        return self._config


def differences(before: TunnelConfig, now: TunnelConfig) -> set[str]:
    """The names of the settings whose values differ. A secret is compared, too, and never shown."""
    return {name for name in type(before).model_fields if getattr(before, name) != getattr(now, name)}


def is_live(config: TunnelConfig, name: str) -> bool:
    """Whether a running end can take another value."""
    metadata = type(config).model_fields[name].metadata
    return any(isinstance(item, Setting) and item.live for item in metadata)


def take_common(before: TunnelConfig, now: TunnelConfig, engine: EngineApi[Any]) -> None:
    """What is the same on both ends: the scheduler and the log's level."""
    if now.scheduler != before.scheduler:
        engine.set_scheduler(now.scheduler)
    if now.debug != before.debug:
        logs.set_level(debug=now.debug, trace=now.trace)
