"""Links, loads and what happens to them; then it runs, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from ratbond._core import Simulator
from ratbond.linkspec import DIRECTIONS, Direction, LinkSpec
from ratbond.models import Preference
from ratbond.sim.result import Datagram, LinkResult, LoadResult, Result

if TYPE_CHECKING:
    from ratbond._core import SimulatorResult

Balance = Literal["adaptive", "consistent", "roundrobin", "redundant"]
Congestion = Literal["cubic", "bbr"]

_STEP_S: Final = 1.0  # of virtual time, between two looks whether somebody wants to interrupt
_FOREVER_S: Final = 3e7


@dataclass(frozen=True, slots=True)
class Link:
    """A link, in the words of :mod:`ratbond.linkspec`: rate, round trip, loss; ``key=value`` for all else.

    Without a name it is called ``link0`` and so on, by its place. Tier, rate and weight are as in the configuration of a client
    (docs/configuration.md).
    """

    spec: str
    name: str = ""
    tier: str = "primary"
    rate: str = "-"
    weight: int = 1

    @property
    def preference(self) -> Preference:
        """What is wanted of it. Raises ValueError with one line."""
        return Preference.parse([f"tier={self.tier}", f"rate={self.rate}", f"weight={self.weight}"])


class Bond:
    """A bond that runs: what an event may do to it. Links are told by their place, from 0."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def now_s(self) -> float:
        """How long it has run."""
        return self._simulator.now_s

    def pull(self, link: int) -> None:
        """The link's interface goes down: the client knows at once, and tells the server over the others."""
        self._simulator.pull(link)

    def restore(self, link: int) -> None:
        """A link that was pulled is back."""
        self._simulator.restore(link)

    def change(self, link: int, spec: str) -> None:
        """The link is otherwise from now on, as far as the words say: ``20mbit``, ``blackhole=on``.

        Raises:
            SpecError: they cannot be read.
        """
        changes = LinkSpec.parse(spec)
        for direction in DIRECTIONS:
            settings = changes.up if direction == "up" else changes.down
            self._simulator.set(link, direction, **settings)

    def prefer(self, link: int, *, tier: str = "primary", rate: str = "-", weight: int = 1) -> None:
        """The link is used otherwise from now on. Raises ValueError with one line."""
        wanted = Preference.parse([f"tier={tier}", f"rate={rate}", f"weight={weight}"])
        self._simulator.prefer(link, wanted.for_engine())


class Simulation:
    """A bond of some links. Loads and events are told first; :meth:`run` may be called as often as one likes.

    The same links, loads, events and seed give the same result, always.

    Raises:
        SpecError: a link cannot be read.
        ValueError: a link is one that cannot be.
    """

    def __init__(self, links: Sequence[Link], *, balance: Balance = "adaptive", seed: int = 1) -> None:
        self._links = [link if link.name else replace(link, name=f"link{n}") for n, link in enumerate(links)]
        self._specs = [LinkSpec.parse(link.spec) for link in self._links]
        self._balance: Balance = balance
        self._seed = seed
        self._loads: dict[str, Callable[[Simulator], None]] = {}
        self._events: list[tuple[float, Callable[[Bond], None]]] = []
        self._make()  # what is wrong with a link is told here

    def download(
        self,
        *,
        flows: int = 1,
        congestion: Congestion = "cubic",
        start_s: float = 0.0,
        stop_s: float = _FOREVER_S,
    ) -> str:
        """TCP transfers from the server, as fast as they go. Returns the load's name.

        ``congestion`` is the sender's congestion control: CUBIC (RFC 9438), the default of most systems, or BBR of the first version, with
        which many servers send.
        """
        return self._transfers("down", flows, congestion, start_s, stop_s)

    def upload(
        self,
        *,
        flows: int = 1,
        congestion: Congestion = "cubic",
        start_s: float = 0.0,
        stop_s: float = _FOREVER_S,
    ) -> str:
        """TCP transfers to the server, likewise. Returns the load's name."""
        return self._transfers("up", flows, congestion, start_s, stop_s)

    def stream(
        self,
        packets_per_s: float = 50.0,
        *,
        packet_bytes: int = 200,
        direction: Direction = "down",
        start_s: float = 0.0,
        stop_s: float = _FOREVER_S,
    ) -> str:
        """UDP packets at a steady pace, by default those of a call (G.711: 172 bytes of RTP). Returns the load's name."""
        name = f"stream{len(self._loads)}"
        self._loads[name] = lambda simulator: simulator.add_stream(
            direction, packets_per_s, packet_bytes, start_s, stop_s
        )
        return name

    def call(self, *, direction: Direction = "down") -> str:
        """One direction of a telephone call. Returns the load's name."""
        return self.stream(direction=direction)

    def at(self, second: float, event: Callable[[Bond], None]) -> None:
        """Lets something happen at a moment, as in ``simulation.at(10, lambda bond: bond.pull(0))``.

        Raises:
            ValueError: the moment is none.
        """
        if not math.isfinite(second) or second < 0:
            raise ValueError(f"a moment is 0 seconds or later, not {second}")
        self._events.append((second, event))

    def run(self, seconds: float) -> Result:
        """Runs from the moment at which all links are up.

        Raises:
            ValueError: a load or an event is one that cannot be.
        """
        simulator = self._make()
        for add in self._loads.values():
            add(simulator)
        bond = Bond(simulator)
        for second, event in sorted(self._events, key=lambda event: event[0]):
            if second < seconds:
                _advance(simulator, second)
                event(bond)
        _advance(simulator, seconds)
        return self._result(seconds, simulator.result())

    def _transfers(
        self, direction: Direction, flows: int, congestion: Congestion, start_s: float, stop_s: float
    ) -> str:
        name = f"{direction}load{len(self._loads)}"
        self._loads[name] = lambda simulator: simulator.add_transfers(
            direction, flows, congestion, start_s, stop_s
        )
        return name

    def _make(self) -> Simulator:
        wanted = [link.preference.for_engine() for link in self._links]
        links = [(spec.up, spec.down, want) for spec, want in zip(self._specs, wanted, strict=True)]
        return Simulator(links, scheduler=self._balance, seed=self._seed)

    def _result(self, seconds: float, told: SimulatorResult) -> Result:
        return Result(
            seconds=seconds,
            loads=tuple(
                LoadResult(
                    name=name,
                    goodput_bps=_bits(load["delivered_bytes"]),
                    resent_segments=load["resent_segments"],
                    datagrams=tuple(Datagram(sent_s, delay_ms) for sent_s, delay_ms in load["datagrams"]),
                    duplicates=load["duplicates"],
                )
                for name, load in zip(self._loads, told["loads"], strict=True)
            ),
            links=tuple(
                LinkResult(link.name, _bits(carried["up_bytes"]), _bits(carried["down_bytes"]))
                for link, carried in zip(self._links, told["links"], strict=True)
            ),
            repaired_packets=told["repaired_packets"],
            copied_packets=told["copied_packets"],
            queue_dropped_packets=told["queue_dropped_packets"],
        )


def _advance(simulator: Simulator, until_s: float) -> None:
    """In steps, so that an interrupt does not wait for the end."""
    while (now_s := simulator.now_s) < until_s:
        simulator.advance(min(until_s, now_s + _STEP_S))


def _bits(octets: Sequence[int]) -> tuple[float, ...]:
    return tuple(8.0 * count for count in octets)
