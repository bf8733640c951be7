"""wireguard-go of Debian's, on one link, or one tunnel for each link and the kernel's multipath routes above them."""

from __future__ import annotations

from typing import NamedTuple

from ratbond.lab import Host
from ratbond.lab.host import run

from .base import (
    CLIENT_IPV4,
    SERVER_IPV4,
    Contender,
    Place,
    Tunnel,
    give_addresses,
    has_device,
    missing_program,
    pings,
    program,
)

_VARIABLE = "WIREGUARD_GO"
MTU_BYTES = 1420  # what 1,500 leave with IPv6 outside: its usual one


class Pair(NamedTuple):
    """The devices of one tunnel."""

    client: str
    server: str


class Wireguard(Contender):
    """What most people use on one link."""

    name = "wireguard"
    words = "wireguard-go over the best link alone"

    def missing(self) -> str | None:
        """Say what of it is not installed."""
        return missing_wireguard()

    def start(self, place: Place) -> Tunnel:
        """One tunnel to the public address, which goes over the first link."""
        lab = place.lab
        pair = start_pair(place, 0, 51820, f"{lab.server_ipv4}:51820")
        give_addresses(lab, pair.client, pair.server, mtu_bytes=MTU_BYTES)
        place.wait(lambda: pings(lab.client, SERVER_IPV4), "wireguard carries a ping")
        return Tunnel(CLIENT_IPV4, SERVER_IPV4, [pair.client], [pair.server])


class WireguardEcmp(Contender):
    """What Debian offers for the job without a kernel module: each flow hashed to one of the tunnels by weight."""

    name = "wireguard-ecmp"
    words = "wireguard-go on each link, multipath routes over them, weighted by rate, hashed by flow"

    def missing(self) -> str | None:
        """Say what of it is not installed."""
        return missing_wireguard()

    def start(self, place: Place) -> Tunnel:
        """One tunnel for each link to that link's far end; the inner addresses belong to no device."""
        lab = place.lab
        pairs = [
            start_pair(place, link.number, 51820 + link.number, f"{link.gateway_ipv4}:{51820 + link.number}")
            for link in lab.links
        ]
        clients, servers = [pair.client for pair in pairs], [pair.server for pair in pairs]
        for host, devices, own, peer in (
            (lab.client, clients, CLIENT_IPV4, SERVER_IPV4),
            (lab.server, servers, SERVER_IPV4, CLIENT_IPV4),
        ):
            host.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
            host.ip(
                *(f"link set {device} up mtu {MTU_BYTES}" for device in devices),
                f"addr add {own}/32 dev lo",
                f"route add {peer} src {own} {_hops(place, devices)}",
            )
        place.wait(lambda: pings(lab.client, SERVER_IPV4), "wireguard carries a ping")
        # The devices stay when the links below them go, and the routes with them: there is nothing to restore.
        return Tunnel(CLIENT_IPV4, SERVER_IPV4, clients, servers)


def _hops(place: Place, devices: list[str]) -> str:
    weights = [max(1, round(link.rate_mbps)) for link in place.scenario.links]
    return " ".join(
        f"nexthop dev {device} weight {weight}" for device, weight in zip(devices, weights, strict=True)
    )


def missing_wireguard() -> str | None:
    """Say which package is missing, or ``None``."""
    for variable, name in ((_VARIABLE, "wireguard-go"), ("WG", "wg")):
        if missing_program(variable, name=name, what=name):
            package = "wireguard-tools" if name == "wg" else name
            return f"{name} is missing; apt-get install {package}"
    return None


def start_pair(place: Place, number: int, server_port: int, endpoint: str) -> Pair:
    """Start both ends of one tunnel, tell them each other's keys, and name their devices: client's, server's."""
    lab = place.lab
    pair = Pair(place.device("wg", "client", number), place.device("wg", "server", number))
    client_private, client_public = _keys()
    server_private, server_public = _keys()
    listening = ["[Interface]", f"PrivateKey = {server_private}", f"ListenPort = {server_port}"]
    accepting = ["[Peer]", f"PublicKey = {client_public}", "AllowedIPs = 0.0.0.0/0"]
    _start_one(place, lab.server, pair.server, [*listening, *accepting])
    calling = ["[Interface]", f"PrivateKey = {client_private}", "[Peer]", f"PublicKey = {server_public}"]
    reaching = ["AllowedIPs = 0.0.0.0/0", f"Endpoint = {endpoint}", "PersistentKeepalive = 5"]
    _start_one(place, lab.client, pair.client, [*calling, *reaching])
    return pair


def _start_one(place: Place, host: Host, device: str, settings: list[str]) -> None:
    command = str(program(_VARIABLE, name="wireguard-go"))
    place.start(host, command, "--foreground", device, name=device)
    place.wait(has_device(host, device), f"wireguard-go makes {device}")
    path = place.write(f"{device}.conf", "\n".join(settings) + "\n")
    setconf = (str(program("WG", name="wg")), "setconf", device, path)
    # The control socket comes a moment after the device.
    place.wait(
        lambda: host.run(*setconf, check=False).returncode == 0, f"wireguard-go takes settings for {device}"
    )


def _keys() -> tuple[str, str]:
    private = run([str(program("WG", name="wg")), "genkey"]).stdout.strip()
    public = run([str(program("WG", name="wg")), "pubkey"], input_text=private + "\n").stdout.strip()
    return private, public
