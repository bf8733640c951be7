"""One contender in one scenario with one seed: a lab of its own, everything that is asked, and the figures.

Figures are named as docs/benchmarks.md says, such as ``down.cubic.6.goodput_mbps``.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ratbond.lab import CommandError, Host, Lab, LabError, Link

from .catalogue import REDRAW_EVERY_S, Kind, Scenario, offered_mbps, redrawn_rates_mbps
from .contenders import Contender, Place, Tunnel
from .errors import BenchError
from .figures import Received, percentile, ramp_s, tunnel_ip_bytes
from .load import Direction, Pinging, Streaming, Tcp, TcpOutcome, read_tcp, start_tcp, udp

_SETTLE_S = 2.0
_CALL = (50, 1, 172)  # packets a second, flows, bytes: G.711 with RTP's header
_FLOWS = (200, 8, 172)
_PULLED_S = 6.0
_BEFORE_PULL_S, _AFTER_PULL_S = 5.0, 5.0
_UDP_SHARE, _UDP_FLOWS = 0.6, 8  # of what the links could carry


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    seconds: int
    omit_s: int
    directions: tuple[Direction, ...]
    congestions: tuple[str, ...]
    flows: tuple[int, ...]

    def transfers(self) -> Iterator[Tcp]:
        """List the bulk transfers."""
        for direction in self.directions:
            for congestion in self.congestions:
                for flows in self.flows:
                    yield Tcp(direction, congestion, flows, self.seconds, self.omit_s)


@dataclass(frozen=True)
class Crossed:
    """Counters of the links and of the tunnel's devices at one moment."""

    wan_bytes: int
    devices: list[Received]


@dataclass
class Outcome:
    """Figures by name, rates over time by transfer, and what went wrong."""

    figures: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


def run(contender: Contender, scenario: Scenario, seed: int, plan: Plan) -> Outcome:
    """Measure everything that the scenario asks; what fails is told in the outcome, the rest goes on."""
    outcome = Outcome()
    specs = [link.spec for link in scenario.links]
    with (
        tempfile.TemporaryDirectory(prefix="rb-bench-") as folder,
        Lab.up(specs, name=f"bench-{os.getpid()}", seed=seed) as lab,
    ):
        place = Place(lab, scenario, Path(folder))
        try:
            tunnel = contender.start(place)
            time.sleep(_SETTLE_S)
            _Trial(place, tunnel, seed, plan, outcome).all()
        except (BenchError, LabError) as error:
            outcome.troubles.append(str(error))
        finally:
            both = [link[way] for link in lab.stats()["links"] for way in ("up", "down")]
            outcome.figures["emulator_dropped_packets"] = sum(one["emulator_dropped_packets"] for one in both)
            place.stop()
    return outcome


