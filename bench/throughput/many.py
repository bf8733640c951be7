"""A server with many clients, each a process with a key and a link of its own, all downloading at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clients import SERVER, Bench, bench_of, server_inner_ipv4

from ratbond.lab import Host

from .load import Listener, cpu_s, rss_mb
from .tunnels import WIREGUARD_MTU, BenchError, Wireguard, has_device, wireguard_keys

COUNTS = (1, 10, 100)
_WITHIN_S = 20.0
_WIREGUARD_ADDRESS = "10.9.0.254"


@dataclass(frozen=True)
class Fleet:
    """A server and its clients, which run and can reach it."""

    server: subprocess.Popen[bytes]
    clients: list[subprocess.Popen[bytes]]
    addresses: list[str]  # of the server, as each client reaches it
    bare_mb: float  # the server's memory without clients


@dataclass(frozen=True)
class Kind:
    """What such a server is, and how it is started."""

    label: Callable[[int], str]
    start: Callable[[Bench], Fleet]


def kinds(count: int) -> list[Kind]:
    """What is measured with so many clients: others beside ours only with the most, since they say nothing new before."""
    ours = Kind(str, _ratbond)
    if count < max(COUNTS):
        return [ours]
    others = [Kind(lambda count: f"{count}, `--workers=1`", partial(_ratbond, flags=("--workers=1",)))]
    if not Wireguard().missing():
        others.append(Kind(lambda count: f"{count} of wireguard-go", _wireguard))
    return [ours, *others]


def run(count: int, kind: Kind, seconds: int) -> dict[str, float]:
    """Measure a server with this many clients; the figures by name."""
    with bench_of(count) as bench:
        fleet = kind.start(bench)
        _until_reachable(bench, fleet)
        idle_mb = rss_mb(fleet.server.pid)
        listeners = [Listener(bench.server, address) for address in fleet.addresses]
        before = _costs(fleet)
        running = [
            listener.call(host, "-R", seconds=seconds)
            for listener, host in zip(listeners, bench.clients, strict=True)
        ]
        done = [outcome() for outcome in running]
        after = _costs(fleet)
        gb = sum(one.bytes for one in done) / 1e9
        return {
            "gbps": sum(one.gbps for one in done),
            "server_cpu_s_per_gb": (after[0] - before[0]) / gb,
            "clients_cpu_s_per_gb": (after[1] - before[1]) / gb,
            "server_rss_mb": rss_mb(fleet.server.pid),
            "server_idle_kb_per_client": 1000 * (idle_mb - fleet.bare_mb) / count,
            "server_loaded_kb_per_client": 1000 * (rss_mb(fleet.server.pid) - fleet.bare_mb) / count,
        }


def _costs(fleet: Fleet) -> tuple[float, float]:
    return cpu_s(fleet.server.pid), sum(cpu_s(client.pid) for client in fleet.clients)


def _until_reachable(bench: Bench, fleet: Fleet) -> None:
    """A server knows of a client before the client's tun has its addresses."""
    lost, deadline_s = list(range(1, len(fleet.clients) + 1)), time.monotonic() + _WITHIN_S
    while lost := bench.unreachable(lost, lambda number: fleet.addresses[number - 1]):
        if time.monotonic() > deadline_s:
            raise BenchError(f"clients {lost} cannot ping the server through their tunnels")


def _ratbond(bench: Bench, flags: tuple[str, ...] = ()) -> Fleet:
    words = bench.invite()
    server = bench.start(bench.server, "server", "server", f"--clients-file={bench.file}", *flags)
    bench.wait("server", "listening", 1)
    time.sleep(1)
    bare_mb, clients = rss_mb(server.pid), []
    for number, (host, word) in enumerate(zip(bench.clients, words, strict=True), 1):
        clients.append(bench.start(host, f"client-{number}", "client", f"--join-file={word}"))
        if number % 10 == 0:
            bench.wait("server", "the bond is up", number)
    bench.wait("server", "the bond is up", len(clients))
    addresses = [server_inner_ipv4(number) for number in range(1, len(clients) + 1)]
    return Fleet(server, clients, addresses, bare_mb)


def _wireguard(bench: Bench) -> Fleet:
    count = len(bench.clients)
    (own_key, own_public), *keys = [wireguard_keys() for _ in range(count + 1)]
    peers = [
        f"[Peer]\nPublicKey = {public}\nAllowedIPs = 10.9.0.{number}/32\n"
        for number, (_, public) in enumerate(keys, 1)
    ]
    interface = f"[Interface]\nPrivateKey = {own_key}\nListenPort = 51820\n"
    server = _wireguard_end(bench, bench.server, "254", interface + "".join(peers))
    bare_mb, clients = rss_mb(server.pid), []
    for number, (host, (key, _)) in enumerate(zip(bench.clients, keys, strict=True), 1):
        to_server = f"[Peer]\nPublicKey = {own_public}\nAllowedIPs = 0.0.0.0/0\nEndpoint = {SERVER}:51820\n"
        clients.append(
            _wireguard_end(bench, host, str(number), f"[Interface]\nPrivateKey = {key}\n{to_server}")
        )
    return Fleet(server, clients, [_WIREGUARD_ADDRESS] * count, bare_mb)


def _wireguard_end(bench: Bench, host: Host, number: str, settings: str) -> subprocess.Popen[bytes]:
    """Start one with the address 10.9.0.`number`; its device gets the usual name once it has its settings."""
    # The control socket is named after the device alone, and stands in a directory that all namespaces share.
    device, file = f"w{number}-{bench.directory.name[-8:]}", bench.directory / f"{number}.conf"
    file.touch(mode=0o600)
    file.write_text(settings)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = host.popen(Wireguard.program, "--foreground", device, **quiet)
    deadline_s = time.monotonic() + _WITHIN_S
    while not (
        has_device(host, device) and host.run("wg", "setconf", device, str(file), check=False).returncode == 0
    ):
        if time.monotonic() > deadline_s:
            raise BenchError("wireguard-go takes no settings")
        time.sleep(0.05)
    host.ip(
        f"link set {device} name wg0",
        f"address add 10.9.0.{number}/24 dev wg0",
        f"link set wg0 mtu {WIREGUARD_MTU} up",
    )
    return process
