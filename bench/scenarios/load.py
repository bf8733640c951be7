"""What is sent through a tunnel: TCP and UDP with iperf3, pings, and the streams of :mod:`scenarios.stream`."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ratbond.lab import Host, Lab

from .contenders import Tunnel
from .errors import BenchError

Direction = Literal["down", "up"]

_INTERVAL_S = 0.25
_LISTENS_WITHIN_S = 5.0
_ENDS_WITHIN_S = 60.0
_ports = itertools.count(5201)


@dataclass(frozen=True)
class Tcp:
    """A bulk transfer."""

    direction: Direction
    congestion: str
    flows: int
    seconds: int
    omit_s: int

    @property
    def key(self) -> str:
        """How its figures are named."""
        return f"{self.direction}.{self.congestion}.{self.flows}"


@dataclass(frozen=True)
class TcpOutcome:
    """Goodput at the receiver without the start, and the rates from the start as the client saw them."""

    goodput_mbps: float
    retransmits: int
    rates: list[tuple[float, float]]  # (seconds, Mbit/s), one after the other


class Running:
    """An iperf3 under way between the two ends of a tunnel."""

    def __init__(self, lab: Lab, tunnel: Tunnel, *flags: str, lasts_s: float) -> None:
        port = str(next(_ports))
        self._lasts_s = lasts_s
        self._server = lab.server.popen(
            *("iperf3", "-s", "-1", "-B", tunnel.server_ipv4, "-p", port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for_listener(lab.server, port)
        ends = ("-c", tunnel.server_ipv4, "-B", tunnel.client_ipv4, "-p", port)
        self._client = lab.client.popen(
            *("iperf3", *ends, "-J", *flags), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def outcome(self) -> dict[str, Any]:
        """Wait for the end and read the report.

        Raises:
            BenchError: it failed, or hangs.
        """
        try:
            output, _ = self._client.communicate(timeout=self._lasts_s + _ENDS_WITHIN_S)
            report: dict[str, Any] = json.loads(output)
        except (subprocess.TimeoutExpired, ValueError):
            raise BenchError("iperf3 did not end, or with no report") from None
        finally:
            self.stop()
        if "error" in report:
            raise BenchError(f"iperf3: {report['error']}")
        return report

    def stop(self) -> None:
        """End it at once."""
        for process in (self._client, self._server):
            process.kill()
            process.wait()


def start_tcp(lab: Lab, tunnel: Tunnel, tcp: Tcp) -> Running:
    """Start a bulk transfer."""
    way = ("-R",) if tcp.direction == "down" else ()
    what = ("-C", tcp.congestion, "-P", str(tcp.flows), "-i", str(_INTERVAL_S))
    timing = ("-t", str(tcp.seconds), "-O", str(tcp.omit_s))
    return Running(lab, tunnel, *way, *what, *timing, lasts_s=tcp.seconds + tcp.omit_s)


def read_tcp(report: dict[str, Any]) -> TcpOutcome:
    """Read iperf3's report of a bulk transfer."""
    intervals = [interval["sum"] for interval in report["intervals"]]
    return TcpOutcome(
        goodput_mbps=report["end"]["sum_received"]["bits_per_second"] / 1e6,
        retransmits=report["end"]["sum_sent"].get("retransmits", 0),
        rates=[(each["seconds"], each["bits_per_second"] / 1e6) for each in intervals],
    )


@dataclass(frozen=True)
class UdpOutcome:
    """Paced UDP flows."""

    packets: int
    lost: int
    out_of_order: int


def udp(lab: Lab, tunnel: Tunnel, mbps: float, flows: int, seconds: int) -> UdpOutcome:
    """Download paced UDP flows, together at this rate, for as long."""
    pace = ("-u", "-R", "-b", f"{mbps / flows:.3f}M", "-l", "1200", "-P", str(flows))
    running = Running(lab, tunnel, *pace, "-t", str(seconds), lasts_s=seconds)
    streams = [stream["udp"] for stream in running.outcome()["end"]["streams"]]
    return UdpOutcome(
        packets=sum(stream["packets"] for stream in streams),
        lost=sum(stream["lost_packets"] for stream in streams),
        out_of_order=sum(stream["out_of_order"] for stream in streams),
    )


@dataclass(frozen=True)
class Pings:
    """Round trips, and how many never came back."""

    rtts_ms: list[float]
    lost: int


class Pinging:
    """20 pings a second from the client, for a while."""

    def __init__(self, lab: Lab, tunnel: Tunnel, seconds: float) -> None:
        self._count = round(seconds * 20)
        self._process = lab.client.popen(
            *("ping", "-n", "-i", "0.05", "-c", str(self._count), "-W", "3"),
            *("-I", tunnel.client_ipv4, tunnel.server_ipv4),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def outcome(self) -> Pings:
        """Wait for the end.

        Raises:
            BenchError: it hangs.
        """
        try:
            output, _ = self._process.communicate(timeout=self._count / 20 + _ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise BenchError("ping did not end") from None
        return read_pings(output, self._count)


def read_pings(output: str, count: int) -> Pings:
    """Read what ping printed; repetitions do not count."""
    answers = [line for line in output.splitlines() if "time=" in line and "DUP!" not in line]
    rtts_ms = [float(match[1]) for line in answers if (match := re.search(r"time=([\d.]+)", line))]
    return Pings(rtts_ms, max(0, count - len(rtts_ms)))


class Streaming:
    """Numbered datagrams both ways, by a process of their own."""

    def __init__(self, lab: Lab, tunnel: Tunnel, packets_per_s: int, flows: int, size_bytes: int) -> None:
        client = (lab.client.namespace, tunnel.client_ipv4)
        server = (lab.server.namespace, tunnel.server_ipv4)
        shape = map(str, (packets_per_s, flows, size_bytes))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scenarios.stream", *client, *server, *shape],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def outcome(self) -> dict[str, dict[str, float | None]]:
        """End it and read what came of each direction.

        Raises:
            BenchError: it failed.
        """
        try:
            output, _ = self._process.communicate(timeout=_ENDS_WITHIN_S)
            outcome: dict[str, dict[str, float | None]] = json.loads(output)
        except (subprocess.TimeoutExpired, ValueError):
            self._process.kill()
            raise BenchError("the stream failed") from None
        return outcome

    def stop(self) -> None:
        """End it, whatever it has to say."""
        with suppress(BenchError, ValueError):
            self.outcome()


def _wait_for_listener(host: Host, port: str) -> None:
    deadline_s = time.monotonic() + _LISTENS_WITHIN_S
    while not host.run("ss", "-Hltn", f"sport = :{port}").stdout.strip():
        if time.monotonic() > deadline_s:
            raise BenchError("iperf3 does not listen")
        time.sleep(0.05)
