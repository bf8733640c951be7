"""One server and some clients in namespaces of their own, without emulation:

client n: wan1 198.18.n.2/30 ═══ c<n> 198.18.n.1/30 :server, 203.0.113.1 on its lo
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

from ratbond.lab import Host
from tests.net.bond import RATBOND, End, until

SERVER = "203.0.113.1"
PORT = 12345


class Hub:
    """The namespaces, the clients file, and what runs."""

    def __init__(self, directory: Path, clients: int) -> None:
        self._directory = directory
        self._prefix = f"rb-cli-{os.getpid()}"
        self.server = Host(f"{self._prefix}-s")
        self.clients = [Host(f"{self._prefix}-c{n}") for n in range(1, clients + 1)]
        self.file = directory / "clients.toml"
        self.ends: list[End] = []
        self.daemon: End

    @property
    def namespaces(self) -> list[str]:
        return [self.server.namespace, *(client.namespace for client in self.clients)]

    def build(self) -> None:
        for name in self.namespaces:
            netns.create(name)
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

    def invite(self, name: str, *flags: str) -> Path:
        """`ratbond client add`; a file with the word that it printed."""
        printed = self.server.run(
            *RATBOND, "client", "add", name, f"--clients-file={self.file}", f"--server-addr={SERVER}:{PORT}", *flags
        ).stdout  # fmt: skip
        word = printed.split()[0].removeprefix("RATBOND_JOIN=")
        path = self._directory / f"{name}.join"
        path.touch(mode=0o600)
        path.write_text(word)
        return path

    def manage(self, *arguments: str) -> str:
        return self.server.run(*RATBOND, "client", *arguments, f"--clients-file={self.file}").stdout

    def edit(self, before: str, after: str) -> None:
        text = self.file.read_text()
        assert before in text
        self.file.write_text(text.replace(before, after))

    def start(self, host: Host, *arguments: str) -> End:
        log = self._directory / f"{len(self.ends)}-{arguments[0]}.log"
        self.ends.append(End(host, *arguments, log=log))
        return self.ends[-1]

    def serve(self, *flags: str) -> End:
        self.daemon = self.start(
            self.server, "server", f"--clients-file={self.file}", f"--listen-addr=0.0.0.0:{PORT}", *flags
        )
        until(lambda: "listening" in self.daemon.log, self.daemon)
        return self.daemon

    def join(self, number: int, word: Path) -> End:
        """A client in the namespace of this number, once it can ping the server through its tunnel."""
        return self.start(self.clients[number - 1], "client", f"--join-file={word}")

    def reload(self) -> None:
        read = self.daemon.log.count("read the clients again") + self.daemon.log.count(
            "clients are as before"
        )
        self.daemon.process.send_signal(signal.SIGHUP)

        def answered() -> bool:
            log = self.daemon.log
            return log.count("read the clients again") + log.count("clients are as before") > read

        until(answered, self.daemon)

    def status(self, name: str) -> dict[str, Any]:
        """What the server says of a client."""
        clients: list[dict[str, Any]] = self.daemon.status()["clients"]
        return next(client for client in clients if client["name"] == name)

    def devices(self) -> set[str]:
        """The server's tuns."""
        listed = json.loads(self.server.run("ip", "-j", "link").stdout)
        return {link["ifname"] for link in listed if link["ifname"].startswith("tun")}


def pings(host: Host, destination: str, *options: str) -> bool:
    return host.run("ping", "-c", "1", "-W", "1", *options, destination, check=False).returncode == 0


@contextmanager
def hub_of(directory: Path, clients: int) -> Iterator[Hub]:
    hub = Hub(directory, clients)
    try:
        hub.build()
        yield hub
        for end in hub.ends:
            if end.process.poll() is None:
                end.stop()
            assert "Traceback" not in end.log
    finally:
        for end in hub.ends:
            if end.process.poll() is None:
                end.process.kill()
        for name in hub.namespaces:
            if name in netns.listnetns():
                netns.remove(name)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A server and three clients; nothing runs yet."""
    with hub_of(tmp_path, 3) as made:
        yield made
