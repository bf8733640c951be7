"""Looks a few times a second at what the links have carried, and has them used accordingly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from ratbond.config import ClientConfig
from ratbond.engine import EngineApi
from ratbond.logs import get_logger
from ratbond.models import Preference, Tier
from ratbond.policy import choose
from ratbond.policy.model import LinkView, Policy
from ratbond.policy.quota import Meter, counters_of, state_file

if TYPE_CHECKING:
    from ratbond.engine import LinkSnapshot, SessionSnapshot

log = get_logger(__name__)

LOOK_EVERY_S: Final = 0.25


class Steering:
    """What is wanted of a client's links now: what its user says, what a policy makes of it, as far as their quotas go.

    ``changed`` is called when that is another thing than before. Raises RatbondError when the quotas' file or the policy
    cannot be used.
    """

    def __init__(self, config: ClientConfig, engine: EngineApi[Any], changed: Callable[[], None]) -> None:
        self._config = config
        self._engine = engine
        self._changed = changed
        self._needed = asyncio.Event()
        self._meter: Meter | None = None
        self._policy: Policy | None = None
        self._failed = ""  # what a policy last failed with
        self._decided: Mapping[str, Preference] = {}
        self._exhausted: frozenset[str] = frozenset()
        self._take(config, is_new_policy=True)

    def configure(self, config: ClientConfig) -> None:
        """Another configuration counts."""
        self._take(config, is_new_policy=config.policy != self._config.policy)

    def _take(self, config: ClientConfig, *, is_new_policy: bool) -> None:
        policy = (choose.make(config.policy) if config.policy else None) if is_new_policy else self._policy
        if config.quotas and self._meter is None:
            meter = Meter(state_file(config.tunnel_id), config.quotas)
            meter.load(_today())
            self._meter = meter
        self._config, self._policy = config, policy
        if self._meter:
            self._meter.configure(config.quotas, _today())
            self._exhausted = self._meter.exhausted()
        if policy is None:
            self._decided = {}
        if policy or self._meter:
            self._needed.set()

    @property
    def preferences(self) -> dict[str, Preference]:
        """By the names of the devices."""
        wanted = self._config.preferences | dict(self._decided)
        for name in self._exhausted:
            wanted[name] = replace(wanted.get(name, Preference()), tier=Tier.BACKUP)
        return wanted

    @property
    def stopped(self) -> frozenset[str]:
        """The devices that are not to be links until their quotas' next period."""
        quotas = self._config.quotas
        return frozenset(name for name in self._exhausted if quotas[name].then == "stop")

    def usage(self, name: str) -> tuple[int, int] | None:
        """What a link may carry, and has carried, in bytes; none without a quota."""
        quota = self._config.quotas.get(name)
        used_bytes = self._meter.used_bytes(name) if self._meter else None
        return (quota.limit_bytes, used_bytes) if quota and used_bytes is not None else None

    async def run(self) -> None:
        """Looks until it is cancelled."""
        await self._needed.wait()
        while True:
            self.look(self._engine.snapshot())
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self, sessions: list[SessionSnapshot]) -> None:
        """Counts what the links have carried, and asks the policy."""
        before = (self.preferences, self.stopped)
        links = [link for session in sessions for link in session["links"]]
        if self._meter:
            self._meter.count(counters_of(links), _today(), time.monotonic())
            self._exhausted = self._meter.exhausted()
        if self._policy:
            self._decided = self._ask(self._policy, [self._view(link) for link in links])
        if (self.preferences, self.stopped) != before:
            self._changed()

    def close(self) -> None:
        """Counts a last time, and keeps it."""
        if self._meter:
            self.look(self._engine.snapshot())
            self._meter.close()

    def _ask(self, policy: Policy, links: list[LinkView]) -> Mapping[str, Preference]:
        """A policy that fails changes nothing, and is told of once."""
        try:
            decided = policy.decide(links)
        except Exception as error:  # noqa: BLE001 (somebody else's code: it must not end the bond)
            failed = f"{type(error).__name__}: {error}"
            if failed != self._failed:
                log.error(
                    "the policy fails; the links are used as before", policy=self._config.policy, why=failed
                )
            self._failed = failed
            return self._decided
        self._failed = ""
        return decided

    def _view(self, link: LinkSnapshot) -> LinkView:
        limit_bytes, used_bytes = self.usage(link["name"]) or (None, 0)
        return LinkView(
            name=link["name"],
            up=link["state"] == "up",
            rtt_ms=link["rtt_ms"],
            loss=link["loss"],
            delivery_rate_bps=link["delivery_rate_bps"],
            wanted=self._config.preferences.get(link["name"], Preference()),
            quota_bytes=limit_bytes,
            used_bytes=used_bytes,
        )


def _today() -> date:
    """By the machine's own calendar, as the provider's bill is."""
    return datetime.now().astimezone().date()
