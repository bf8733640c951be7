"""One WAN link of a lab: what it is like, and all that can happen to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ratbond.lab import topology
from ratbond.linkspec import DIRECTIONS, LinkSpec

if TYPE_CHECKING:
    from ratbond.lab.control import Control
    from ratbond.lab.emulator import LinkStats
    from ratbond.lab.lab import Lab
    from ratbond.lab.topology import LinkPlan


class Link:
    """A link between the client's ``wanN`` and the server's ``ispN``.

    Each trouble has two methods, one that makes it and one that ends it; and as a context manager, ``with
    link.blackhole():``, it lasts as long as the block.
    """

    def __init__(self, lab: Lab, control: Control, plan: LinkPlan) -> None:
        self._lab = lab
        self._control = control
        self._plan = plan

    def __repr__(self) -> str:
        return f"Link({self.name!r})"

    @property
    def number(self) -> int:
        """Counted from 1."""
        return self._plan.number

    @property
    def name(self) -> str:
        """The client's interface, such as ``wan1``."""
        return self._plan.client_interface

    @property
    def ipv4(self) -> str:
        """The client's address."""
        return self._plan.client_ipv4

    @property
    def ipv6(self) -> str:
        """The client's IPv6 address."""
        return self._plan.client_ipv6

    @property
    def gateway_ipv4(self) -> str:
        """The client's next hop, an address of the server."""
        return self._plan.gateway_ipv4

    @property
    def gateway_ipv6(self) -> str:
        """The same for IPv6."""
        return self._plan.gateway_ipv6

    def settings(self) -> LinkSpec:
        """Read what the link is told to be; what is not in it is that of a perfect wire."""
        setup = self._control.settings()[self.number - 1]
        return LinkSpec(up=setup["up"], down=setup["down"])

    def stats(self) -> LinkStats:
        """Read the counters of both directions."""
        return self._control.stats()["links"][self.number - 1]

    def set(self, changes: str | LinkSpec) -> None:
        """Change the link while it runs, for example ``"10mbit,up.loss=2%"``.

        Packets that are queued leave as the new settings say; those on the wire keep their arrival times.
        """
        changes = LinkSpec.parse(changes) if isinstance(changes, str) else changes
        for direction in DIRECTIONS:
            settings = changes.up if direction == "up" else changes.down
            if settings:
                self._control.set(self.number - 1, direction, settings)

    # --- troubles ---

    def blackhole_on(self) -> None:
        """Let every packet vanish, both ways, without a sign of it at either end."""
        self.set("blackhole=on")

    def blackhole_off(self) -> None:
        """Carry packets again."""
        self.set("blackhole=off")

    @contextmanager
    def blackhole(self) -> Iterator[None]:
        """Let every packet vanish for as long as the block runs."""
        self.blackhole_on()
        try:
            yield
        finally:
            self.blackhole_off()

    def interface_down(self) -> None:
        """Set the client's interface down: the kernel takes its routes and neighbours away."""
        self._lab.client.ip(f"link set {self.name} down")

    def interface_up(self) -> None:
        """Set it up again, with its routes, as a DHCP client would."""
        self._lab.client.ip(*self._up_commands())

    @contextmanager
    def interface_pulled(self) -> Iterator[None]:
        """Keep the client's interface down for as long as the block runs."""
        self.interface_down()
        try:
            yield
        finally:
            self.interface_up()

    def carrier_down(self) -> None:
        """Pull the cable at the far side: the client's interface is up and has no carrier. Its routes stay."""
        self._lab.wan.ip(f"link set {self._plan.client_port} down")

    def carrier_up(self) -> None:
        """Plug it in again."""
        self._lab.wan.ip(f"link set {self._plan.client_port} up")

    @contextmanager
    def carrier_lost(self) -> Iterator[None]:
        """Keep the cable pulled for as long as the block runs."""
        self.carrier_down()
        try:
            yield
        finally:
            self.carrier_up()

    def route_withdraw(self) -> None:
        """Take the client's default routes over this link away; address and interface stay."""
        self._lab.client.ip(*topology.default_route_commands(self._plan, "del"))

    def route_restore(self) -> None:
        """Bring the default routes back."""
        self._lab.client.ip(*topology.default_route_commands(self._plan, "replace"))

    @contextmanager
    def route_withdrawn(self) -> Iterator[None]:
        """Keep the default routes away for as long as the block runs."""
        self.route_withdraw()
        try:
            yield
        finally:
            self.route_restore()

    def renumber(self) -> str:
        """Give the client a new address on this link, as a provider does, and return the new IPv4 address."""
        old, new = self._plan, self._plan.renumbered()
        self._lab.server.ip(
            *topology.server_neighbour_commands(old, "del"),
            *topology.server_neighbour_commands(new, "replace"),
        )
        self._lab.client.ip(
            *topology.client_address_commands(old, "del"),
            *topology.client_address_commands(new, "add"),
            *topology.client_neighbour_commands(new),
            *topology.default_route_commands(new, "replace"),
        )
        self._plan = new
        self._lab.remember(new)
        return new.client_ipv4

    def _up_commands(self) -> list[str]:
        return [
            f"link set {self.name} up",
            *topology.client_neighbour_commands(self._plan),
            *topology.default_route_commands(self._plan, "replace"),
        ]
