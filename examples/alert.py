#!/usr/bin/env python3
"""Runs a command when a link is lost, and when it is back.

    sudo ./alert.py --connect-addr vps.example.org:12345 --secret-file /etc/ratbond.secret -- notify-send

appends one argument to the command: what has happened, in a sentence.
"""

from __future__ import annotations

import argparse
import asyncio

from ratbond import Bond, BondEvent


def sentence(event: BondEvent) -> str | None:
    """What is worth an alert; nothing for the rest."""
    match event.kind:
        case "link_down":
            return f"{event.link} left the bond ({event.why}); links up: {event.links_up}"
        case "link_up":
            return f"{event.link} joined the bond; links up: {event.links_up}"
        case "bond_down":
            return "the bond is down"
        case _:
            return None


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connect-addr", required=True)
    parser.add_argument("--secret-file", required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    async with Bond(connect_addr=given.connect_addr, secret_file=given.secret_file) as bond:
        async for event in bond.events():
            if text := sentence(event):
                process = await asyncio.create_subprocess_exec(*given.command, text)
                await process.wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("everything is put back")
