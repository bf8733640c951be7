"""No tunnel at all."""

from __future__ import annotations

from .base import Contender, Place, Tunnel


class Link(Contender):
    """The best link as it is: what one has without any of these programs."""

    name = "link"
    words = "the best link alone, without a tunnel"

    def start(self, place: Place) -> Tunnel:
        """Use the default route, which leads over the first link."""
        first = place.lab.links[0]
        return Tunnel(first.ipv4, place.lab.server_ipv4, [first.name], [f"isp{first.number}"])
