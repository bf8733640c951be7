"""Glorytun 0.3: GLORYTUN=/path/to/glorytun."""

from __future__ import annotations

import secrets

from .base import (
    CLIENT_IPV4,
    SERVER_IPV4,
    Contender,
    Place,
    Tunnel,
    answer_from_public_address,
    give_addresses,
    has_device,
    missing_program,
    pings,
    program,
    restore_route_by_source,
    route_by_source,
)

_VARIABLE = "GLORYTUN"
_PORT = "5000"


class Glorytun(Contender):
    """With fixed rates: the best it can be told of a link."""

    name = "glorytun"
    words = "Glorytun 0.3, told the rate of each link"

    def missing(self) -> str | None:
        """It is not a package of Debian's."""
        return missing_program(_VARIABLE, what="Glorytun")

    def start(self, place: Place) -> Tunnel:
        """Bind both ends; then the client is told its paths and what they carry."""
        lab, command = place.lab, str(program(_VARIABLE))
        answer_from_public_address(lab)
        route_by_source(lab)
        key = place.write("key", secrets.token_hex(32) + "\n")
        client, server = place.device("gt", "client"), place.device("gt", "server")
        bound = (command, "bind", lab.server_ipv4, _PORT, "dev", server, "keyfile", key)
        place.start(lab.server, *bound, name="server")
        connected = (command, "bind", "0.0.0.0", _PORT, "to", lab.server_ipv4, _PORT)
        place.start(lab.client, *connected, "dev", client, "keyfile", key, name="client")
        for host, device in ((lab.client, client), (lab.server, server)):
            place.wait(has_device(host, device), "glorytun makes its device")
        give_addresses(lab, client, server)
        for link, wan in zip(lab.links, place.scenario.links, strict=True):
            bytes_per_s = str(round(wan.rate_mbps * 1e6 / 8))
            rate = ("rate", "fixed", "tx", bytes_per_s, "rx", bytes_per_s)
            lab.client.run(command, "path", link.ipv4, "dev", client, "up", *rate)
        place.wait(lambda: pings(lab.client, SERVER_IPV4), "glorytun carries a ping")
        return Tunnel(
            CLIENT_IPV4, SERVER_IPV4, [client], [server], lambda link: restore_route_by_source(lab, link)
        )
