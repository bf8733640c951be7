"""The programs that are measured, each as it is usually run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratbond.lab import Host
from ratbond.lab.host import run

from .wires import SERVER_IPV4, Wires, wired

BUILD = Path(__file__).resolve().parent.parent.parent / "target"
RATBOND = str(Path(sys.executable).with_name("ratbond"))
_SECRET = "a passphrase of the benchmark"
_PATIENCE_S = 30.0
_INNER = ("10.200.0.2", "10.200.0.1")  # the client's and the server's, for those that let the user choose
WIREGUARD_MTU = 1_420
_PLAIN_MTU = 1_472  # 1,500 less IPv4 and UDP


class BenchError(Exception):
    """Something could not be measured; the text is one line for the user."""


@dataclass
class Running:
    """A program that runs at both ends, or nothing where packets go through the link itself."""

    wires: Wires
    folder: Path
    client_ipv4: str = ""
    server_ipv4: str = ""
    processes: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)

    def start(self, end: str, *command: str) -> None:
        """Start a program at an end: ``client`` or ``server``."""
        host = self.host(end)
        with (self.folder / f"{end}.log").open("w") as log:
            self.processes[end] = host.popen(
                *command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def host(self, end: str) -> Host:
        """The host of an end."""
        return self.wires.client if end == "client" else self.wires.server

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the programs do.

        Raises:
            BenchError: it did not come to pass, or one of them ended.
        """
        deadline_s = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > deadline_s or any(p.poll() is not None for p in self.processes.values()):
                said = [(self.folder / f"{end}.log").read_text().strip()[-200:] for end in self.processes]
                raise BenchError(f"{what}: not within {_PATIENCE_S:g} s; they said: {said}")
            time.sleep(0.1)

    def wait_for_ping(self) -> None:
        """Wait until a packet comes back through it."""
        ping = ("ping", "-c", "1", "-W", "1", self.server_ipv4)
        self.wait(lambda: self.wires.client.run(*ping, check=False).returncode == 0, "a ping")

    def write(self, name: str, text: str) -> str:
        """Write a file that only root reads."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    def address(self, device: str, mtu: int) -> None:
        """Give both ends of a device their inner addresses."""
        self.client_ipv4, self.server_ipv4 = _INNER
        for end, own, peer in (("client", *_INNER), ("server", *reversed(_INNER))):
            self.wait(lambda end=end: has_device(self.host(end), device), f"{device} at the {end}")  # type: ignore[misc]
            self.host(end).ip(
                f"addr replace {own} peer {peer} dev {device}", f"link set {device} up mtu {mtu}"
            )


class Tunnel(ABC):
    """A way from one host to the other."""

    name: str
    words: str
    links = 1

    def missing(self) -> str | None:
        """Say in one line what it needs and does not find; ``None`` when it can run."""
        return None

    @abstractmethod
    def start(self, running: Running) -> None:
        """Start both ends, and wait until packets cross."""

    @contextmanager
    def up(self) -> Iterator[Running]:
        """Run it between two fresh hosts."""
        with tempfile.TemporaryDirectory(prefix="rb-fast-") as folder, wired(self.links) as wires:
            running = Running(wires, Path(folder))
            self.start(running)
            yield running


class Veth(Tunnel):
    """No tunnel."""

    name = "veth"
    words = "no tunnel: one veth link, with the kernel's segmentation offload"

    def start(self, running: Running) -> None:
        """Nothing to start."""
        running.client_ipv4, running.server_ipv4 = running.wires.client_ipv4(1), running.wires.server_ipv4(1)


class OffloadLimit(Tunnel):
    """The reference of our own."""

    name = "offload-limit"
    words = "crates/ratbond-io/examples/plain_tunnel.rs: TUN and UDP segmentation offload, no crypto, no protocol; one link"

    @property
    def _program(self) -> Path:
        return Path(os.environ.get("CARGO_TARGET_DIR", BUILD)) / "release" / "examples" / "plain_tunnel"

    def missing(self) -> str | None:
        """The Makefile's target builds it."""
        built = self._program.exists()
        return None if built else "cargo build --release -p ratbond-io --example plain_tunnel"

    def start(self, running: Running) -> None:
        """One thread at each end."""
        client, server = (f"{address}:5000" for address in _outer(running.wires))
        running.start("server", str(self._program), "plain0", server, client)
        running.start("client", str(self._program), "plain0", client, server)
        running.address("plain0", _PLAIN_MTU)
        running.wait_for_ping()


