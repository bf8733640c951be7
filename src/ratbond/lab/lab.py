"""A client and a server on one machine, with emulated WAN links between them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from ratbond.lab import control, host, state, topology
from ratbond.lab.control import Control, ProcessId
from ratbond.lab.errors import LabError
from ratbond.lab.host import Host
from ratbond.lab.link import Link
from ratbond.lab.state import State
from ratbond.lab.topology import SERVER_IPV4, SERVER_IPV6, LinkPlan, Namespaces
from ratbond.linkspec import LinkSpec

if TYPE_CHECKING:
    from types import TracebackType

    from ratbond.lab.emulator import EmulatorStats
    from ratbond.lab.emulator_process import Setup

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


class Lab:
    """A lab that is up.

    A ``with`` statement takes it down at the end::

        with Lab.up(["80mbit,16ms", "30mbit,60ms,loss=0.5%"], name="trial") as lab:
            lab.client.run("ping", "-c", "1", lab.server_ipv4)
            lab.links[0].set("down=10mbit")
            with lab.links[1].blackhole():
                ...

    Attributes:
        name: tells labs apart that exist at the same time.
        client: the host with the WAN interfaces ``wan1``, ``wan2``, ...
        server: the host with the public addresses.
        wan: the namespace of the emulator between them.
        links: in the order of their specifications.
        server_ipv4: the server's public address.
        server_ipv6: the same for IPv6.
    """

    server_ipv4 = SERVER_IPV4
    server_ipv6 = SERVER_IPV6

    def __init__(self, saved: State, lifeline: IO[str] | None = None) -> None:
        namespaces = Namespaces.of(saved.lab)
        self.name = saved.lab
        self.client = Host(namespaces.client)
        self.server = Host(namespaces.server)
        self.wan = Host(namespaces.wan)
        self._state = saved
        self._lifeline = lifeline
        self._control = Control(state.socket_path(saved.lab))
        self.links = tuple(Link(self, self._control, plan) for plan in saved.links)

    @classmethod
    def up(
        cls, links: Iterable[str | LinkSpec], *, name: str = "lab", seed: int = 0, stays: bool = False
    ) -> Lab:
        """Make a lab with these links.

        What is left of a former lab of this name is cleaned away first.

        Args:
            links: one specification for each; see :mod:`ratbond.linkspec`.
            name: lower-case letters, digits and dashes, at most 20.
            seed: which losses and delays chance brings.
            stays: whether it outlives this process. If not, it stops to carry packets when this process ends, however
                that happens, and the next lab of its name clears it away.

        Raises:
            LabError: not root, a bad specification, or a lab of this name is in use.
        """
        _check(name)
        specs = [LinkSpec.parse(spec) if isinstance(spec, str) else spec for spec in links]
        if not 1 <= len(specs) <= topology.MAX_LINKS:
            raise LabError(f"a lab has 1 to {topology.MAX_LINKS} links, not {len(specs)}")
        former = state.load(name)
        if former is not None and former.is_alive():
            raise LabError(f"lab {name!r} is up already; take it down with 'ratbond lab down --name {name}'")
        cls.remove(name)
        plans = tuple(LinkPlan(number) for number in range(1, len(specs) + 1))
        lifeline = None
        try:
            with host.uninterrupted():
                _make_hosts(Namespaces.of(name), plans)
                setup = _setup(name, seed, plans, specs, stays=stays)
                emulator, lifeline = control.start(Host(Namespaces.of(name).wan), setup)
                saved = State(name, seed, emulator, None if stays else ProcessId.own(), plans)
                saved.save()
        except BaseException:
            if lifeline is not None:
                lifeline.close()
            cls.remove(name)
            raise
        return cls(saved, lifeline)

    @classmethod
    def attach(cls, name: str = "lab") -> Lab:
        """Find a lab that is up.

        Raises:
            LabError: there is none of this name.
        """
        _check(name)
        saved = state.load(name)
        if saved is None or not saved.is_alive():
            raise LabError(
                f"no lab {name!r} is up; make one with 'ratbond lab up --link 80mbit,16ms'"
                + (f" (there is: {', '.join(state.known())})" if state.known() else "")
            )
        return cls(saved)

    @staticmethod
    def remove(name: str = "lab") -> bool:
        """Take a lab of this name away, whatever state it is in, and say whether there was anything."""
        _check(name)
        namespaces = Namespaces.of(name)
        found = state.load(name) is not None or any(map(host.exists, namespaces))
        host.remove(namespaces)
        state.forget(name)
        return found

    def down(self) -> None:
        """End every process in the lab and take its namespaces away. Idempotent."""
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None
        self.remove(self.name)
        self.client.reap()
        self.server.reap()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def link(self, name: str) -> Link:
        """Find a link by its name, such as ``wan1``, or its number, counted from 1.

        Raises:
            LabError: there is none.
        """
        for link in self.links:
            if name in (link.name, str(link.number)):
                return link
        raise LabError(f"no link {name!r}; this lab has {', '.join(link.name for link in self.links)}")

    def stats(self) -> EmulatorStats:
        """Read the counters of all links, in their order."""
        return self._control.stats()

    def remember(self, plan: LinkPlan) -> None:
        """Keep a link's new address for other processes; the link itself calls this."""
        links = tuple(plan if plan.number == old.number else old for old in self._state.links)
        self._state = replace(self._state, links=links)
        self._state.save()


def _setup(
    name: str, seed: int, plans: Iterable[LinkPlan], specs: Iterable[LinkSpec], *, stays: bool
) -> Setup:
    return {
        "socket": str(state.socket_path(name)),
        "seed": seed,
        "owned": not stays,
        "links": [
            {
                "client_port": plan.client_port,
                "server_port": plan.server_port,
                "up": spec.up,
                "down": spec.down,
            }
            for plan, spec in zip(plans, specs, strict=True)
        ],
    }


def _check(name: str) -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces, which needs root; run it with sudo")
    if not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is no name for a lab; use lower-case letters, digits and dashes, at most 20"
        )


def _make_hosts(namespaces: Namespaces, links: Iterable[LinkPlan]) -> None:
    links = list(links)
    client, wan, server = Host(namespaces.client), Host(namespaces.wan), Host(namespaces.server)
    for namespace, settings in topology.sysctls(namespaces).items():
        host.run(["ip", "netns", "add", namespace])
        Host(namespace).run("sysctl", "-qw", *settings)
    wan.ip(*(command for link in links for command in topology.wire_commands(link)))
    for link in links:
        for interface in (link.client_interface, link.server_interface):
            # The emulator carries packets, as a WAN does, so the kernel must cut them before.
            wan.run("ethtool", "-K", interface, "tso", "off", "tx-udp-segmentation", "off")
    wan.ip(*(command for link in links for command in topology.plug_commands(link, namespaces)))
    client.ip("link set lo up", *(command for link in links for command in topology.client_commands(link)))
    server.ip(
        *topology.public_address_commands(),
        *(command for link in links for command in topology.server_commands(link)),
    )
