"""This program, in its ways."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

from ratbond.lab import CommandError, Host

from .base import Contender, Place, Tunnel, pings

RATBOND = str(Path(sys.executable).with_name("ratbond"))
_SECRET = "a passphrase of the benchmark"
_PORT = 12345


class _Ours(Contender):
    is_ours = True
    only_first_link = False

    @abstractmethod
    def flags(self) -> list[str]:
        """What both ends are told alike."""

    def start(self, place: Place) -> Tunnel:
        """Start the command at both ends; wait until the status of each says that all links are up."""
        lab = place.lab
        both = [*self.flags(), "--nosyslog", f"--secret={_SECRET}"]
        place.start(lab.server, RATBOND, "server", *both, name="server")
        connect = [f"--connect-addr={lab.server_ipv4}:{_PORT}", "--no-default-route"]
        others = lab.links[1:] if self.only_first_link else ()
        wans = [f"--no-wan={link.name}" for link in others]
        place.start(lab.client, RATBOND, "client", *connect, *wans, *both, name="client")
        count = 1 if self.only_first_link else len(lab.links)
        place.wait(lambda: links_up(lab.client) == count == links_up(lab.server), f"{self.name} brings up")
        place.wait(lambda: pings(lab.client, "10.10.10.1"), f"{self.name} carries a ping")
        return Tunnel(
            client_ipv4="10.10.10.2",
            server_ipv4="10.10.10.1",
            client_devices=["tun660"],
            server_devices=["tun660"],
            aqm_drops=lambda: sum(aqm_drops(status(host)) for host in (lab.client, lab.server)),
        )


class Bond(_Ours):
    """Sealed links with one of the schedulers."""

    def __init__(self, scheduler: str) -> None:
        self.name = f"bond-{scheduler}"
        self.words = f"ratbond, sealed links, `--balance-{scheduler}`"
        self._flag = f"--balance-{scheduler}"

    def missing(self) -> str | None:
        """Ask the command whether it knows the scheduler."""
        return None if self._flag in help_text() else f"this ratbond has no {self._flag}"

    def flags(self) -> list[str]:
        """Sealed, with this scheduler."""
        return ["--protocol=bond", self._flag]


class Kcp(_Ours):
    """The stock program's protocol, with its AES."""

    name = "kcp"
    words = "ratbond, `--protocol kcp --aes`, consistent"

    def flags(self) -> list[str]:
        """As the stock contender has it."""
        return ["--protocol=kcp", "--aes", "--balance-consistent"]


class BestLink(_Ours):
    """The same tunnel over the best link only: what a bond must never fall behind."""

    name = "bond-one"
    words = "ratbond, sealed, over the best link alone"
    only_first_link = True

    def flags(self) -> list[str]:
        """The default scheduler."""
        return ["--protocol=bond"]


def status(host: Host) -> dict[str, Any]:
    """What ``ratbond status --json`` says; empty while nobody answers."""
    done = host.run(RATBOND, "status", "--json", check=False)
    try:
        said: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    except ValueError:
        raise CommandError(f"ratbond status said no JSON but: {done.stdout[:100]}") from None
    return said


def links_up(host: Host) -> int:
    """How many links are up, by the status."""
    links = [link for session in status(host).get("sessions", []) for link in session["links"]]
    return sum(link["state"] == "up" for link in links)


def aqm_drops(told: dict[str, Any]) -> int:
    """What the queues of all sessions dropped on purpose."""
    return sum(int(session["aqm_drops"]) for session in told.get("sessions", ()))


def help_text() -> str:
    """What the command says of its flags."""
    return subprocess.run(
        [RATBOND, "client", "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200"}
    ).stdout