class Ours(Tunnel):
    """This program, in its ways."""

    def __init__(self, name: str, words: str, *flags: str, links: int = 1) -> None:
        self.name, self.words, self.links, self._flags = name, words, links, flags

    def start(self, running: Running) -> None:
        """Wait until all links are up."""
        flags = (*self._flags, "--nosyslog", "--http-listen-addr=disable", "--stats-interval=0")
        running.start("server", RATBOND, "server", *flags)
        connect = (f"--connect-addr={SERVER_IPV4}:12345", "--no-default-route")
        running.start("client", RATBOND, "client", *connect, *flags)
        running.client_ipv4, running.server_ipv4 = "10.10.10.2", "10.10.10.1"
        running.wait(lambda: _log(running, "client").count("joined the bond") >= self.links, "the links")
        running.wait_for_ping()


class Wireguard(Tunnel):
    """What most people use on one link."""

    name = "wireguard-go"
    words = "wireguard-go, ChaCha20-Poly1305, one link"
    program = os.environ.get("WIREGUARD_GO", "wireguard-go")

    def missing(self) -> str | None:
        """Two packages."""
        return _missing(self.program, "wg")

    def start(self, running: Running) -> None:
        """Keys, both ends, one peer each."""
        keys = {end: wireguard_keys() for end in ("server", "client")}
        addresses = dict(zip(("client", "server"), _outer(running.wires), strict=True))
        for end, other in (("server", "client"), ("client", "server")):
            # The control socket is named after the device alone, and stands in a directory that all namespaces share.
            device = f"wg{os.getpid()}{end[0]}"
            running.start(end, self.program, "--foreground", device)
            running.wait(lambda end=end, device=device: has_device(running.host(end), device), device)  # type: ignore[misc]
            lines = ["[Interface]", f"PrivateKey = {keys[end][0]}", "ListenPort = 51820"]
            lines += ["[Peer]", f"PublicKey = {keys[other][1]}", "AllowedIPs = 0.0.0.0/0"]
            lines += [f"Endpoint = {addresses[other]}:51820"]
            file = running.write(f"{end}.conf", "\n".join(lines) + "\n")
            running.wait(
                lambda end=end, device=device, file=file: (  # type: ignore[misc]
                    running.host(end).run("wg", "setconf", device, file, check=False).returncode == 0
                ),
                f"{device} takes its settings",
            )
            running.host(end).ip(f"link set {device} name wg0")
        running.address("wg0", WIREGUARD_MTU)
        running.wait_for_ping()


class Openvpn(Tunnel):
    """Its userspace packet path; the kernel module (DCO) is not asked for."""

    name = "openvpn"
    words = "Debian's OpenVPN in userspace, AES-256-GCM, UDP, one link"

    def missing(self) -> str | None:
        """Two packages."""
        return _missing("openvpn", "openssl")

    def start(self, running: Running) -> None:
        """TLS with certificates that sign themselves, each trusting the other's fingerprint."""
        addresses = dict(zip(("client", "server"), _outer(running.wires), strict=True))
        prints = {end: _certificate(running, end) for end in ("client", "server")}
        for end, other, inner in (
            ("server", "client", tuple(reversed(_INNER))),
            ("client", "server", _INNER),
        ):
            role = "--tls-server" if end == "server" else "--tls-client"
            dh = ("--dh", "none") if end == "server" else ()
            files = ("--cert", f"{end}.crt", "--key", f"{end}.key", "--peer-fingerprint", prints[other])
            way = (
                "--proto",
                "udp",
                "--remote",
                addresses[other],
                "--local",
                addresses[end],
                "--port",
                "1194",
            )
            data = ("--dev", "tun", "--ifconfig", *inner, "--disable-dco", "--data-ciphers", "AES-256-GCM")
            running.start(end, "openvpn", role, *dh, *files, *way, *data, "--cipher", "AES-256-GCM")
        running.client_ipv4, running.server_ipv4 = _INNER
        running.wait_for_ping()


