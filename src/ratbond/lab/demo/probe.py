"""A call over the bond: 200 numbered datagrams a second to the server, which sends each back.

It is a process of its own, so that nobody else's work delays its clock::

    python -m ratbond.lab.demo.probe CLIENT-NAMESPACE SERVER-NAMESPACE SERVER-ADDRESS

It calls until its standard input ends, and says a line of JSON four times a second (:class:`Progress`); the last line is
the whole story (:class:`Trace`). Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise

from ratbond.lab.host import Host

PACKETS_PER_S = 200
PAYLOAD_BYTES = 160  # 20 ms of a G.711 call
_PORT = 7000
_STRAGGLERS_S = 1.0  # how long the last ones may take to come back
_TELL_EVERY_S = 0.25


@dataclass(frozen=True)
class Progress:
    """How the call goes."""

    sent: int
    returned: int


@dataclass(frozen=True)
class Trace:
    """Everything that was sent, and what came back."""

    sent: int
    returned: tuple[tuple[int, float], ...]  # number and time, as they came

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """Read the probe's last line."""
        said = json.loads(text)
        return cls(said["sent"], tuple((number, at_s) for number, at_s in said["returned"]))

    @property
    def lost(self) -> int:
        """How many never came back."""
        return self.sent - len({number for number, _ in self.returned})

    @property
    def twice(self) -> int:
        """How many came back more than once, counted each time."""
        return len(self.returned) - len({number for number, _ in self.returned})

    def longest_silence_s(self, since_s: float, until_s: float) -> float:
        """The longest time without an arrival, of those that touch the time between these two moments.

        A silence that began before counts from its beginning, and one that ends later up to its end: neither moment
        cuts a gap short. Where nothing came before or after, the moment itself is the bound.
        """
        arrivals = [at_s for _, at_s in self.returned]
        before = [at_s for at_s in arrivals if at_s <= since_s]
        after = [at_s for at_s in arrivals if at_s >= until_s]
        within = [at_s for at_s in arrivals if since_s < at_s < until_s]
        moments = [max(before, default=since_s), *within, min(after, default=until_s)]
        return max(later - earlier for earlier, later in pairwise(moments))


def call(client: socket.socket, server: socket.socket, address: str) -> Trace:
    """Send, echo and listen until standard input ends."""
    returned: list[tuple[int, float]] = []
    numbers: set[int] = set()
    sent = 0
    began_s = time.monotonic()
    told_s = began_s
    stop_s: float | None = None
    while True:
        now_s = time.monotonic()
        if stop_s is None:
            while now_s >= began_s + sent / PACKETS_PER_S:
                # What the kernel refuses, because there is no way just now, is lost like any other.
                with contextlib.suppress(OSError):
                    client.sendto(sent.to_bytes(8, "big") + bytes(PAYLOAD_BYTES - 8), (address, _PORT))
                sent += 1
        elif now_s >= stop_s or len(numbers) == sent:
            return Trace(sent, tuple(returned))
        if now_s >= told_s + _TELL_EVERY_S:
            told_s = now_s
            print(json.dumps(asdict(Progress(sent, len(numbers)))), flush=True)
        due_s = (stop_s or began_s + sent / PACKETS_PER_S) - now_s
        listened = [client, server] if stop_s else [client, server, sys.stdin]
        ready, _, _ = select.select(listened, [], [], max(0.0, due_s))
        if server in ready:
            _echo(server)
        if client in ready:
            number = int.from_bytes(client.recv(2048)[:8], "big")
            returned.append((number, time.monotonic()))
            numbers.add(number)
        if sys.stdin in ready:
            stop_s = time.monotonic() + _STRAGGLERS_S


def _echo(server: socket.socket) -> None:
    data, sender = server.recvfrom(2048)
    with contextlib.suppress(OSError):  # see above
        server.sendto(data, sender)


def main() -> None:
    """Run the process; see the module's text."""
    client_namespace, server_namespace, address = sys.argv[1:]
    with (
        Host(client_namespace).socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        Host(server_namespace).socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        server.bind(("", _PORT))
        client.bind(("", _PORT))
        with contextlib.suppress(BrokenPipeError):  # the demo has ended
            print(json.dumps(asdict(call(client, server, address))), flush=True)


if __name__ == "__main__":
    main()
