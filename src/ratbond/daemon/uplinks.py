"""Keeps the engine's links equal to the WAN links that exist; makes those anew that died of silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ratbond.engine import EngineApi, EngineError, Event
from ratbond.links.model import WanLink
from ratbond.logs import get_logger
from ratbond.models import Family, IPAddress, Preference, Tier

log = get_logger(__name__)

_FIRST_RETRY_S: Final = 0.25
_LAST_RETRY_S: Final = 2.0  # a server that restarts is to be found within 3 s

Remote = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Running:
    """The engine has the link."""

    number: int
    failures: int  # since it was last up
    joined: bool = False  # the engine says when it leaves
    preference: Preference = field(default_factory=Preference)  # as the engine was told


@dataclass(frozen=True, slots=True)
class Resting:
    """The link died or could not be made; it will be tried again."""

    retry_at: float
    failures: int
    why: str


@dataclass(slots=True)
class _Uplink:
    link: WanLink
    remote: Remote
    state: Running | Resting


class Uplinks:
    """All uplinks of a client, by the index of their device. ``now`` counts seconds."""

    def __init__(self, engine: EngineApi[Any], now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now
        self._uplinks: dict[int, _Uplink] = {}
        self._preferences: Mapping[str, Preference] = {}
        self._pinned: str | None = None

    def prefer(self, preferences: Mapping[str, Preference]) -> None:
        """What is wanted of the links from now on, by the names of their devices; of the others nothing."""
        self._preferences = preferences
        for uplink in self._uplinks.values():
            self._apply_preference(uplink)

    def pin(self, device: str | None) -> str:
        """Has everything go over one link, whatever is wanted else but for caps; with None no more. Says why it cannot be."""
        up = {
            u.link.device for u in self._uplinks.values() if isinstance(u.state, Running) and u.state.joined
        }
        if device is not None and device not in up:
            return f"there is no link {device} that is up"
        self._pinned = device
        self.prefer(self._preferences)
        return ""

    def reconcile(
        self, wanted: Iterable[WanLink], remotes: Mapping[Family, Remote], why_gone: Callable[[int], str]
    ) -> None:
        """Takes out what is no longer wanted, and why; adds what is new; tries again what has rested."""
        by_index = {link.index: link for link in wanted if link.family in remotes}
        for index, uplink in list(self._uplinks.items()):
            link = by_index.get(index)
            if link is None:
                self._drop(index, why_gone(index))
            elif link.source != uplink.link.source:
                self._drop(index, f"address changed to {link.source}")
            elif remotes[link.family] != uplink.remote:
                self._drop(index, "the server's address changed")
            else:
                self._rename(uplink, link.device)
                uplink.link = link  # the socket minds neither another name nor another gateway
        for index, link in by_index.items():
            present = self._uplinks.get(index)
            if present is None:
                log.info(
                    "link found",
                    link=link.device,
                    source=str(link.source),
                    gateway=str(link.gateway or "none"),
                )
                self._start(link, remotes[link.family], failures=0)
            elif isinstance(present.state, Resting) and present.state.retry_at <= self._now():
                self._start(link, present.remote, present.state.failures)

    def on_event(self, event: Event) -> None:
        """Follows what the engine says of its links."""
        for uplink in self._uplinks.values():
            if isinstance(uplink.state, Running) and uplink.state.number == event.link:
                if event.kind == "link_up":
                    uplink.state = replace(uplink.state, failures=0, joined=True)
                elif event.kind == "link_down":
                    self._release(uplink.state.number)
                    uplink.state = self._rest(uplink.state.failures, event.detail)
                return

    def next_retry_at(self) -> float | None:
        """When :meth:`reconcile` has something to do again."""
        return min(
            (u.state.retry_at for u in self._uplinks.values() if isinstance(u.state, Resting)), default=None
        )

    def sources(self) -> dict[int, IPAddress]:
        """The address in use on each device."""
        return {index: uplink.link.source for index, uplink in self._uplinks.items()}

    def __len__(self) -> int:
        return len(self._uplinks)

    def _start(self, link: WanLink, remote: Remote, failures: int) -> None:
        try:
            number = self._engine.add_link(
                link.device, device=link.device, source=str(link.source), remote=remote
            )
        except EngineError as error:
            known = self._uplinks.get(link.index)
            if not (known and isinstance(known.state, Resting) and known.state.why == str(error)):
                log.warning("link cannot be used; trying again", link=link.device, why=str(error))
            self._uplinks[link.index] = _Uplink(link, remote, self._rest(failures, str(error)))
        else:
            uplink = _Uplink(link, remote, Running(number, failures))
            self._uplinks[link.index] = uplink
            self._apply_preference(uplink)

    def _apply_preference(self, uplink: _Uplink) -> None:
        wanted = self._wanted_of(uplink.link.device)
        if not isinstance(uplink.state, Running) or wanted == uplink.state.preference:
            return
        self._engine.prefer(uplink.state.number, wanted.for_engine())
        uplink.state = replace(uplink.state, preference=wanted)
        log.info("link preferred", link=uplink.link.device, preference=str(wanted) or "as any other")

    def _wanted_of(self, device: str) -> Preference:
        wanted = self._preferences.get(device, Preference())
        if self._pinned is None:
            return wanted
        return replace(wanted, tier=Tier.PRIMARY if device == self._pinned else Tier.BACKUP)

    def _rename(self, uplink: _Uplink, name: str) -> None:
        """Tells the engine, the log and so the status that a link's interface is called otherwise now."""
        if name == uplink.link.device:
            return
        log.info("link renamed", link=name, before=uplink.link.device)
        if isinstance(uplink.state, Running):
            self._engine.rename_link(uplink.state.number, name)
        uplink.link = replace(uplink.link, device=name)
        self._apply_preference(uplink)

    def _rest(self, failures: int, why: str) -> Resting:
        pause_s = min(_FIRST_RETRY_S * 2**failures, _LAST_RETRY_S)
        return Resting(self._now() + pause_s, min(failures + 1, 10), why)

    def _drop(self, index: int, why: str) -> None:
        uplink = self._uplinks.pop(index)
        if not (isinstance(uplink.state, Running) and uplink.state.joined):
            log.info("link gone", link=uplink.link.device, why=why)
        if isinstance(uplink.state, Running):
            self._release(uplink.state.number, why)

    def _release(self, number: int, why: str = "dead") -> None:
        """Lets the engine forget a link; one that died may be forgotten already."""
        try:
            self._engine.remove_link(number, why)
        except EngineError as error:
            log.debug("the engine had dropped the link already", number=number, why=str(error))
