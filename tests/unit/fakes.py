"""An engine without a packet path: it notes what it is told and says what a test wants it to say."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import ratbond.engine
from ratbond.engine import EngineError, Event, Scheduler

if TYPE_CHECKING:
    from ratbond.engine import EventKind, LinkSnapshot, NamedClient, Preference, SessionSnapshot


@dataclass
class FakeEvent:
    """As the engine's own, which cannot be made from Python."""

    kind: EventKind
    link: int | None = None
    name: str = ""
    detail: str = ""
    links_up: int = 0
    peer: str = ""
    session: int = 0
    addresses: list[str] = field(default_factory=list)
    at_ns: int = 0


@dataclass
class FakeTun:
    """A tun by name only."""

    name: str
    ifindex: int = 99
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeEngine:
    """A client's or a server's engine."""

    links: dict[int, tuple[str, str | None, tuple[str, int]]] = field(default_factory=dict)
    removed: list[tuple[int, str]] = field(default_factory=list)
    preferences: dict[int, Preference] = field(default_factory=dict)
    refusal: str = ""  # what add_link says, when it is to refuse
    tuns: dict[int, object] = field(default_factory=dict)
    closed: bool = False
    clients: list[NamedClient] = field(default_factory=list)
    scheduler: str = ""  # as it was changed
    sessions: list[SessionSnapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waiting: list[FakeEvent] = []
        self._next = 1

    @property
    def event_fd(self) -> int:
        return self._fd

    def say(self, *events: FakeEvent) -> None:
        self._waiting += events
        os.eventfd_write(self._fd, 1)

    def events(self) -> list[Event]:
        os.eventfd_read(self._fd)
        taken, self._waiting = self._waiting, []
        return cast("list[Event]", taken)

    def prefer(self, link: int, preference: Preference) -> None:
        self.preferences[link] = preference

    def set_scheduler(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def add_link(self, name: str, *, device: str | None, source: str | None, remote: tuple[str, int]) -> int:
        assert device == name
        if self.refusal:
            raise EngineError(self.refusal)
        number, self._next = self._next, self._next + 1
        self.links[number] = (name, source, remote)
        return number

    def remove_link(self, link: int, reason: str) -> None:
        if link not in self.links:
            raise EngineError(f"there is no link {link}")
        del self.links[link]
        self.removed.append((link, reason))

    def rename_link(self, link: int, name: str) -> None:
        _, source, remote = self.links[link]
        self.links[link] = (name, source, remote)

    def attach_tun(self, session: int, tun: object) -> None:
        self.tuns[session] = tun

    def detach_tun(self, session: int) -> None:
        del self.tuns[session]

    def set_clients(self, clients: list[NamedClient]) -> None:
        self.clients = clients

    def snapshot(self) -> list[SessionSnapshot]:
        return self.sessions

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        self.closed = True

    def number_of(self, name: str) -> int:
        return next(number for number, link in self.links.items() if link[0] == name)

    def names(self) -> list[str]:
        return sorted(link[0] for link in self.links.values())


def _fields_of(name: str) -> list[str]:
    """A TypedDict's fields, as the border's stub has them."""
    stub = ast.parse(Path(ratbond.engine.__file__).with_name("_core.pyi").read_text())
    (found,) = (n for n in stub.body if isinstance(n, ast.ClassDef) and n.name == name)
    return [
        n.target.id for n in found.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]


_LINK_COUNTERS = _fields_of("LinkSnapshot")
_SESSION_COUNTERS = _fields_of("SessionSnapshot")


def link_snapshot(**changes: object) -> LinkSnapshot:
    """A link's counters, all zero but for what is given."""
    texts = {"name": "wan1", "state": "up", "local": "10.0.1.2:4000", "remote": "192.0.2.1:12345"}
    wanted = {"tier": "primary", "cap_up_bps": None, "cap_down_bps": None}
    return cast("LinkSnapshot", dict.fromkeys(_LINK_COUNTERS, 0) | texts | wanted | changes)


def session_snapshot(*links: LinkSnapshot, **changes: object) -> SessionSnapshot:
    """A session's counters, all zero but for what is given."""
    texts = {"up": True, "peer": "ratbond", "scheduler": "consistent", "tun": "tun660", "links": list(links)}
    return cast("SessionSnapshot", dict.fromkeys(_SESSION_COUNTERS, 0) | texts | changes)
