"""A tunnel that carries 200 Mbit/s, under floods of datagrams from a stranger: what it loses, and what the server spends.

    sudo .venv/bin/python bench/attacks.py [--rate 50000] [--seconds 10] [--only WORD]

::

    rb-attacks-cli ── wan1, wan2 ═ emulator ═ isp1, isp2 ── rb-attacks-srv ── att ── rb-attacks-att
      4 TCP connections of 50 Mbit/s through the tunnel ──▶                    ◀── the flood

The attacker has a link of its own to the server, so that it is the server that is measured and not the emulated WANs. It
knows no secret. What it knows of the session (an index, a recorded REQUEST, a recorded sealed datagram) was seen on a WAN.
Prints a table in Markdown. Client, server, emulator, iperf3 and attacker share this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from ratbond.lab import CommandError, Host, Lab
from ratbond.secret import generate

ROOT = Path(__file__).resolve().parents[1]
RATBOND = str(Path(sys.executable).with_name("ratbond"))
NAME = "attacks"
TARGET = "198.51.100.1"
PORT = 12345
LINK = "200mbit,20ms"
CONNECTIONS, CONNECTION_RATE = 4, "50M"
ALL_PROTOCOLS, PAYLOAD_AT = 3, 42  # ETH_P_ALL; behind Ethernet, IPv4 and UDP
REQUEST, INIT, SEALED = 0x01, 0x03, 0x80


@dataclass(frozen=True)
class Flood:
    """A kind of datagram: its beginning, its length, and the number to count up from."""

    name: str
    head: bytes
    length: int
    counter: int | None = None


@dataclass(frozen=True)
class Run:
    """One download with or without a flood."""

    mbps: float
    sent: int
    answers: int
    answer_bytes: int
    cpu_percent: float
    rss_mb: float
    links: str


def floods(seen: list[bytes]) -> list[Flood]:
    """All kinds, the best informed last."""
    request = next(payload for payload in seen if payload[0] == REQUEST)
    init = next(payload for payload in seen if payload[0] == INIT)
    sealed = [payload for payload in seen if payload[0] >= SEALED]
    newest = sealed[-1]
    number = int.from_bytes(newest[5:9], "big")
    return [
        Flood("random bytes", b"", 100),
        Flood("REQUEST, wrong MAC", request[:11], 43),
        Flood("INIT, wrong MAC", init[:27], 200),
        Flood("REQUEST, recorded", request, len(request)),
        Flood("INIT, recorded", init, len(init)),
        Flood("JOIN of the session, wrong proof", b"\x05" + newest[1:5] + b"\x01\x00\x00\x09", 29),
        Flood("sealed, unknown index", bytes([SEALED]), 1_400),
        Flood("sealed, recorded", newest, len(newest)),
        Flood("sealed, the session's index, fresh numbers, forged", newest[:5], 1_400, number + 1_000_000),
    ]


@contextmanager
def attacker(lab: Lab) -> Iterator[Host]:
    """A host with a cable to the server."""
    host = Host(f"rb-{NAME}-att")
    subprocess.run(["ip", "netns", "add", host.namespace], check=True)
    try:
        lab.server.ip(f"link add att type veth peer name wire netns {host.namespace}")
        lab.server.ip(f"addr add {TARGET}/24 dev att", "link set att up")
        host.ip("addr add 198.51.100.2/24 dev wire", "link set wire up")
        yield host
    finally:
        subprocess.run(["ip", "netns", "del", host.namespace], check=True)


class Eavesdropper:
    """UDP payloads that the client sends on its first WAN."""

    def __init__(self, lab: Lab) -> None:
        self.seen: list[bytes] = []
        self._socket = lab.wan.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self._socket.bind(("cli1", ALL_PROTOCOLS))
        self._socket.settimeout(0.2)
        self._running = True
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while self._running:
            try:
                frame, address = self._socket.recvfrom(65_535)
            except TimeoutError:
                continue
            is_udp = frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP
            if address[2] != socket.PACKET_OUTGOING and is_udp and len(frame) > PAYLOAD_AT:
                self.seen.append(frame[PAYLOAD_AT:])

    def stop(self) -> list[bytes]:
        """What was seen."""
        self._running = False
        self._thread.join()
        self._socket.close()
        return self.seen


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            if condition():
                return
        except (CommandError, OSError, ValueError):
            pass  # not up yet
        time.sleep(0.1)
    sys.exit("attacks: the tunnel did not come up")


def links(server: Host) -> str:
    status = json.loads(server.run(RATBOND, "status", "--json").stdout)
    states = sorted(f"{link['remote']} {link['state']}" for s in status["sessions"] for link in s["links"])
    return ", ".join(states)


def cpu_s(pid: int) -> float:
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Bench:
    """A tunnel that is up, and floods of it."""

    def __init__(self, lab: Lab, thief: Host, server_pid: int, rate: int, seconds: int) -> None:
        self._lab, self._thief, self._pid, self._rate, self._seconds = lab, thief, server_pid, rate, seconds
        self._listener = lab.server.popen("iperf3", "-s", "-B", "10.10.10.1", stdout=subprocess.DEVNULL)
        time.sleep(0.5)

    def run(self, flood: Flood | None) -> Run:
        """Four connections for the time; the flood begins a second later and ends a second before them."""
        caller = self._lab.client.popen(
            "iperf3", "-c", "10.10.10.1", "-P", str(CONNECTIONS), "-b", CONNECTION_RATE, "-t", str(self._seconds + 2),
            "-O", "1", "-J", stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(2)
        before_s, began_s = cpu_s(self._pid), time.monotonic()
        sent = answers = answer_bytes = 0
        if flood:
            sent, answers, answer_bytes = self._flood(flood)
        else:
            time.sleep(self._seconds)
        cpu = 100 * (cpu_s(self._pid) - before_s) / (time.monotonic() - began_s)
        rss = rss_mb(self._pid)
        report = json.loads(caller.communicate(timeout=60)[0])
        if "error" in report:
            sys.exit(f"attacks: iperf3: {report['error']}")
        intervals = [i["sum"]["bits_per_second"] for i in report["intervals"] if not i["sum"]["omitted"]]
        during = intervals[1 : self._seconds - 1]
        return Run(
            statistics.mean(during) / 1e6, sent, answers, answer_bytes, cpu, rss, links(self._lab.server)
        )

    def _flood(self, flood: Flood) -> tuple[int, int, int]:
        counter = [] if flood.counter is None else [str(flood.counter)]
        program = ROOT / "target/release/examples/flood"
        done = self._thief.run(
            str(program), f"{TARGET}:{PORT}", str(self._rate), str(self._seconds), str(flood.length), flood.head.hex(),
            *counter, timeout_s=self._seconds + 30,
        )  # fmt: skip
        sent, answers, answer_bytes = map(int, done.stdout.split())
        return sent, answers, answer_bytes


def row(name: str, run: Run, calm_mbps: float, calm_links: str = "") -> str:
    """A line of the table; what was lost is told against the runs without a flood before and after."""
    effect = "none" if run.links == (calm_links or run.links) else f"were {calm_links}, are {run.links}"
    sent = f"{run.sent:,}" if run.sent else "-"
    answers = f"{run.answers:,} ({run.answer_bytes:,} bytes)" if run.sent else "-"
    rate = f"{run.mbps:.0f} of {calm_mbps:.0f} ({100 * run.mbps / calm_mbps:.0f} %)"
    return f"| {' | '.join((name, sent, answers, effect, rate, f'{run.cpu_percent:.0f} %', f'{run.rss_mb:.1f} MB'))} |"


def attack(lab: Lab, thief: Host, secret_file: str, options: argparse.Namespace) -> None:
    """Brings the tunnel up and prints the table."""
    flags = (f"--secret-file={secret_file}", "--nosyslog", "--stats-interval=0")
    log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    server = lab.server.popen(RATBOND, "server", *flags, **log)
    spy = Eavesdropper(lab)
    lab.client.popen(RATBOND, "client", f"--connect-addr={lab.server_ipv4}:{PORT}", *flags, **log)
    until(lambda: links(lab.server).count(" up") == 2)
    until(lambda: lab.client.run("ping", "-c", "3", "-i", "0.1", "10.10.10.1", check=False).returncode == 0)
    kinds = [flood for flood in floods(spy.stop()) if options.only in flood.name]
    bench = Bench(lab, thief, server.pid, options.rate, options.seconds)
    print(
        "| attack | sent | answers | links and sessions | Mbit/s through the tunnel | server's CPU | its memory |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    calm = bench.run(None)
    print(row("none", calm, calm.mbps), flush=True)
    for flood in kinds:
        before, attacked, calm = calm, bench.run(flood), bench.run(None)
        print(row(flood.name, attacked, (before.mbps + calm.mbps) / 2, before.links), flush=True)
    print(row("none, afterwards", calm, calm.mbps))


def main() -> None:
    """Reads the flags and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=50_000, help="datagrams a second")
    parser.add_argument("--seconds", type=int, default=10, help="how long each flood lasts")
    parser.add_argument("--only", default="", metavar="WORD", help="only floods with this word in their name")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "--quiet", "--locked", "-p", "ratbond-io", "--example", "flood"]
    subprocess.run(build, cwd=ROOT, check=True)
    with NamedTemporaryFile("w") as file, Lab.up([LINK, LINK], name=NAME) as lab, attacker(lab) as thief:
        file.write(generate())
        file.flush()
        attack(lab, thief, file.name, options)


if __name__ == "__main__":
    main()
