"""A program that embeds a bond, and checks that it stays a guest. Run inside a client's namespace by test_python_api.py."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from itertools import pairwise

import pytest

from ratbond import Bond, BondEvent, RatbondError, UsageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def of_the_process() -> object:
    root = logging.getLogger()
    return (
        [signal.getsignal(number) for number in SIGNALS],
        root.handlers[:],
        root.level,
        logging.raiseExceptions,
    )


async def until(bond: Bond, kind: str, link: str) -> BondEvent:
    async with asyncio.timeout(20):
        async for event in bond.events():
            if (event.kind, event.link) == (kind, link):
                return event
    raise AssertionError(f"ended without {kind} of {link}")


async def links(bond: Bond, *wanted: str) -> None:
    async with asyncio.timeout(20):
        async for status in bond.samples(0.05):
            up = {link.name for session in status.sessions for link in session.links if link.state == "up"}
            if up == set(wanted):
                return


async def refused(connect_addr: str) -> None:
    """Errors are exceptions, and name what is wrong."""
    for settings, words in (({"mux": 99}, "mux"), ({"nonsense": 1}, "nonsense"), ({"wan": ["a/b"]}, "wan")):
        with pytest.raises(UsageError, match=words):
            Bond(connect_addr=connect_addr, **settings)
    idle = Bond(connect_addr=connect_addr)
    with pytest.raises(RatbondError, match=r"start\(\)"):
        idle.stats()
    await idle.stop()  # never started: nothing to do


async def main(connect_addr: str) -> None:
    before = of_the_process()
    await refused(connect_addr)
    async with Bond(connect_addr=connect_addr) as bond:
        followers = [asyncio.create_task(collect(bond)) for _ in range(2)]
        await links(bond, "wan1", "wan2")
        with pytest.raises(RatbondError, match="running already"):
            await Bond(connect_addr=connect_addr).start()
        gone = asyncio.create_task(until(bond, "link_down", "wan2"))
        await asyncio.sleep(0)
        bond.remove_link("wan2")
        assert (await gone).why == "left out by --no-wan"
        await links(bond, "wan1")
        bond.add_link("wan2")
        await links(bond, "wan1", "wan2")
        assert of_the_process() == before
    first, second = [await follower for follower in followers]
    assert first == second
    assert [event.kind for event in first][:1] == ["link_up"], first
    assert all(a.at <= b.at for a, b in pairwise(first))
    with pytest.raises(RatbondError, match="not running"):
        bond.add_link("wan2")
    assert of_the_process() == before
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def collect(bond: Bond) -> list[BondEvent]:
    return [event async for event in bond.events()]


asyncio.run(main(sys.argv[1]), debug=False)
print("a good guest")
