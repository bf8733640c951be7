"""What those who follow a tunnel get to see."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.logs import get_logger
from ratbond.status import feed
from ratbond.status.feed import Feed, FeedHandler, message
from ratbond.status.model import LinkStatus, Status

from .test_status_http import LINK, SESSION, STATUS


def status(*links: LinkStatus) -> Status:
    return replace(STATUS, sessions=(replace(SESSION, links=links),))


async def take(following: AsyncGenerator[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    return [await anext(following) for _ in range(count)]


def test_the_history_has_a_column_for_each_figure_of_each_link() -> None:
    known = Feed()
    known.add(status(LINK), 100.0)
    known.add(status(replace(LINK, retransmits=13), replace(LINK, name="wan2", rtt_ms=0.0)), 101.0)
    history = known.history()
    assert history["at_s"] == [100.0, 101.0]
    first, second = history["links"]
    assert (first["name"], first["tx_bps"], first["rtt_ms"]) == ("wan1", [8e6, 8e6], [20.5, 20.5])
    assert first["retransmits_per_s"] == [0.0, 10.0]
    assert second["rx_bps"] == [None, 16e6]
    assert second["rtt_ms"] == [None, None]  # none is known before the first answer


def test_the_queue_in_front_of_all_links_is_the_sessions() -> None:
    known = Feed()
    known.add(status(LINK), 1.0)
    known.add(replace(STATUS, sessions=(replace(SESSION, queued_bytes=7000),)), 2.0)
    known.add(replace(STATUS, sessions=()), 3.0)
    assert known.history()["sessions"] == [{"session": SESSION.id, "queued_bytes": [0, 7000, None]}]


def test_the_conversations_of_a_link_are_added_up() -> None:
    known = Feed()
    known.add(status(LINK, replace(LINK, conv=661, loss=0.25)), 1.0)
    (link,) = known.history()["links"]
    assert (link["tx_bps"], link["loss"]) == ([16e6], [0.25])


def test_a_link_made_anew_has_not_retransmitted_less_than_nothing() -> None:
    known = Feed()
    known.add(status(replace(LINK, retransmits=1000)), 1.0)
    known.add(status(replace(LINK, retransmits=1)), 2.0)
    assert known.history()["links"][0]["retransmits_per_s"] == [0.0, 0.0]


@given(st.lists(st.integers(0, 70), max_size=30))
def test_what_is_remembered_is_bounded_whatever_comes(sizes: list[int]) -> None:
    known = Feed(max_cells=50)
    for at_s, size in enumerate(sizes):
        known.add(status(*(replace(LINK, name=f"wan{n}") for n in range(size))), at_s)
        history = known.history()
        cells = sum(value is not None for link in history["links"] for value in link["tx_bps"])
        assert cells <= max(50, size)
        assert history["at_s"][-1] == at_s


def test_ten_minutes_are_remembered() -> None:
    known = Feed()
    for at_s in range(feed.MAX_SAMPLES + 5):
        known.add(status(LINK), at_s)
    assert known.history()["at_s"][0] == 5


def test_events_are_bounded_and_numbered() -> None:
    known = Feed()
    for number in range(feed.MAX_EVENTS + 50):
        known.tell(number, "info", "x", {})
    assert [h.id for h in known.happenings()][:2] == [51, 52]
    assert [h.id for h in known.happenings(after=149)] == [150]


def test_a_follower_gets_the_past_and_then_each_second() -> None:
    async def follow() -> list[tuple[str, Any]]:
        known = Feed()
        known.add(status(LINK), 1.0)
        known.tell(1.5, "warning", "link left the bond", {"link": "wan1"})
        following = known.follow()
        past = await take(following, 3)
        known.add(status(LINK), 2.0)
        known.add(status(LINK), 3.0)
        fresh = await take(following, 2)
        known.close()
        assert [name async for name, _ in following] == []
        assert known.followers == 0
        return past + fresh

    got = asyncio.run(follow())
    assert [name for name, _ in got] == ["history", "event", "status", "sample", "status"]
    assert got[0][1]["at_s"] == [1.0]
    assert (got[1][1]["text"], got[1][1]["facts"]) == ("link left the bond", {"link": "wan1"})
    assert got[3][1]["at_s"] == [2.0, 3.0]  # who is slow gets what was missed in one


def test_what_the_log_tells_is_an_event_with_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ratbond")

    async def log() -> list[feed.Happening]:
        known = Feed()
        with FeedHandler(known).attached():
            ours = get_logger("ratbond.daemon.x")
            ours.warning("link left the bond", link="wan1", why="interface down")
            ours.info("statistics", tx="1 bit/s")
            ours.debug("a detail")
            logging.getLogger("ratbond.x").info("a library's way to log")
            logging.getLogger("uvicorn.error").warning("not ours")
            await asyncio.sleep(0)
        get_logger("ratbond.daemon.x").warning("after the end")
        return known.happenings()

    (happening,) = asyncio.run(log())
    assert (happening.level, happening.text) == ("warning", "link left the bond")
    assert happening.facts == {"link": "wan1", "why": "interface down"}


def test_a_message_of_the_stream_is_two_lines_whatever_is_in_it() -> None:
    text = message("event", {"why": "a\nforged: line\r\n"})
    assert text.startswith("event: event\ndata: ")
    assert text.endswith("\n\n")
    assert text.count("\n") == 3
    assert "\r" not in text
    assert json.loads(text.partition("data: ")[2])["why"] == "a\nforged: line\r\n"
