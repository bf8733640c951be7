"""MLVPN 2.3: MLVPN=/path/to/mlvpn."""

from __future__ import annotations

from typing import Literal

from ratbond.lab import Host

from .base import (
    CLIENT_IPV4,
    SERVER_IPV4,
    Contender,
    Place,
    Tunnel,
    answer_from_public_address,
    missing_program,
    pings,
    program,
    restore_route_by_source,
    route_by_source,
)

_VARIABLE = "MLVPN"
_MTU_BYTES = 1400
# Called with a device and an event; MLVPN tells it the address and the MTU in the environment.
_UP_SCRIPT = """#!/bin/sh
[ "$2" = tuntap_up ] || exit 0
ip addr replace "$IP4" dev "$1"
ip link set "$1" mtu "$MTU" up
"""


class Mlvpn(Contender):
    """With its reordering buffer, and weighted by what the links carry."""

    name = "mlvpn"
    words = "MLVPN 2.3, AES, reorder buffer 64, told the rate of each link"

    def missing(self) -> str | None:
        """It is not a package of Debian's."""
        return missing_program(_VARIABLE, what="MLVPN")

    def start(self, place: Place) -> Tunnel:
        """Give both ends their files, and start them."""
        lab = place.lab
        answer_from_public_address(lab)
        route_by_source(lab)
        script = place.folder / "updown.sh"
        script.write_text(_UP_SCRIPT)
        script.chmod(0o700)  # it is refused when others may even read it
        self._start(place, lab.server, "server")
        self._start(place, lab.client, "client")
        place.wait(lambda: pings(lab.client, SERVER_IPV4), "mlvpn carries a ping")
        return Tunnel(
            CLIENT_IPV4, SERVER_IPV4, ["mlvpn0"], ["mlvpn0"], lambda link: restore_route_by_source(lab, link)
        )

    def _start(self, place: Place, host: Host, role: Literal["client", "server"]) -> None:
        path = place.write(f"{role}.conf", configuration(place, role))
        command = (
            str(program(_VARIABLE)),
            "--debug",
            "--natural-title",
            "--yes-run-as-root",
            "--user",
            "root",
        )
        place.start(host, *command, "--config", path, name=role)


def configuration(place: Place, role: Literal["client", "server"]) -> str:
    """Write the file of one end."""
    own, peer = (CLIENT_IPV4, SERVER_IPV4) if role == "client" else (SERVER_IPV4, CLIENT_IPV4)
    lines = [
        "[general]",
        f'statuscommand = "{place.folder}/updown.sh"',
        f'mode = "{role}"',
        'tuntap = "tun"',
        'interface_name = "mlvpn0"',
        f'ip4 = "{own}/30"',
        f'ip4_gateway = "{peer}"',
        f"mtu = {_MTU_BYTES}",
        "timeout = 5",
        'password = "a passphrase of the benchmark"',
        "reorder_buffer_size = 64",
        "loss_tolerence = 100",  # spelled so
    ]
    for link, wan in zip(place.lab.links, place.scenario.links, strict=True):
        port = 5080 + link.number
        lines += [f"[{link.name}]", f"bandwidth_upload = {round(wan.rate_mbps * 1e6 / 8)}"]
        if role == "server":
            lines += ['bindhost = "0.0.0.0"', f'bindport = "{port}"']
        else:
            lines += [f'bindhost = "{link.ipv4}"', f'remotehost = "{place.lab.server_ipv4}"']
            lines += [f'remoteport = "{port}"']
    return "\n".join(lines) + "\n"
