"""What is sent through a tunnel, and what the two ends use for it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratbond.lab import Host

from .tunnels import BenchError, Running

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ENDS_WITHIN_S = 20.0
_ports = itertools.count(5201)

SMALL_BYTES = 64
_FEW_LOST = 0.001  # with a hundred thousand packets a second the kernel itself drops a few now and then
_FIRST_PPS, _MOST_PPS = 10_000, 2_000_000
_HALVINGS = 3
_STEP_S = 2
_TRIES = 2
_EAGER = -19
_SOCKET_BYTES = 1 << 20


@dataclass(frozen=True)
class Transfer:
    """What came of an iperf3."""

    bytes: int
    seconds: float
    packets: int
    lost: int

    @property
    def gbps(self) -> float:
        """Goodput at the receiver in Gbit/s."""
        return self.bytes * 8 / self.seconds / 1e9


def cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads so far, in seconds."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def costs(running: Running) -> dict[str, float]:
    """CPU seconds of each end so far."""
    return {end: cpu_s(process.pid) for end, process in running.processes.items()}


def iperf3(running: Running, *flags: str, seconds: int, nice: int = 0) -> Transfer:
    """Download with an iperf3 through a tunnel; `nice` is the niceness of the one that receives.

    Raises:
        BenchError: it failed.
    """
    wires = running.wires
    listener = Listener(wires.server, running.server_ipv4)
    return listener.call(wires.client, "-R", *flags, seconds=seconds, nice=nice)()


class Listener:
    """An iperf3 that takes one transfer."""

    def __init__(self, host: Host, address: str) -> None:
        self._address, self._port = address, str(next(_ports))
        own = ("-s", "-1", "-B", address, "-p", self._port)
        self._process = host.popen("iperf3", *own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_listener(host, self._port)

    def call(self, client: Host, *flags: str, seconds: int, nice: int = 0) -> Callable[[], Transfer]:
        """Start a transfer with it; what is returned waits for its end and reads what came of it."""
        iperf3 = ("iperf3", "-c", self._address, "-p", self._port, "-J", "-t", str(seconds), *flags)
        command = ("nice", "-n", str(nice), *iperf3)
        calling = client.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def outcome() -> Transfer:
            try:
                said, _ = calling.communicate(timeout=seconds + _ENDS_WITHIN_S)
                return read(json.loads(said))
            except (subprocess.TimeoutExpired, ValueError):
                raise BenchError("iperf3 did not end, or with no report") from None
            finally:
                for process in (calling, self._process):
                    process.kill()
                    process.wait()

        return outcome


def read(report: dict[str, Any]) -> Transfer:
    """Read iperf3's report.

    Raises:
        BenchError: it tells of an error.
    """
    if "error" in report:
        raise BenchError(f"iperf3: {report['error']}")
    end = report["end"]
    if "sum_received" in end and "packets" not in end.get("sum", {}):
        told = end["sum_received"]
        return Transfer(told["bytes"], told["seconds"], 0, 0)
    told = end["sum"]
    return Transfer(told["bytes"], told["seconds"], told["packets"], told["lost_packets"])


def download(running: Running, flows: int, seconds: int) -> tuple[Transfer, dict[str, float]]:
    """Download over TCP; what came, and the CPU seconds that each end took."""
    before = costs(running)
    done = iperf3(running, "-P", str(flows), seconds=seconds)
    return done, {end: after - before[end] for end, after in costs(running).items()}


def paced(running: Running, mbps: int, seconds: int) -> dict[str, float]:
    """Download UDP packet by packet at this rate; what share of a core each end takes."""
    before, began_s = costs(running), time.monotonic()
    packet_bytes = 1_200
    every_us = str(max(1, packet_bytes * 8 // mbps - 5))  # shorter than a packet's time, or they come in twos
    flags = ("-u", "-b", f"{mbps}M", "-l", str(packet_bytes), "--pacing-timer", every_us)
    iperf3(running, *flags, seconds=seconds)
    took_s = time.monotonic() - began_s
    return {end: (after - before[end]) / took_s for end, after in costs(running).items()}


def small_packets(running: Running) -> float:
    """Find how many packets of 64 bytes of payload a second arrive without loss (but for one in a thousand).

    iperf3's own socket holds 277 of them by default, two of its sender's bursts: where the processors are busy it loses some without any
    tunnel. So it gets a larger one, receives at a high priority, and a rate that fails is tried a second time.
    """
    roomy = ("-w", str(_socket_bytes()))

    def carried(pps: float) -> float | None:
        bits = f"{pps * SMALL_BYTES * 8:.0f}"
        for _ in range(_TRIES):
            small = ("-u", "-b", bits, "-l", str(SMALL_BYTES), *roomy)
            done = iperf3(running, *small, seconds=_STEP_S, nice=_EAGER)
            if done.packets > 0 and done.lost <= done.packets * _FEW_LOST:
                return done.packets / done.seconds
        return None

    return highest(carried)


def _socket_bytes() -> int:
    """Tell how large a socket buffer a program may have: iperf3 ends when it gets less than it asked for."""
    limits = (Path(f"/proc/sys/net/core/{way}mem_max").read_text() for way in "rw")
    return min(_SOCKET_BYTES, *map(int, limits))


def highest(carried: Callable[[float], float | None]) -> float:
    """Find the highest rate that is carried: doubled until one is not, then between the two.

    Args:
        carried: sends at a rate; gives the rate that was reached, or ``None`` when too much was lost.
    """
    best, asked, failed = 0.0, float(_FIRST_PPS), None
    while asked <= _MOST_PPS:
        reached = carried(asked)
        if reached is None:
            failed = asked
            break
        best = max(best, reached)
        if reached < 0.9 * asked:
            return best  # the sender's own limit
        asked *= 2
    lower = asked / 2
    for _ in range(_HALVINGS if failed else 0):
        middle = (lower + asked) / 2
        reached = carried(middle)
        if reached is None:
            asked = middle
        else:
            best, lower = max(best, reached), middle
    return best


def _wait_for_listener(host: Host, port: str) -> None:
    deadline_s = time.monotonic() + 5
    while port not in host.run("ss", "-Hltn", f"sport = :{port}").stdout:
        if time.monotonic() > deadline_s:
            raise BenchError("iperf3 does not listen")
        time.sleep(0.02)
