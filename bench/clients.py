"""Many named clients on one server: how soon are all up, can each be reached, what does each cost?

    sudo .venv/bin/python bench/clients.py [--clients 100]

Every client is a whole `ratbond client` process in a network namespace of its own, with a key of its own, one veth away
from the server. All of them run before the server does, and knock; then the server starts, which is what a server's restart
looks like, and the clock runs from its "listening" to the last client's session. Exits with 1 when one is missing or cannot be
pinged through its tunnel.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import netns

from ratbond.lab import Host

RATBOND = str(Path(sys.executable).with_name("ratbond"))
SERVER = "203.0.113.1"
PORT = 12345
PATIENCE_S = 120.0
STARTING = 12
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """What the kernel counts of a process."""

    rss_mb: float
    private_mb: float
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> Process:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kb = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE)}
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        private = kb["Private_Clean"] + kb["Private_Dirty"]
        return cls(kb["Rss"] / 1000, private / 1000, (int(stat[11]) + int(stat[12])) / TICKS_PER_S)


@dataclass
class Bench:
    """The hosts and what runs on them."""

    server: Host
    clients: list[Host]
    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "clients.toml"

    def build(self) -> None:
        """A veth from the server to each client; client n is 198.18.n.2."""
        for host in (self.server, *self.clients):
            netns.create(host.namespace)
        self.server.ip("link set lo up", f"address add {SERVER}/32 dev lo")
        for number, client in enumerate(self.clients, 1):
            self.server.ip(
                f"link add c{number} type veth peer name wan1 netns {client.namespace}",
                f"address add 198.18.{number}.1/30 dev c{number}",
                f"link set c{number} up",
            )
            client.ip(
                "link set lo up",
                f"address add 198.18.{number}.2/30 dev wan1",
                "link set wan1 up",
                f"route add default via 198.18.{number}.1",
            )

    def invite(self) -> list[Path]:
        """A key for each client: a file with its word."""
        from ratbond.clients import commands
        from ratbond.engine import public_key
        from ratbond.models import HostPort

        words = []
        for number in range(1, len(self.clients) + 1):
            line = commands.add(self.file, f"client-{number}", HostPort(SERVER, PORT), {}, public_key)
            path = self.directory / f"{number}.join"
            path.touch(mode=0o600)
            path.write_text(line.split()[0].removeprefix("RATBOND_JOIN="))
            words.append(path)
        return words

    def start(self, host: Host, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("w") as log:
            flags = ("--nosyslog", "--stats-interval=0", "--http-listen-addr=disable")
            command = (RATBOND, *arguments, *flags)
            return host.popen(*command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def wait(self, name: str, words: str, count: int) -> float:
        """When a log has held some words this many times; seconds of the monotonic clock."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.log(name).count(words) < count:
            if time.monotonic() > deadline_s:
                raise SystemExit(
                    f"{name}: {words!r} only {self.log(name).count(words)} times of {count} after {PATIENCE_S:.0f} s"
                )
            time.sleep(0.01)
        return time.monotonic()

    def unreachable(self, numbers: list[int], address_for: Callable[[int], str] | None = None) -> list[int]:
        """Those of these clients that get no echo from the server through their tunnels.

        ``address_for`` gives the server's address there; without it, as `ratbond client add` has it.
        """
        address_for = address_for or server_inner_ipv4

        def is_lost(number: int) -> bool:
            ping = ("ping", "-c", "1", "-W", "1", address_for(number))
            return self.clients[number - 1].run(*ping, check=False).returncode != 0

        with ThreadPoolExecutor(8) as pool:
            return [number for number, lost in zip(numbers, pool.map(is_lost, numbers), strict=True) if lost]


def server_inner_ipv4(number: int) -> str:
    """The server's address in the tunnel of client `number`."""
    return str(IPv4Address("10.66.0.1") + 4 * (number - 1))


@contextmanager
def bench_of(clients: int) -> Iterator[Bench]:
    prefix = f"rb-bench-{os.getpid()}"
    hosts = [Host(f"{prefix}-c{number}") for number in range(1, clients + 1)]
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Host(f"{prefix}-s"), hosts, Path(directory))
        try:
            bench.build()
            yield bench
        finally:
            for host in (bench.server, *bench.clients):
                if host.namespace in netns.listnetns():
                    for pid in host.pids():
                        os.kill(pid, 9)
                    host.reap()
                    netns.remove(host.namespace)


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=100)
    count = parser.parse_args().clients
    with bench_of(count) as bench:
        words = bench.invite()
        alone = bench.start(
            bench.server, "alone", "server", f"--clients-file={bench.file}", f"--listen-addr=0.0.0.0:{PORT}"
        )
        bench.wait("alone", "listening", 1)
        time.sleep(1)
        idle = Process.of(alone.pid)
        alone.terminate()
        alone.wait()

        clients = []
        for number, (host, word) in enumerate(zip(bench.clients, words, strict=True), 1):
            clients.append(bench.start(host, f"client-{number}", "client", f"--join-file={word}"))
            if number > STARTING:  # a few at a time: it is not the start of Python that is measured
                bench.wait(f"client-{number - STARTING}", "no answer from", 1)
        for number in range(max(1, count - STARTING), count + 1):
            bench.wait(f"client-{number}", "no answer from", 1)
        print(f"{count} client processes knock")

        server = bench.start(
            bench.server, "server", "server", f"--clients-file={bench.file}", f"--listen-addr=0.0.0.0:{PORT}"
        )
        listening_s = bench.wait("server", "listening", 1)
        up_s = bench.wait("server", "the bond is up", count) - listening_s
        handshakes = Process.of(server.pid)
        print(
            f"all handshakes done after {up_s:.2f} s; the server has used {handshakes.cpu_s:.2f} s of CPU since its start"
        )

        lost = bench.unreachable(list(range(1, count + 1)))
        while lost and time.monotonic() < listening_s + PATIENCE_S:
            lost = bench.unreachable(lost)
        seconds = time.monotonic() - listening_s
        print(
            f"reachable through their tunnels: {count - len(lost)} of {count}, the last within {seconds:.0f} s"
        )
        before = Process.of(server.pid)
        time.sleep(20)
        full = Process.of(server.pid)
        each = [Process.of(client.pid) for client in clients]
        rss, private = (
            sum(values) / count for values in ([p.rss_mb for p in each], [p.private_mb for p in each])
        )
        print(
            f"server: {idle.rss_mb:.1f} MB with no client connected, {full.rss_mb:.1f} MB with {count}: ",
            end="",
        )
        print(f"{1000 * (full.rss_mb - idle.rss_mb) / count:.0f} kB a client")
        print(f"server with {count} idle clients: {100 * (full.cpu_s - before.cpu_s) / 20:.1f} % of a core")
        print(f"a client process: {rss:.1f} MB, {private:.1f} MB of it its own")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
