"""The Go program of the same name: RATBOND_STOCK=/path/to/ratbond."""

from __future__ import annotations

import shlex

from ratbond.lab import Lab, Link

from .base import Contender, Place, Tunnel, answer_from_public_address, missing_program, pings, program

_VARIABLE = "RATBOND_STOCK"
_FLAGS = ("--tunnel-id=660", "--balance-consistent", "--aes", "--secret=verysecret", "--nosyslog")
_HTTP = "--http-listen-addr=disable"


class Stock(Contender):
    """With AES and consistent hashing, its best choice for TCP."""

    name = "stock"
    words = "ratbond of September 2024 (Go), AES, consistent"

    def missing(self) -> str | None:
        """It is not a package of Debian's."""
        return missing_program(_VARIABLE, what="a stock ratbond")

    def start(self, place: Place) -> Tunnel:
        """Make the surroundings that it expects (docs/interop.md), then start it."""
        lab = place.lab
        answer_from_public_address(lab)
        for link in lab.links:
            lab.client.ip(f"rule add from {link.ipv4} table {5 + link.number}")
            _restore(lab, link)
        resolver = place.write("resolv.conf", "nameserver 127.0.0.1\n")
        for role, host, where in (
            ("server", lab.server, "--listen-addr=0.0.0.0:12345"),
            ("client", lab.client, f"--connect-addr={lab.server_ipv4}:12345"),
        ):
            command = shlex.join([str(program(_VARIABLE)), role, where, _HTTP, *_FLAGS])
            script = f"mount --bind {shlex.quote(resolver)} /etc/resolv.conf && exec {command}"
            place.start(host, "unshare", "--mount", "sh", "-c", script, name=role)
        place.wait(lambda: pings(lab.client, "10.10.10.2"), "stock carries a ping")
        return Tunnel("10.10.10.1", "10.10.10.2", ["tun660"], ["tun660"], lambda link: _restore(lab, link))


def _restore(lab: Lab, link: Link) -> None:
    lab.client.ip(
        f"route replace default via {link.gateway_ipv4} dev {link.name} src {link.ipv4} table {5 + link.number}"
    )
