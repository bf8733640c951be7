"""What a lab looks like at one moment, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

from rich.console import Console
from rich.table import Table

from ratbond.linkspec import DIRECTIONS

if TYPE_CHECKING:
    from ratbond.lab.emulator import DirectionStats, LinkSettings
    from ratbond.lab.host import Host
    from ratbond.lab.lab import Lab


class DirectionSnapshot(TypedDict):
    """One direction: what it is told to be, and what it has counted."""

    settings: LinkSettings
    stats: DirectionStats


class LinkSnapshot(TypedDict):
    """One link, as the client and the emulator see it."""

    name: str
    interface: str  # the client's, in the words of ip(8): UP, DOWN, LOWERLAYERDOWN
    client_ipv4: str
    gateway_ipv4: str
    up: DirectionSnapshot
    down: DirectionSnapshot


class LabSnapshot(TypedDict):
    """The whole lab."""

    name: str
    client: str  # namespaces
    server: str
    server_ipv4: str
    server_ipv6: str
    links: list[LinkSnapshot]


def snapshot(lab: Lab) -> LabSnapshot:
    """Look at everything once."""
    interfaces = _interfaces(lab.client)
    stats = lab.stats()["links"]
    links: list[LinkSnapshot] = []
    for link, counted in zip(lab.links, stats, strict=True):
        told = link.settings()
        links.append(
            {
                "name": link.name,
                "interface": interfaces.get(link.name, "GONE"),
                "client_ipv4": link.ipv4,
                "gateway_ipv4": link.gateway_ipv4,
                "up": {"settings": told.up, "stats": counted["up"]},
                "down": {"settings": told.down, "stats": counted["down"]},
            }
        )
    return {
        "name": lab.name,
        "client": lab.client.namespace,
        "server": lab.server.namespace,
        "server_ipv4": lab.server_ipv4,
        "server_ipv6": lab.server_ipv6,
        "links": links,
    }


def show(lab: LabSnapshot) -> None:
    """Print it for a person."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]lab {lab['name']}[/]  client {lab['client']}, server {lab['server']}:"
        f" {lab['server_ipv4']} and {lab['server_ipv6']}"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("link", "interface", "address"):
        table.add_column(heading)
    for heading in ("", "delivered", "dropped"):
        table.add_column(heading, justify="right")
    table.add_column("settings", overflow="fold")
    for link in lab["links"]:
        for direction in DIRECTIONS:
            first = direction == DIRECTIONS[0]
            one = link[direction]
            table.add_row(
                *((link["name"], link["interface"], link["client_ipv4"]) if first else ("", "", "")),
                direction,
                f"{one['stats']['delivered_bytes'] / 1e6:,.1f} MB",
                f"{_dropped_packets(one['stats']):,}",
                _settings_text(one["settings"]),
            )
    console.print(table, soft_wrap=False)


def _interfaces(client: Host) -> dict[str, str]:
    listed = json.loads(client.run("ip", "-j", "link", "show").stdout)
    return {interface["ifname"]: interface["operstate"] for interface in listed}


def _settings_text(settings: LinkSettings) -> str:
    """Say what stands out, in few words; all the rest is as on a perfect wire."""
    rate_bps = settings.get("rate_bps", 0)
    parts = [f"{rate_bps / 1e6:g} Mbit/s" if rate_bps else "unlimited"]
    for key, value in settings.items():
        name, _, unit = key.partition("_")
        if key == "rate_bps" or not value:
            continue
        if isinstance(value, float) and unit != "ms":
            parts.append(f"{key} {value:.3g}")
        elif isinstance(value, bool | str):
            parts.append(name if value is True else f"{value} jitter")
        else:
            parts.append(f"{name} {value:g} {unit}")
    return ", ".join(parts)


def _dropped_packets(stats: DirectionStats) -> int:
    return (
        stats["queue_dropped_packets"]
        + stats["lost_packets"]
        + stats["blackholed_packets"]
        + stats["oversize_packets"]
        + stats["unsent_packets"]
        + stats["emulator_dropped_packets"]
    )
