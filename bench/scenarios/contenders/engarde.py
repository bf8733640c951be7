"""engarde: ENGARDE_CLIENT and ENGARDE_SERVER give its two programs; WireGuard goes through them."""

from __future__ import annotations

from .base import (
    CLIENT_IPV4,
    SERVER_IPV4,
    Contender,
    Place,
    Tunnel,
    answer_from_public_address,
    give_addresses,
    missing_program,
    pings,
    program,
)
from .wireguard import MTU_BYTES, missing_wireguard, start_pair

_INTO_PORT, _OUT_PORT, _WIREGUARD_PORT = 59401, 59501, 59301


class Engarde(Contender):
    """Every packet over every link."""

    name = "engarde"
    words = "engarde over wireguard-go: every packet on every link"

    def missing(self) -> str | None:
        """It is no package of Debian's, and needs WireGuard."""
        ends = (("ENGARDE_CLIENT", "engarde's client"), ("ENGARDE_SERVER", "engarde's server"))
        reasons = (missing_program(variable, what=what) for variable, what in ends)
        return next(filter(None, reasons), None) or missing_wireguard()

    def start(self, place: Place) -> Tunnel:
        """Client's WireGuard to engarde's client, over all links to engarde's server, to the server's WireGuard."""
        lab = place.lab
        answer_from_public_address(lab)
        lab.client.ip("link set lo up")
        pair = start_pair(place, 0, _WIREGUARD_PORT, f"127.0.0.1:{_INTO_PORT}")
        server = f'server:\n  listenAddr: "0.0.0.0:{_OUT_PORT}"\n  dstAddr: "127.0.0.1:{_WIREGUARD_PORT}"\n'
        tail = "  writeTimeout: 10\n"
        path = place.write("server.yml", server + "  clientTimeout: 30\n" + tail)
        place.start(lab.server, str(program("ENGARDE_SERVER")), path, name="engarde-server")
        client = (
            f'client:\n  listenAddr: "127.0.0.1:{_INTO_PORT}"\n  dstAddr: "{lab.server_ipv4}:{_OUT_PORT}"\n'
        )
        excluded = f'  excludedInterfaces: ["lo", "{pair.client}"]\n'
        path = place.write("client.yml", client + excluded + tail)
        place.start(lab.client, str(program("ENGARDE_CLIENT")), path, name="engarde-client")
        give_addresses(lab, pair.client, pair.server, mtu_bytes=MTU_BYTES)
        place.wait(lambda: pings(lab.client, SERVER_IPV4), "engarde carries a ping")
        return Tunnel(CLIENT_IPV4, SERVER_IPV4, [pair.client], [pair.server])
