#!/usr/bin/env python3
"""Writes what each link does, once a second, as CSV: for a spreadsheet, or for whoever asks why the line was slow.

sudo ./export_csv.py --connect-addr vps.example.org:12345 --secret-file /etc/ratbond.secret --output links.csv --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ratbond import Bond

COLUMNS = ("time", "link", "state", "tx_mbps", "rx_mbps", "rtt_ms", "loss", "queued_bytes", "retransmits")


async def export(bond: Bond, output: TextIO, seconds: float, interval_s: float = 1.0) -> None:
    """A line for each link and sample."""
    table = csv.writer(output)
    table.writerow(COLUMNS)
    ends_at = asyncio.get_running_loop().time() + seconds
    async for status in bond.samples(interval_s):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for link in (link for session in status.sessions for link in session.links):
            mbps = (f"{rate / 1e6:.3f}" for rate in (link.rates.tx_bps, link.rates.rx_bps))
            table.writerow(
                (now, link.name, link.state, *mbps, f"{link.rtt_ms:.1f}", link.loss, link.queued_bytes, link.retransmits)
            )  # fmt: skip
        output.flush()
        if asyncio.get_running_loop().time() >= ends_at:
            return


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connect-addr", required=True)
    parser.add_argument("--secret-file", required=True)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    opened = given.output.open("w", newline="") if given.output else nullcontext(sys.stdout)
    with opened as output:
        async with Bond(connect_addr=given.connect_addr, secret_file=given.secret_file) as bond:
            await export(bond, output, given.seconds)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("everything is put back")
