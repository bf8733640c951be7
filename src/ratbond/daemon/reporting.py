"""From the engine's counters to the status and to the line of statistics in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ratbond import __version__
from ratbond.config import ClientConfig, ServerConfig, TunnelConfig
from ratbond.daemon.roster import Roster
from ratbond.daemon.runtime import Job, all_or_none
from ratbond.engine import EngineApi
from ratbond.logs import get_logger
from ratbond.status import http
from ratbond.status.access import Access
from ratbond.status.feed import Feed, FeedHandler
from ratbond.status.model import LinkStatus, Rates, SessionStatus, Status
from ratbond.status.text import bits

if TYPE_CHECKING:
    from ratbond.engine import LinkSnapshot, SessionSnapshot

log = get_logger(__name__)

_SAMPLE_S: Final = 1.0
_SAME_NAME: Final = frozenset(f.name for f in fields(LinkStatus)) - {
    "source",
    "uptime_s",
    "hello_age_s",
    "rates",
    "quota_bytes",
    "quota_used_bytes",
}

Usage = Callable[[str], tuple[int, int] | None]
"""What a link of a name may carry, and has carried, in bytes; none without a quota."""
Counters = tuple[int, int, int, int]  # tx bytes, rx bytes, tx packets, rx packets


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at a moment, by (session, link, conv); a session's own has link and conv -1."""

    at_s: float
    counters: dict[tuple[int, int, int], Counters]


class Reporter:
    """Samples the counters, serves the status, and writes the line of statistics."""

    def __init__(
        self,
        config: TunnelConfig,
        engine: EngineApi[Any],
        roster: Roster | None = None,
        usage: Usage = lambda _name: None,
    ) -> None:
        self._config = config
        self._engine = engine
        self._roster = roster
        self._usage = usage
        self._started_s = time.monotonic()
        self._previous = Sample(self._started_s, {})
        self._latest = self._previous
        self._feed = Feed()
        self._configured = asyncio.Event()

    def configure(self, config: TunnelConfig) -> None:
        """Another configuration counts, as far as it may change."""
        self._config = config
        self._configured.set()

    async def run(self) -> None:
        """Serves and samples until it is cancelled. Raises RatbondError when it may not listen where it was told."""
        address = self._config.http_listen_addr
        listener = http.open_socket(address, is_default=self._config.http_is_default) if address else None
        jobs: list[Job] = [self._sample]
        if listener:
            access = Access(self._config.http_token())
            jobs.append(partial(http.serve, listener, self.status, self._feed, access))
        jobs.append(self._log_statistics)
        with FeedHandler(self._feed).attached() if listener else nullcontext():
            await all_or_none(*jobs)

    def status(self) -> Status:
        """The status at this moment."""
        snapshot = self._engine.snapshot()
        now = sample_of(snapshot, time.monotonic())
        base = self._previous if now.at_s - self._latest.at_s < _SAMPLE_S / 2 else self._latest
        return self._status(snapshot, base, now)

    def _status(self, snapshot: list[SessionSnapshot], base: Sample, now: Sample) -> Status:
        config = self._config
        return Status(
            version=__version__,
            role=config.role.value,
            tunnel_id=config.tunnel_id,
            protocol=config.link_protocol,
            encryption=encryption(config),
            scheduler=config.scheduler,
            mux=config.mux,
            address=_address(config),
            uptime_s=now.at_s - self._started_s,
            sessions=tuple(
                session_status(s, base, now, self._client_of(s["id"]), self._usage) for s in snapshot
            ),
            clients=self._roster.status(snapshot) if self._roster else (),
            warnings=insecurities(config),
        )

    def _client_of(self, session: int) -> str:
        return self._roster.name_of(session) if self._roster else ""

    async def _sample(self) -> None:
        while True:
            snapshot = self._engine.snapshot()
            now = sample_of(snapshot, time.monotonic())
            self._feed.add(self._status(snapshot, self._latest, now), time.time())
            self._previous, self._latest = self._latest, now
            await asyncio.sleep(_SAMPLE_S)

    async def _log_statistics(self) -> None:
        before = sample_of(self._engine.snapshot(), time.monotonic())
        while True:
            if not await self._interval_passes():
                continue
            snapshot = self._engine.snapshot()
            now = sample_of(snapshot, time.monotonic())
            for session in snapshot:
                status = session_status(session, before, now, self._client_of(session["id"]))
                log.info("statistics", **statistics(status))
            before = now

    async def _interval_passes(self) -> bool:
        """Waits for the next line; False when the configuration has changed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.stats_interval or None):
                await self._configured.wait()
            self._configured.clear()
            return False
        return True


def statistics(session: SessionStatus) -> dict[str, str | int]:
    """What the log's line says of a session."""
    up = sum(link.state == "up" for link in session.links)
    line: dict[str, str | int] = {
        **({"client": session.client} if session.client else {"session": session.id}),
        "links_up": f"{up}/{len(session.links)}",
        "tx": bits(session.rates.tx_bps),
        "rx": bits(session.rates.rx_bps),
    }
    for link in session.links:
        line[link.name if link.name not in line else f"{link.name}.{link.conv}"] = (
            f"{link.state} tx {bits(link.rates.tx_bps)} rx {bits(link.rates.rx_bps)} "
            f"rtt {link.rtt_ms:.0f} ms loss {100 * link.loss:.1f} %"
        )
    return line