class Stock(Tunnel):
    """Another ratbond, by its path."""

    name = "stock"
    words = "stock ratbond by path, AES, consistent, one link"

    def __init__(self, path: str) -> None:
        self._path = path

    def missing(self) -> str | None:
        """Whether it can be run."""
        return None if os.access(self._path, os.X_OK) else f"{self._path} is not a program"

    def start(self, running: Running) -> None:
        """It answers from the address that routing prefers, so it is asked at the link's own."""
        flags = "--tunnel-id=660 --balance-consistent --aes --secret=verysecret --nosyslog --http-listen-addr=disable"
        wires = running.wires
        wires.client.ip(
            f"rule add from {wires.client_ipv4(1)} table 6",
            f"route add default via {wires.server_ipv4(1)} dev wan1 src {wires.client_ipv4(1)} table 6",
        )
        resolver = running.write("resolv.conf", "nameserver 127.0.0.1\n")
        for end, where in (
            ("server", "--listen-addr=0.0.0.0:12345"),
            ("client", f"--connect-addr={running.wires.server_ipv4(1)}:12345"),
        ):
            command = f"{shlex.quote(str(Path(self._path).resolve()))} {end} {where} {flags}"
            script = f"mount --bind {shlex.quote(resolver)} /etc/resolv.conf && exec {command}"
            running.start(end, "unshare", "--mount", "sh", "-c", script)
        running.client_ipv4, running.server_ipv4 = "10.10.10.1", "10.10.10.2"
        running.wait_for_ping()


def all_tunnels(stock: str | None) -> list[Tunnel]:
    """List them, ours last."""
    sealed = f"--secret={_SECRET}"
    ours = [
        Ours("bond-1", "ratbond, sealed (bond/1, AES-256-GCM), one link", sealed),
        Ours("bond-2", "ratbond, sealed, one bond of two links", sealed, links=2),
        Ours("kcp", "ratbond, `--protocol kcp`, plain, one link", "--protocol=kcp"),
    ]
    return [Veth(), OffloadLimit(), Wireguard(), Openvpn(), *([Stock(stock)] if stock else []), *ours]


def _outer(wires: Wires) -> tuple[str, str]:
    return wires.client_ipv4(1), wires.server_ipv4(1)


def _log(running: Running, end: str) -> str:
    return (running.folder / f"{end}.log").read_text()


def has_device(host: Host, device: str) -> bool:
    """Whether a host has a device of this name."""
    return host.run("ip", "link", "show", "dev", device, check=False).returncode == 0


def _missing(*programs: str) -> str | None:
    gone = [program for program in programs if shutil.which(program) is None]
    return f"{' and '.join(gone)} not installed; scripts/bootstrap throughput brings it" if gone else None


def wireguard_keys() -> tuple[str, str]:
    """Make a private key and its public one."""
    private = run(["wg", "genkey"]).stdout.strip()
    return private, run(["wg", "pubkey"], input_text=private + "\n").stdout.strip()


def _certificate(running: Running, end: str) -> str:
    files = ("-keyout", str(running.folder / f"{end}.key"), "-out", str(running.folder / f"{end}.crt"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run(["openssl", "req", "-x509", *kind, *files, "-subj", f"/CN={end}"])
    told = run(["openssl", "x509", "-in", files[3], "-noout", "-fingerprint", "-sha256"])
    return told.stdout.strip().partition("=")[2]
