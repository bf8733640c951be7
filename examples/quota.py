#!/usr/bin/env python3
"""Takes a metered link out of the bond once it has carried its quota.

    sudo ./quota.py --connect-addr vps.example.org:12345 --secret-file /etc/ratbond.secret --quota wwan0=5000

counts what goes over the wire both ways, in megabytes, since this program began. The other links go on.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict

from ratbond import Bond, Status


class Meter:
    """Adds up what each link has carried, over all its lives: a link that joins again counts from zero."""

    def __init__(self) -> None:
        self.carried: defaultdict[str, int] = defaultdict(int)
        self._last: dict[int, int] = {}  # by the number of a link, which no other gets

    def read(self, status: Status) -> None:
        for session in status.sessions:
            for link in session.links:
                total = link.wire_tx_bytes + link.wire_rx_bytes
                self.carried[link.name] += total - self._last.get(link.id, 0)
                self._last[link.id] = total


async def keep(bond: Bond, quotas: dict[str, int]) -> None:
    """Removes each link when it is over its quota in bytes; ends when all of them are."""
    meter = Meter()
    left = dict(quotas)
    async for status in bond.samples(interval_s=0.5):
        meter.read(status)
        for name in [name for name, quota in left.items() if meter.carried[name] >= quota]:
            print(f"{name} has carried {meter.carried[name] / 1e6:.1f} MB: taken out", flush=True)
            bond.remove_link(name)
            del left[name]


def quota(text: str) -> tuple[str, int]:
    name, _, megabytes = text.partition("=")
    return name, round(float(megabytes) * 1e6)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connect-addr", required=True)
    parser.add_argument("--secret-file", required=True)
    parser.add_argument("--quota", type=quota, action="append", required=True, metavar="LINK=MEGABYTES")
    given = parser.parse_args()
    async with Bond(connect_addr=given.connect_addr, secret_file=given.secret_file) as bond:
        await keep(bond, dict(given.quota))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("everything is put back")