def sample_of(snapshot: list[SessionSnapshot], at_s: float) -> Sample:
    """The counters that rates are made from."""
    counters: dict[tuple[int, int, int], Counters] = {}
    for s in snapshot:
        own = (s["tun_rx_bytes"], s["tun_tx_bytes"], s["tun_rx_packets"], s["tun_tx_packets"])
        counters[s["id"], -1, -1] = own
        for link in s["links"]:
            its = (link["tx_bytes"], link["rx_bytes"], link["tx_packets"], link["rx_packets"])
            counters[s["id"], link["id"], link["conv"]] = its
    return Sample(at_s, counters)


def session_status(
    session: SessionSnapshot,
    base: Sample,
    now: Sample,
    client: str = "",
    usage: Usage = lambda _name: None,
) -> SessionStatus:
    """One session, with rates since ``base``."""
    return SessionStatus(
        id=session["id"],
        client=client,
        up=session["up"],
        peer=session["peer"],
        cipher=session["cipher"],
        uptime_s=session["uptime_ms"] / 1000,
        tun=session["tun"],
        rates=rates((session["id"], -1, -1), base, now),
        tx_packets=session["tun_rx_packets"],
        tx_bytes=session["tun_rx_bytes"],
        rx_packets=session["tun_tx_packets"],
        rx_bytes=session["tun_tx_bytes"],
        no_link_drops=session["no_link_drops"],
        own_drops=session["own_drops"],
        requeued_packets=session["requeued_packets"],
        doubled_packets=session["doubled_packets"],
        doubled_bytes=session["doubled_bytes"],
        aqm_drops=session["aqm_drops"],
        aqm_marks=session["aqm_marks"],
        overflow_drops=session["overflow_drops"],
        inner_mtu=session["inner_mtu"],
        too_big_packets=session["too_big_packets"],
        too_big_answers=session["too_big_answers"],
        queued_packets=session["queued_packets"],
        queued_bytes=session["queued_bytes"],
        links=tuple(_link_status(session["id"], link, base, now, usage) for link in session["links"]),
    )


def rates(key: tuple[int, int, int], base: Sample, now: Sample) -> Rates:
    """Rates between two samples; zero for what has just been made, or is gone."""
    before, after, elapsed_s = base.counters.get(key), now.counters.get(key), now.at_s - base.at_s
    if after is None or elapsed_s <= 0:
        return Rates()
    tx, rx, tx_packets, rx_packets = (
        max(a - b, 0) / elapsed_s for a, b in zip(after, before or (0, 0, 0, 0), strict=True)
    )
    return Rates(8 * tx, 8 * rx, tx_packets, rx_packets)


def _link_status(session: int, link: LinkSnapshot, base: Sample, now: Sample, usage: Usage) -> LinkStatus:
    same: dict[str, Any] = {name: value for name, value in link.items() if name in _SAME_NAME}
    quota_bytes, quota_used_bytes = usage(link["name"]) or (None, None)
    return LinkStatus(
        **same,
        quota_bytes=quota_bytes,
        quota_used_bytes=quota_used_bytes,
        source=link["local"],
        uptime_s=link["uptime_ms"] / 1000,
        hello_age_s=None if link["hello_age_ms"] < 0 else link["hello_age_ms"] / 1000,
        rates=rates((session, link["id"], link["conv"]), base, now),
    )


def encryption(config: TunnelConfig) -> str:
    """What hides and proves the traffic."""
    if config.sealed:
        return f"sealed, cipher {config.cipher}"
    return "aes-cfb (not authenticated)" if config.aes else "none"


def insecurities(config: TunnelConfig) -> tuple[str, ...]:
    """What a user should know of the chosen mode."""
    if config.sealed:
        return (
            ()
            if config.has_key or config.has_key_pair
            else (
                "the secret is a passphrase: who records a handshake can try guesses; make a key with `ratbond keygen`",
            )
        )
    if config.aes:
        return (
            "stock AES hides the traffic, but proves nothing: who can send to this port can disturb the tunnel",
        )
    return (
        "the tunnel is not encrypted: everybody on the way can read it, and who can send to this port can join it",
    )


def _address(config: TunnelConfig) -> str:
    match config:
        case ClientConfig():
            return str(config.connect_addr)
        case ServerConfig():
            return str(config.listen_addr)
        case _:
            return ""
