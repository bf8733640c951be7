"""The command at both ends of a lab, and what the tests send through it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratbond.lab import CommandError, Host, Lab

RATBOND = (sys.executable, "-m", "ratbond")
PORT = 12345
# What every end is started with, unless it says otherwise: set by pytest's --no-offload.
SWITCHES: list[str] = []
TUNNEL_IPV6 = "fd72:6174:626f:294::1"  # the server's, made from tunnel-id 660


@pytest.fixture(scope="session", autouse=True)
def offload_as_asked(request: pytest.FixtureRequest) -> None:
    """For every conftest.py whose tests start ends."""
    if request.config.getoption("--no-offload"):
        SWITCHES[:] = ["--no-offload"]


class End:
    """A running ``ratbond client`` or ``ratbond server`` and its log."""

    def __init__(
        self,
        host: Host,
        *arguments: str,
        log: Path,
        wrapper: tuple[str, ...] = (),
        verbatim: bool = False,
    ) -> None:
        self.host = host
        self._log = log
        with log.open("w") as output:
            self.process = host.popen(
                *wrapper,
                *RATBOND,
                *arguments,
                *_switches(arguments),
                *(() if verbatim else ("--nosyslog",)),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return int(self.process.wait(timeout=20))

    def status(self) -> dict[str, Any]:
        """What ``ratbond status --json`` prints."""
        result: dict[str, Any] = json.loads(self.host.run(*RATBOND, "status", "--json").stdout)
        return result

    def links_up(self) -> list[str]:
        """The names of the links that are up, by the status."""
        links = [link for session in self.status()["sessions"] for link in session["links"]]
        return sorted(link["name"] for link in links if link["state"] == "up")


def _switches(arguments: tuple[str, ...]) -> list[str]:
    chooses = {"--offload", "--no-offload"} & set(arguments)
    return [] if chooses or arguments[0] not in {"client", "server"} else SWITCHES


class Bond:
    """A lab with both ends running in it."""

    def __init__(self, lab: Lab, logs: Path) -> None:
        self.lab = lab
        self._logs = logs
        self._started = 0
        self.ends: list[End] = []

    def start(
        self, host: Host, *arguments: str, wrapper: tuple[str, ...] = (), verbatim: bool = False
    ) -> End:
        self._started += 1
        log = self.file(f"{self._started}-{arguments[0]}.log")
        self.ends.append(End(host, *arguments, log=log, wrapper=wrapper, verbatim=verbatim))
        return self.ends[-1]

    def file(self, name: str) -> Path:
        """A path of this test's own."""
        return self._logs / name

    def server(self, *arguments: str) -> End:
        return self.start(self.lab.server, "server", *arguments)

    def client(self, *arguments: str) -> End:
        return self.start(
            self.lab.client, "client", f"--connect-addr={self.lab.server_ipv4}:{PORT}", *arguments
        )

    def up(self, *flags: str) -> tuple[End, End]:
        """Both ends, once both links are up at both, and the addresses are there."""
        server, client = self.server(*flags), self.client(*flags)
        until(lambda: client.links_up() == ["wan1", "wan2"] and len(server.links_up()) == 2, client)
        until(lambda: self.ping() and self.ping(TUNNEL_IPV6), client)
        return server, client

    def close(self) -> None:
        """Stops what still runs. Nothing of it may have logged an error."""
        for end in self.ends:
            if end.process.poll() is None:
                end.stop()
            assert "Traceback" not in end.log
            assert " error: " not in end.log

    def ping(self, destination: str = "10.10.10.1", *options: str) -> bool:
        done = self.lab.client.run("ping", "-c", "1", "-W", "1", *options, destination, check=False)
        return done.returncode == 0


def until(condition: Callable[[], bool], end: End | None = None, limit_s: float = 30) -> None:
    """Waits for a condition; a program that is not up yet counts as: not yet."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if end and end.process.poll() is not None:
            pytest.fail(f"ratbond ended: {end.log}")
        try:
            if condition():
                return
        except (CommandError, OSError, ValueError) as error:
            del error
        time.sleep(0.05)
    pytest.fail(f"it never came to pass{f': {end.log}' if end else ''}")


class UdpStream:
    """Numbered datagrams from client to server through the tunnel, 200 a second."""

    def __init__(self, lab: Lab) -> None:
        self._receiver = lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("10.10.10.1", 7000))
        self._receiver.settimeout(3)
        self._sender = lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.bind(("10.10.10.2", 7001))
        self._running = True
        self.sent = 0
        self.received: set[int] = set()
        self.doubled = 0
        self.longest_silence_s = 0.0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while self._running:
            self._sender.sendto(self.sent.to_bytes(4, "big") + bytes(160), ("10.10.10.1", 7000))
            self.sent += 1
            time.sleep(0.005)

    def _receive(self) -> None:
        before_s = None
        try:
            while True:
                number = int.from_bytes(self._receiver.recv(2048)[:4], "big")
                now_s = time.monotonic()
                self.longest_silence_s = max(self.longest_silence_s, now_s - (before_s or now_s))
                before_s = now_s
                self.doubled += number in self.received
                self.received.add(number)
        except TimeoutError:
            return

    def finish(self) -> set[int]:
        """Stops, and gives the numbers of what was lost."""
        self._running = False
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()
        return set(range(self.sent)) - self.received
