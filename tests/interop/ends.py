"""The two ends of a tunnel in a lab, either of them ours or a stock ratbond: both take the same flags.

rb-NAME-cli                                  rb-NAME-srv
client ── wan1 10.77.1.2 ──(emulator)── isp1 ── server at 203.0.113.1
       └─ wan2 10.77.2.2 ──(emulator)── isp2 ┘
"""

import json
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ratbond.lab import CommandError, Host, Lab, Link
from tests.net.bond import SWITCHES

Role = Literal["client", "server"]

OURS = Path(sys.executable).parent / "ratbond"
PORT = 12345
# Towards a stock peer an end has the address that stock would have in its place.
CLIENT_IPV4 = "10.10.10.1"
SERVER_IPV4 = "10.10.10.2"
PATIENCE_S = 25.0
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in Python's socket module


@dataclass(frozen=True)
class Mode:
    """What both ends are told alike."""

    secret: str | None = None
    balance: Literal["consistent", "roundrobin"] = "consistent"
    mux: int = 1

    def __str__(self) -> str:
        return f"{'aes' if self.secret else 'plain'}-{self.balance}" + (
            f"-mux{self.mux}" if self.mux > 1 else ""
        )

    def flags(self) -> list[str]:
        secret = ["--aes", f"--secret={self.secret}"] if self.secret else []
        return ["--tunnel-id=660", f"--balance-{self.balance}", f"--mux={self.mux}", "--nosyslog", *secret]


def arguments(role: Role, lab: Lab, mode: Mode) -> list[str]:
    where = (
        f"--listen-addr=0.0.0.0:{PORT}" if role == "server" else f"--connect-addr={lab.server_ipv4}:{PORT}"
    )
    return [role, where, "--http-listen-addr=disable", *mode.flags()]


def host_of(role: Role, lab: Lab) -> Host:
    return lab.client if role == "client" else lab.server


def start_verbatim(role: Role, lab: Lab, words: list[str], log: Path) -> "subprocess.Popen[Any]":
    """Ours, with these words."""
    with log.open("w") as output:
        return host_of(role, lab).popen(str(OURS), *words, *SWITCHES, stdout=output, stderr=subprocess.STDOUT)


def start_ours(role: Role, lab: Lab, mode: Mode, log: Path) -> "subprocess.Popen[Any]":
    command = [str(OURS), *arguments(role, lab, mode), "--protocol=kcp", *SWITCHES]
    with log.open("w") as output:
        return host_of(role, lab).popen(*command, stdout=output, stderr=subprocess.STDOUT)


@contextmanager
def syslog(directory: Path) -> Iterator[Path]:
    """A system log that takes everything and keeps nothing: a stock ratbond without --nosyslog ends where there is none."""
    path = directory / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.settimeout(0.2)
        done = threading.Event()

        def swallow() -> None:
            while not done.is_set():
                with suppress(TimeoutError):
                    ear.recv(65536)

        thread = threading.Thread(target=swallow)
        thread.start()
        try:
            yield path
        finally:
            done.set()
            thread.join()


def start_stock(
    binary: Path,
    role: Role,
    lab: Lab,
    words: list[str],
    log: Path,
    server_address: str = Lab.server_ipv4,
    system_log: Path | None = None,
) -> "subprocess.Popen[Any]":
    """Starts a stock ratbond in the surroundings that it expects.

    Its client takes its links from default routes with a source outside the main table. It asks the web for its
    address before each connection: a name service that refuses at once lets it go on. Its server answers from the
    address that routing prefers, which must be the one the client asked for. Without --nosyslog it needs a system log.
    """
    if role == "client":
        for link in lab.links:
            lab.client.ip(f"rule add from {link.ipv4} table {table(link)}")
            lab.client.ip(stock_route(link))
    else:
        for link in lab.links:
            network = link.ipv4.rpartition(".")[0] + ".0/24"
            lab.server.ip(f"route replace {network} dev isp{link.number} src {server_address}")
    resolver = log.with_suffix(".resolv")
    resolver.write_text("nameserver 127.0.0.1\n")
    command = shlex.join([str(binary), *words])
    script = f"mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && "
    if system_log:
        script += f"mount -t tmpfs run /run && touch /run/log && mount --bind {shlex.quote(str(system_log))} /run/log && "
    script += f"exec {command}"
    with log.open("w") as output:
        return host_of(role, lab).popen(
            "unshare", "--mount", "sh", "-c", script, stdout=output, stderr=subprocess.STDOUT
        )


