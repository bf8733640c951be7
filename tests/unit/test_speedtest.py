"""What a speedtest makes of its figures, and who may ask a client for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from ratbond.daemon.uplinks import Uplinks
from ratbond.errors import RatbondError
from ratbond.links.model import WanLink
from ratbond.models import Caps, Family, Preference, Tier
from ratbond.speedtest import control
from ratbond.speedtest.control import Caller, Control
from ratbond.speedtest.measure import rate_bps
from ratbond.speedtest.result import Found, LinkFound, Rates, text, verdict

from .fakes import FakeEngine, FakeEvent
from .test_uplinks import SERVER, WAN1, WAN2

DSL = LinkFound("dsl", Rates(80e6, 20e6), Rates(75e6, 19e6), rtt_ms=16, used_bytes=90_000_000)
LTE = LinkFound("lte", Rates(40e6, 10e6), Rates(35e6, 9e6), rtt_ms=40, used_bytes=45_000_000)
GOOD = Found((DSL, LTE), Rates(110e6, 28e6), 5.0, "adaptive")


def down(*links: LinkFound, bond: float = 80e6, scheduler: str = "adaptive") -> str:
    return next(verdict(Found(links, Rates(bond, 28e6), 5.0, scheduler)))


def test_a_bond_that_carries_what_its_links_do_is_called_so() -> None:
    assert list(verdict(GOOD)) == [
        "Down: the bond adds 38% to dsl alone; 92% of what its links carry one by one.",
        "Up: the bond adds 40% to dsl alone; 93% of what its links carry one by one.",
    ]


@pytest.mark.parametrize(
    ("lte", "scheduler", "why"),
    [
        ({"loss": 0.031}, "adaptive", "it loses packets (3.1% were sent again)"),
        ({"rtt_ms": 180.0}, "adaptive", "it is far (180 ms, where another has 16 ms)"),
        ({"tier": "secondary"}, "adaptive", "as it is secondary"),
        ({}, "roundrobin", "roundrobin does not go by what links can carry (--balance-adaptive does)"),
        ({}, "adaptive", "of the 40.0 Mbit/s that it can."),
    ],
)
def test_the_link_that_holds_the_bond_back_is_named_and_why(
    lte: dict[str, object], scheduler: str, why: str
) -> None:
    idle = replace(LTE, in_bond=Rates(2e6, 9e6), **lte)  # type: ignore[arg-type]
    said = down(DSL, idle, scheduler=scheduler)
    assert said.startswith(
        "Down: the bond is no faster than dsl alone, 67% of what its links carry one by one. "
    )
    assert "lte holds it back: it carried 2.0 Mbit/s of the 40.0 Mbit/s that it can" in said
    assert why in said


def test_what_was_left_out_is_said_and_not_compared() -> None:
    left = replace(LTE, alone=None, why_not="it is a backup; --metered measures it")
    found = Found((DSL, left), Rates(78e6, 19e6), 5.0, "adaptive")
    assert list(verdict(found)) == [
        "With fewer than two links measured there is nothing to compare the bond with.",
        "lte was not measured alone: it is a backup; --metered measures it.",
    ]
    assert "lte       -            -            40 ms  45.0 MB" in text(found)
    assert next(verdict(replace(found, links=(replace(DSL, alone=Rates(0, 0)), replace(LTE, alone=Rates(0, 0)))))) == (
        "Down: nothing came through any link alone."
    )  # fmt: skip


def test_a_rate_is_taken_between_two_moments_and_not_between_two_looks() -> None:
    count = [(0.0, 0), (1.0, 1000), (2.0, 3000), (4.0, 7000)]
    assert rate_bps(count, 1.5, 3.0) == 8 * (5000 - 2000) / 1.5
    assert rate_bps(count, 1.0, 8.0) == 8 * 6000 / 7
    assert rate_bps([(0.0, 0)], 1.0, 2.0) == 0


def test_a_pinned_link_has_everything_to_itself_but_for_its_cap() -> None:
    engine = FakeEngine()
    uplinks = Uplinks(engine, lambda: 0.0)
    caps = Caps(5_000_000, 5_000_000)
    uplinks.prefer({"wan2": Preference(Tier.BACKUP, caps)})
    uplinks.reconcile([WAN1, WAN2], {Family.V4: SERVER[Family.V4]}, lambda _: "")
    assert uplinks.pin("wan2") == "there is no link wan2 that is up"
    for number in engine.links:
        uplinks.on_event(FakeEvent(kind="link_up", link=number))  # type: ignore[arg-type]
    assert uplinks.pin("wan2") == ""
    tiers = {name: engine.preferences[engine.number_of(name)]["tier"] for name in ("wan1", "wan2")}
    assert tiers == {"wan1": "backup", "wan2": "primary"}
    assert engine.preferences[engine.number_of("wan2")]["up_bps"] == 5_000_000
    wan3 = WanLink(3, "wan3", WAN1.source, None)
    uplinks.reconcile([WAN1, WAN2, wan3], SERVER, lambda _: "")
    assert engine.preferences[engine.number_of("wan3")]["tier"] == "backup", "also one that comes meanwhile"
    uplinks.pin(None)
    tiers = {name: engine.preferences[engine.number_of(name)]["tier"] for name in ("wan1", "wan2", "wan3")}
    assert tiers == {"wan1": "primary", "wan2": "backup", "wan3": "primary"}
    engine.close()


def with_control(ask: Callable[[list[str | None]], object], end: str) -> list[str | None]:
    """Runs a test against a client that only notes which link it was told to pin."""
    pinned: list[str | None] = []

    def pin(link: str | None) -> str:
        pinned.append(link)
        return "there is no link wan9 that is up" if link == "wan9" else ""

    async def both() -> None:
        serving = asyncio.create_task(Control(end, lambda: {"sealed": True}, pin).run())
        await asyncio.sleep(0.05)
        await ask(pinned)  # type: ignore[misc]
        serving.cancel()

    asyncio.run(both())
    return pinned


def test_a_pin_lasts_as_long_as_the_connection_that_asked_for_it() -> None:
    async def ask(pinned: list[str | None]) -> None:
        assert "client-70001" in control.running()
        async with (
            await Caller.connect("client-70001") as first,
            await Caller.connect("client-70001") as second,
        ):
            await first.pin("wan1")
            with pytest.raises(RatbondError, match="another speedtest is running"):
                await second.pin("wan2")
            with pytest.raises(RatbondError, match="no link wan9"):
                await first.pin("wan9")
            assert await second.state() == {"sealed": True}
        await asyncio.sleep(0.05)
        assert pinned == ["wan1", "wan9", None]
        async with await Caller.connect("client-70001") as third:
            await third.pin("wan2")

    with_control(ask, "client-70001")


def test_another_user_is_neither_answered_nor_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(_: list[str | None]) -> None:
        monkeypatch.setattr(control, "_may", lambda _: False)
        with pytest.raises(RatbondError, match="belongs to another user"):
            await Caller.connect("client-70002")

    assert with_control(ask, "client-70002") == []
    with pytest.raises(RatbondError, match="no client-70003 answers on this machine"):
        asyncio.run(Caller.connect("client-70003"))
