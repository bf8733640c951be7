"""The Rust engine as the rest of the program sees it; nothing else imports the compiled module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from ratbond._core import Engine, EngineError, Event, Tun, keep_memory_private, public_key

if TYPE_CHECKING:
    from ratbond._core import EventKind, LinkSnapshot, NamedClient, Preference, SessionSnapshot

Scheduler = Literal["adaptive", "consistent", "roundrobin", "redundant"]

__all__ = [
    "Engine",
    "EngineApi",
    "EngineError",
    "Event",
    "EventKind",
    "LinkSnapshot",
    "NamedClient",
    "Preference",
    "Scheduler",
    "SessionSnapshot",
    "Tun",
    "TunApi",
    "keep_memory_private",
    "public_key",
]


class TunApi(Protocol):
    """What the daemon uses of a :class:`Tun`."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def ifindex(self) -> int:
        """The device's index."""

    def close(self) -> None:
        """Lets the device go."""


TunT_contra = TypeVar("TunT_contra", contravariant=True)


class EngineApi(Protocol[TunT_contra]):
    """What the daemon uses of an :class:`Engine`; a test may hand in another."""

    @property
    def event_fd(self) -> int:
        """Readable when there are events."""

    def events(self) -> list[Event]:
        """Takes all waiting events."""

    def add_link(self, name: str, *, device: str | None, source: str | None, remote: tuple[str, int]) -> int:
        """Starts a link and returns its number."""

    def remove_link(self, link: int, reason: str) -> None:
        """Takes a link out."""

    def rename_link(self, link: int, name: str) -> None:
        """Calls a link by another name from now on."""

    def prefer(self, link: int, preference: Preference) -> None:
        """Says what is wanted of a link from now on."""

    def attach_tun(self, session: int, tun: TunT_contra) -> None:
        """Gives a session its tun."""

    def detach_tun(self, session: int) -> None:
        """Takes it away again."""

    def set_clients(self, clients: list[NamedClient]) -> None:
        """Says who may connect to a server of named clients."""

    def set_scheduler(self, scheduler: Scheduler) -> None:
        """Spreads packets otherwise from now on."""

    def snapshot(self) -> list[SessionSnapshot]:
        """Reads all counters."""

    def close(self) -> None:
        """Stops everything."""
