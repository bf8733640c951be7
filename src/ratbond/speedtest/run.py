"""The whole test: every link alone, down and up, then all together as they are configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from ratbond.errors import RatbondError
from ratbond.speedtest.control import Caller
from ratbond.speedtest.measure import WARM_UP_S, Direction, Place, measure
from ratbond.speedtest.result import Found, LinkFound, Rates

BOND: Final = "the bond"
_DIRECTIONS: Final[tuple[Direction, Direction]] = ("down", "up")
_SETTLE_S: Final = 0.5  # until the other end has heard how links are used, and what is under way has arrived
_ALONE: Final = 0.9  # of what came and went, or it was not alone
_WAIT_S: Final = 20.0

Link = Mapping[str, Any]  # as `/status` has it
Tell = Callable[[str, Direction, float, float], None]  # what is measured, how long already, how long in all


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for."""

    seconds: float = 5.0
    connections: int = 6
    metered: bool = False  # links with a quota, and backups, too


async def test(client: Caller, wishes: Wishes, tell: Tell) -> Found:
    """Runs it. Raises RatbondError when there is nothing to measure, or something breaks."""
    state = await _when_up(client)
    place = Place(ip_address(state["server"][0]), state["tun"])
    before = _links(state)
    alone: dict[str, Rates] = {}
    left_out = {name: _why_not(link, wishes) for name, link in before.items()}
    losses: dict[str, float] = {}
    for name in before:
        if not left_out[name]:
            await client.pin(name)
            start = _links(await client.state())
            alone[name] = await _both_ways(place, name, wishes, tell)
            end = _links(await client.state())
            left_out[name] = _why_spoilt(name, start, end)
            losses[name] = _loss(start.get(name), end.get(name))
    await client.pin(None)
    parts: list[dict[str, Link]] = [_links(await client.state())]
    bond = []
    for direction in _DIRECTIONS:
        bond.append(await _one(place, BOND, direction, wishes, tell))
        parts.append(_links(await client.state()))
    after = parts[-1]
    links = [
        LinkFound(
            name,
            None if left_out[name] else alone[name],
            _part_in_bond(name, parts, bond),
            left_out[name],
            link["tier"],
            link["min_rtt_ms"],
            losses.get(name, 0.0),
            _carried(after.get(name, link)) - _carried(link),
        )
        for name, link in before.items()
    ]
    return Found(tuple(links), Rates(*bond), wishes.seconds, state["status"]["scheduler"])


async def _when_up(client: Caller) -> dict[str, Any]:
    """The client's state once its bond is up and no link is on its way into it."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _WAIT_S
    while True:
        state = await client.state()
        if not state["sealed"]:
            raise RatbondError(
                "the links are not sealed, and a server measures nothing for clients that it cannot tell from others: "
                "give both ends a secret (`ratbond keygen`)"
            )
        links = _links(state).values()
        is_up = any(link["state"] == "up" for link in links) and state["server"]
        is_waiting = any(link["state"] == "connecting" for link in links)
        if is_up and not is_waiting:
            return state
        if loop.time() > deadline_s:
            if is_up:
                return state
            raise RatbondError("the bond is not up: `ratbond status` and `ratbond doctor client` say why")
        await asyncio.sleep(_SETTLE_S)


def _links(state: Mapping[str, Any]) -> dict[str, Link]:
    return {link["name"]: link for session in state["status"]["sessions"] for link in session["links"]}


def _why_not(link: Link, wishes: Wishes) -> str:
    if link["state"] != "up":
        return f"it is {link['state']}"
    if wishes.metered:
        return ""
    if link["quota_bytes"] is not None:
        used, limit = link["quota_used_bytes"] or 0, link["quota_bytes"]
        return f"it has a quota ({used / 1e9:.2f} of {limit / 1e9:g} GB used); --metered measures it"
    return "it is a backup; --metered measures it" if link["tier"] == "backup" else ""


async def _both_ways(place: Place, what: str, wishes: Wishes, tell: Tell) -> Rates:
    down, up = [await _one(place, what, direction, wishes, tell) for direction in _DIRECTIONS]
    return Rates(down, up)


async def _one(place: Place, what: str, direction: Direction, wishes: Wishes, tell: Tell) -> float:
    await asyncio.sleep(_SETTLE_S)
    whole_s = wishes.seconds + WARM_UP_S

    def tick(passed_s: float) -> None:
        tell(what, direction, min(passed_s, whole_s), whole_s)

    return await measure(place, direction, seconds=wishes.seconds, connections=wishes.connections, tick=tick)


def _carried(link: Link) -> int:
    return int(link["wire_tx_bytes"] + link["wire_rx_bytes"])


def _why_spoilt(name: str, start: Mapping[str, Link], end: Mapping[str, Link]) -> str:
    """A link that was lost meanwhile had its packets go over others."""
    if name not in end or end[name]["id"] != start[name]["id"] or end[name]["state"] != "up":
        return "it left the bond meanwhile"
    moved = {n: _carried(link) - _carried(start[n]) for n, link in end.items() if n in start}
    return "" if moved[name] >= _ALONE * sum(moved.values()) else "others carried a part of its packets"


def _loss(start: Link | None, end: Link | None) -> float:
    if start is None or end is None:
        return 0.0
    sent = end["segments_sent"] - start["segments_sent"]
    return max(0.0, (end["retransmits"] - start["retransmits"]) / sent) if sent > 0 else 0.0


def _part_in_bond(name: str, parts: list[dict[str, Link]], bond: list[float]) -> Rates:
    """The link's share of what the links have carried, of the bond's rate."""
    shares = []
    for before, after, key in zip(parts, parts[1:], ("rx_bytes", "tx_bytes"), strict=False):
        moved = {n: max(0, link[key] - before[n][key]) for n, link in after.items() if n in before}
        shares.append(moved.get(name, 0) / (sum(moved.values()) or 1))
    return Rates(shares[0] * bond[0], shares[1] * bond[1])