@dataclass
class _Trial:
    place: Place
    tunnel: Tunnel
    seed: int
    plan: Plan
    outcome: Outcome

    @property
    def lab(self) -> Lab:
        return self.place.lab

    def all(self) -> None:
        steps: list[Callable[[], None]] = []
        if self.place.scenario.kind is Kind.PULLED:
            steps += [partial(self.pulled, how) for how in ("blackhole", "interface")]
        else:
            steps.append(self.idle)
            steps += [partial(self.transfer, tcp) for tcp in self.plan.transfers()]
            if self.place.scenario.kind is Kind.THROUGHPUT and "down" in self.plan.directions:
                steps.append(self.reordering)
        for step in steps:
            try:
                step()
            except (BenchError, CommandError) as error:
                self.outcome.troubles.append(str(error))

    def idle(self) -> None:
        rtts_ms = Pinging(self.lab, self.tunnel, min(5, self.plan.seconds)).outcome().rtts_ms
        if rtts_ms:
            self.note("idle", ping_p50_ms=percentile(rtts_ms, 0.5), ping_p99_ms=percentile(rtts_ms, 0.99))

    def transfer(self, tcp: Tcp) -> None:
        """One bulk transfer; beside six downloads with CUBIC, the pings and the call."""
        before, drops = self.crossed(), self.tunnel.aqm_drops()
        with self.redrawn(tcp) as offered:
            running = start_tcp(self.lab, self.tunnel, tcp)
            try:
                if tcp.key == "down.cubic.6":
                    self.beside(tcp)
                done = read_tcp(running.outcome())
            finally:
                running.stop()
        wan, inner = self.crossed_since(before)
        self.note(tcp.key, goodput_mbps=done.goodput_mbps, aqm_drops=self.tunnel.aqm_drops() - drops)
        if offered is not None:
            self.note(tcp.key, offered_share=done.goodput_mbps / offered)
        if inner > 0:
            self.note(tcp.key, wan_bytes=wan, tunnel_bytes=inner, overhead=wan / inner - 1)
        self.ramp(tcp, done)

    def beside(self, tcp: Tcp) -> None:
        time.sleep(tcp.omit_s)
        call = Streaming(self.lab, self.tunnel, *_CALL)
        try:
            pings = Pinging(self.lab, self.tunnel, tcp.seconds - 1).outcome()
            if pings.rtts_ms:
                self.note(tcp.key, ping_p99_ms=percentile(pings.rtts_ms, 0.99), ping_lost=pings.lost)
            self.stream("call", call.outcome())
        finally:
            call.stop()

    def ramp(self, tcp: Tcp, done: TcpOutcome) -> None:
        if tcp.direction == "down":
            ramp = ramp_s(done.rates, done.goodput_mbps)
            if ramp is not None:
                self.note(tcp.key, ramp_s=ramp)
            if tcp.congestion == "cubic":
                self.outcome.series[tcp.key] = [(round(s, 3), round(rate, 2)) for s, rate in done.rates]

    def reordering(self) -> None:
        drops = self.tunnel.aqm_drops()
        rate_mbps = _UDP_SHARE * self.place.scenario.bound_mbps
        done = udp(self.lab, self.tunnel, rate_mbps, _UDP_FLOWS, min(10, self.plan.seconds))
        dropped = self.tunnel.aqm_drops() - drops
        lost = max(0, done.lost - dropped)
        self.note("udp", packets=done.packets, lost=lost, aqm_drops=dropped)
        self.note("udp", out_of_order_share=done.out_of_order / max(1, done.packets))

    def pulled(self, how: str) -> None:
        """Eight small flows beside a download; the link that carries most is pulled for 6 s, and comes back."""
        lasts_s = round(_BEFORE_PULL_S + _PULLED_S + _AFTER_PULL_S)
        drops = self.tunnel.aqm_drops()
        running = start_tcp(self.lab, self.tunnel, Tcp("down", "cubic", 1, lasts_s, 0))
        stream = Streaming(self.lab, self.tunnel, *_FLOWS)
        try:
            before = _delivered(self.lab)
            time.sleep(_BEFORE_PULL_S)
            carried = [late - early for early, late in zip(before, _delivered(self.lab), strict=True)]
            link = self.lab.links[carried.index(max(carried))]
            with link.blackhole() if how == "blackhole" else self.down(link):
                time.sleep(_PULLED_S)
            time.sleep(_AFTER_PULL_S)
            self.stream(how, stream.outcome())
            self.note(how, aqm_drops=self.tunnel.aqm_drops() - drops)
            done = read_tcp(running.outcome())
            self.note(how, goodput_mbps=done.goodput_mbps)
            self.outcome.series[how] = [(round(s, 3), round(rate, 2)) for s, rate in done.rates]
        finally:
            stream.stop()
            running.stop()
        time.sleep(_SETTLE_S)

    @contextmanager
    def down(self, link: Link) -> Iterator[None]:
        with link.interface_pulled():
            yield
        self.tunnel.restored(link)

    @contextmanager
    def redrawn(self, tcp: Tcp) -> Iterator[float | None]:
        """In ``varying``, redraw the rates while the block runs, and say what the links offer while it counts."""
        if self.place.scenario.kind is not Kind.VARYING:
            yield None
            return
        count = int((tcp.omit_s + tcp.seconds) / REDRAW_EVERY_S) + 1
        rates = [redrawn_rates_mbps(self.seed, link.number, count) for link in self.lab.links]
        stop = threading.Event()
        thread = threading.Thread(target=_redraw, args=(self.lab, rates, stop))
        thread.start()
        try:
            yield offered_mbps(rates, tcp.omit_s, tcp.omit_s + tcp.seconds)
        finally:
            stop.set()
            thread.join()

    def crossed(self) -> Crossed:
        """Read what has crossed the links and left the tunnel so far; both ways together."""
        ends = (
            (self.lab.client, self.tunnel.client_devices),
            (self.lab.server, self.tunnel.server_devices),
        )
        links = self.lab.stats()["links"]
        return Crossed(
            sum(link["up"]["delivered_bytes"] + link["down"]["delivered_bytes"] for link in links),
            [counted for host, devices in ends for counted in _received(host, devices)],
        )

    def crossed_since(self, before: Crossed) -> tuple[int, float]:
        """IP bytes that the links delivered, and that came out of the tunnel, since ``before`` was read."""
        after = self.crossed()
        return after.wan_bytes - before.wan_bytes, sum(
            tunnel_ip_bytes(then, now) for then, now in zip(before.devices, after.devices, strict=True)
        )

    def note(self, what: str, **figures: float) -> None:
        self.outcome.figures.update({f"{what}.{name}": round(value, 4) for name, value in figures.items()})

    def stream(self, what: str, directions: dict[str, dict[str, float | None]]) -> None:
        for way, counted in directions.items():
            self.note(
                f"{what}.{way}", **{name: value for name, value in counted.items() if value is not None}
            )


def _delivered(lab: Lab) -> list[int]:
    return [link["down"]["delivered_bytes"] for link in lab.stats()["links"]]


def _redraw(lab: Lab, rates: list[list[float]], stop: threading.Event) -> None:
    began_s = time.monotonic()
    for number in range(len(rates[0])):
        for link, values in zip(lab.links, rates, strict=True):
            link.set(f"{values[number]}mbit")
        if stop.wait(max(0.0, began_s + (number + 1) * REDRAW_EVERY_S - time.monotonic())):
            return


def _received(host: Host, devices: list[str]) -> list[Received]:
    told = {device["ifname"]: device for device in json.loads(host.run("ip", "-j", "-s", "link").stdout)}
    return [
        Received(
            told[device]["stats64"]["rx"]["bytes"],
            told[device]["stats64"]["rx"]["packets"],
            told[device]["mtu"],
        )
        for device in devices
        if device in told
    ]
