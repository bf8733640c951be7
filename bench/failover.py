"""How long a link's death is felt: eight UDP flows, 200 packets a second in all, while one of two links dies.

    sudo .venv/bin/python bench/failover.py [--repeats 10] [--balance adaptive]

Two links of 50 Mbit/s and a round trip of 20 ms, sealed. Each repeat takes the other link, once by a silent blackhole and
once by the interface going down, and lets it come back. For each way to die: packets lost and doubled, and how much longer
than on a calm tunnel the slowest packet took, which is how long some flow was silent at most. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from ratbond.lab import CommandError, Host, Lab
from ratbond.lab.link import Link
from ratbond.secret import generate

RATBOND = str(Path(sys.executable).with_name("ratbond"))
LINK = "50mbit,20ms"
FLOWS, PACKETS_PER_SECOND = 8, 200
FIRST_PORT = 7000
PACKET = 172


@dataclass
class Stream:
    """Numbered packets from the client to the server; when each was sent, and when it came."""

    lab: Lab
    sent_s: list[float] = field(default_factory=list)
    came_s: dict[int, float] = field(default_factory=dict)
    doubled: int = 0
    running: bool = True

    def start(self) -> None:
        self._receiver = self.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("10.10.10.1", FIRST_PORT))
        self._receiver.settimeout(2)
        self._senders = [self.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        next_s = time.monotonic()
        while self.running:
            number = len(self.sent_s)
            payload = number.to_bytes(4, "big") + bytes(PACKET - 4)
            self.sent_s.append(time.monotonic())
            self._senders[number % FLOWS].sendto(payload, ("10.10.10.1", FIRST_PORT))
            next_s += 1 / PACKETS_PER_SECOND
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _receive(self) -> None:
        while True:
            try:
                number = int.from_bytes(self._receiver.recv(2048)[:4], "big")
            except TimeoutError:
                return
            self.doubled += number in self.came_s
            self.came_s.setdefault(number, time.monotonic())

    def stop(self) -> None:
        self.running = False
        for thread in self._threads:
            thread.join()
        for opened in (self._receiver, *self._senders):
            opened.close()

    def delay_s(self, first: int, last: int) -> float:
        """The longest way of a packet, less the shortest."""
        ways = [self.came_s[n] - self.sent_s[n] for n in range(first, last) if n in self.came_s]
        return max(ways) - min(ways)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            if condition():
                return
        except (CommandError, OSError, ValueError):
            pass  # not up yet
        time.sleep(0.05)
    sys.exit("failover: it did not come to pass")


def links_up(host: Host) -> int:
    status = json.loads(host.run(RATBOND, "status", "--json").stdout)
    return sum(link["state"] == "up" for session in status["sessions"] for link in session["links"])


def trouble(lab: Lab, stream: Stream, link: Link, how: str) -> float:
    """One death of a link, and its return; how long it was felt, in seconds."""
    first = len(stream.sent_s)
    time.sleep(0.5)
    with link.blackhole() if how == "blackhole" else link.interface_pulled():
        time.sleep(1.5)
        last = len(stream.sent_s)
        until(lambda: links_up(lab.client) == 1)
    until(lambda: links_up(lab.client) == links_up(lab.server) == 2)
    time.sleep(1)
    return stream.delay_s(first, last)


def measure(lab: Lab, secret_file: str, options: argparse.Namespace) -> None:
    """Brings the tunnel up, lets links die, prints the table."""
    balance = (f"--balance-{options.balance}",) if options.balance else ()
    flags = (f"--secret-file={secret_file}", "--nosyslog", "--stats-interval=0", *balance)
    log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    lab.server.popen(RATBOND, "server", *flags, **log)
    lab.client.popen(RATBOND, "client", f"--connect-addr={lab.server_ipv4}:12345", *flags, **log)
    until(lambda: links_up(lab.client) == links_up(lab.server) == 2)
    until(lambda: lab.client.run("ping", "-c", "1", "10.10.10.1", check=False).returncode == 0)
    print(
        "| a link dies by | times | lost | doubled | felt: median | 90 % | longest |\n|---|---|---|---|---|---|---|"
    )
    for how in ("nothing", "blackhole", "interface down"):
        stream = Stream(lab)
        stream.start()
        felt = []
        for count in range(options.repeats):
            if how == "nothing":
                first = len(stream.sent_s)
                time.sleep(2)
                felt.append(stream.delay_s(first, len(stream.sent_s) - 20))
            else:
                felt.append(trouble(lab, stream, lab.links[count % 2], how))
        stream.stop()
        lost = len(stream.sent_s) - len(stream.came_s)
        felt_ms = sorted(1e3 * value for value in felt)
        ninth = felt_ms[min(len(felt_ms) - 1, round(0.9 * len(felt_ms)))]
        figures = f"{statistics.median(felt_ms):.0f} ms | {ninth:.0f} ms | {felt_ms[-1]:.0f} ms"
        print(
            f"| {how} | {len(felt)} | {lost} of {len(stream.sent_s):,} | {stream.doubled} | {figures} |",
            flush=True,
        )


def main() -> None:
    """Reads the flags and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--balance", default="", choices=["", "adaptive", "consistent", "roundrobin", "redundant"]
    )
    options = parser.parse_args()
    with NamedTemporaryFile("w") as file, Lab.up([LINK, LINK], name="failover") as lab:
        file.write(generate())
        file.flush()
        measure(lab, file.name, options)


if __name__ == "__main__":
    main()