def table(link: Link) -> int:
    return 5 + link.number


def stock_route(link: Link) -> str:
    return (
        f"route replace default via {link.gateway_ipv4} dev {link.name} src {link.ipv4} table {table(link)}"
    )


def pings(host: Host, address: str) -> bool:
    return host.run("ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Waits until the condition holds; how fast it is, is measured elsewhere."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)


def carries_both_ways(link: Link) -> Callable[[], bool]:
    """Whether anything has come through the link in both directions from now on: HELLO, if nothing else."""
    before = link.stats()

    def carries() -> bool:
        now = link.stats()
        return all(
            now[way]["delivered_packets"] >= before[way]["delivered_packets"] + 3 for way in ("up", "down")
        )

    return carries


@dataclass
class Bond:
    """A tunnel over a lab's links, both ends running."""

    lab: Lab
    stock: Role | None
    _iperf_server: "subprocess.Popen[Any] | None" = None

    def is_up(self) -> bool:
        return pings(self.lab.client, SERVER_IPV4) and pings(self.lab.server, CLIENT_IPV4)

    def wait_until_up(self) -> None:
        eventually(self.is_up, "the tunnel carries a ping in both directions")

    def restore(self, link: Link) -> None:
        """Sets an interface up again, with the routes that a DHCP client would bring."""
        link.interface_up()
        if self.stock == "client":
            self.lab.client.ip(stock_route(link))

    def wait_until_joined(self, link: Link) -> None:
        eventually(carries_both_ways(link), f"{link.name} is back in the bond")

    def start_iperf(self, *flags: str) -> "subprocess.Popen[Any]":
        """Starts iperf3 from the client to the server through the tunnel; its report is JSON."""
        if self._iperf_server is not None:
            self._iperf_server.wait(timeout=10)  # it may still listen, and then serves nobody
        self._iperf_server = self.lab.server.popen(
            "iperf3", "-s", "-1", "-B", SERVER_IPV4, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        listening = f"src {SERVER_IPV4}:5201"
        eventually(
            lambda: bool(self.lab.server.run("ss", "-Hltn", *listening.split()).stdout.strip()),
            "iperf3 listens",
        )
        return self.lab.client.popen(
            "iperf3", "-c", SERVER_IPV4, "-J", *flags, stdout=subprocess.PIPE, text=True
        )

    def iperf(self, *flags: str) -> dict[str, Any]:
        return finished(self.start_iperf(*flags))


def finished(iperf: "subprocess.Popen[Any]") -> dict[str, Any]:
    output, _ = iperf.communicate(timeout=90)
    report: dict[str, Any] = json.loads(output)
    if "error" in report:
        raise CommandError(report["error"])
    return report


def numbers_that_arrive(sender: Host, receiver: Host, address: str, count: int) -> list[int]:
    """Sends numbered UDP datagrams to the receiver's address and gives the numbers that arrive."""
    with (
        sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        receiver.socket(socket.AF_INET, socket.SOCK_DGRAM) as into,
    ):
        into.bind((address, 0))
        return _exchange(out, into.getsockname(), into, count)


def numbers_that_return(sender: Host, address: str, count: int) -> list[int]:
    """Sends numbered UDP datagrams to an address that reflects them and gives the numbers that come back."""
    with sender.socket(socket.AF_INET, socket.SOCK_DGRAM) as both:
        return _exchange(both, (address, 7), both, count)


def _exchange(out: socket.socket, to: tuple[str, int], into: socket.socket, count: int) -> list[int]:
    """1,200 bytes each, at most 500 a second; waits 2 s for the last."""
    arrived: list[int] = []

    def take() -> bool:
        try:
            arrived.append(int.from_bytes(into.recv(2048)[:4], "big"))
        except TimeoutError:
            return False
        return True

    # What a repaired loss held up comes all at once.
    into.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    into.settimeout(0.002)
    for number in range(count):
        out.sendto(number.to_bytes(4, "big") + bytes(1196), to)
        take()
    into.settimeout(2.0)
    while len(arrived) < count and take():
        pass
    return arrived
