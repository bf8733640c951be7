"""What a contender is, and what several of them need."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratbond.lab import Host, Lab, Link
from scenarios.catalogue import Scenario
from scenarios.errors import BenchError

PATIENCE_S = 40.0
_STOP_WITHIN_S = 10.0
# For those that let the user choose; ratbond's own differ.
CLIENT_IPV4 = "10.200.0.2"
SERVER_IPV4 = "10.200.0.1"


@dataclass
class Place:
    """Where a contender is started: a lab with the scenario's links, and a folder for its files and logs."""

    lab: Lab
    scenario: Scenario
    folder: Path
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    def start(self, host: Host, *command: str, name: str, env: dict[str, str] | None = None) -> None:
        """Start a program; what it says goes to a log in the folder."""
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes.append(
                host.popen(
                    *command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env={**os.environ, **(env or {})},
                )
            )

    def write(self, name: str, text: str) -> str:
        """Write a file that only root reads, as secrets need, and return its path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def device(self, prefix: str, role: str, number: int = 0) -> str:
        """Name a device as no other on this machine: some programs' control sockets are named after it alone."""
        return f"{prefix}{os.getpid()}{role[0]}{number}"

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that a program does.

        Raises:
            BenchError: it did not come to pass in time, or a program ended.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            ended = [process for process in self.processes if process.poll() not in (None, 0)]
            if ended or time.monotonic() > deadline_s:
                raise BenchError(f"{what}: not within {PATIENCE_S:g} s; {self._last_words()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the programs, the last started first."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _last_words(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        said = [(log.stem, log.read_text(errors="replace").strip().splitlines()) for log in logs]
        return "; ".join(f"{name}: {lines[-1]}" for name, lines in said if lines) or "nobody said why"


@dataclass(frozen=True)
class Tunnel:
    """A tunnel that is up. The devices are those that inner packets cross."""

    client_ipv4: str
    server_ipv4: str
    client_devices: list[str]
    server_devices: list[str]
    restored: Callable[[Link], None] = lambda _link: None  # told when a link's interface is up again
    aqm_drops: Callable[[], int] = lambda: 0  # packets dropped on purpose so far, by both ends


class Contender(ABC):
    """A way to use the links."""

    name: str
    words: str  # for the table's legend
    is_ours = False

    def missing(self) -> str | None:
        """Say in one line what it needs and does not find; ``None`` when it can run."""
        return None

    @abstractmethod
    def start(self, place: Place) -> Tunnel:
        """Start both ends, and wait until packets cross.

        Raises:
            BenchError: it did not come up.
        """


def program(variable: str, *, name: str = "") -> str | None:
    """Find a program: the path that an environment variable gives, or a name in PATH."""
    return os.environ.get(variable) or (shutil.which(name) if name else None)


def missing_program(variable: str, *, name: str = "", what: str) -> str | None:
    """Say why a program cannot run, or ``None``."""
    path = program(variable, name=name)
    if path is None:
        return f"{variable} gives no path of {what}"
    return None if os.access(path, os.X_OK) else f"{variable}={path} is not a program"


def pings(host: Host, address: str) -> bool:
    """Whether a ping comes back within a second."""
    return host.run("ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def has_device(host: Host, device: str) -> Callable[[], bool]:
    """Whether a device is there."""
    return lambda: host.run("ip", "link", "show", "dev", device, check=False).returncode == 0


def answer_from_public_address(lab: Lab) -> None:
    """Let programs that answer from the address that routing prefers answer from the one the client asked."""
    for link in lab.links:
        network = link.ipv4.rpartition(".")[0] + ".0/24"
        lab.server.ip(f"route replace {network} dev isp{link.number} src {lab.server_ipv4}")


def route_by_source(lab: Lab) -> None:
    """Give each link a routing table for what has its address, for programs that bind to addresses."""
    for link in lab.links:
        lab.client.ip(f"rule add from {link.ipv4} table {100 + link.number}")
        restore_route_by_source(lab, link)


def restore_route_by_source(lab: Lab, link: Link) -> None:
    """Bring the link's own default route back."""
    lab.client.ip(f"route replace default via {link.gateway_ipv4} dev {link.name} table {100 + link.number}")


def give_addresses(lab: Lab, client_device: str, server_device: str, *, mtu_bytes: int | None = None) -> None:
    """Address both ends of a tunnel that leaves that to the user."""
    mtu = f" mtu {mtu_bytes}" if mtu_bytes else ""
    for host, device, own, peer in (
        (lab.client, client_device, CLIENT_IPV4, SERVER_IPV4),
        (lab.server, server_device, SERVER_IPV4, CLIENT_IPV4),
    ):
        host.ip(f"addr replace {own} peer {peer} dev {device}", f"link set {device} up{mtu}")
