"""``ratbond top``: what the stream tells, laid out on screens of any size, and what keys do."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.status.feed import Feed, message
from ratbond.status.model import LinkStatus, Rates, Status
from ratbond.status.top.chart import Pen
from ratbond.status.top.keys import press, split
from ratbond.status.top.picture import Picture, natural
from ratbond.status.top.view import Choices, screen

from .test_status_http import LINK, SESSION, STATUS

WAN2 = replace(LINK, name="wan2", rtt_ms=70.6, loss=0.0, rates=Rates(0.0, 4e6, 0, 350), uptime_s=12.0)
LEFT = {"id": 1, "at_s": 100.0, "level": "warning", "text": "link left the bond", "facts": {"link": "wan2", "why": "interface down", "links_up": "1"}}  # fmt: skip


def told(*statuses: Status, events: tuple[dict[str, Any], ...] = ()) -> list[tuple[str, Any]]:
    """What the stream says of an end that had these statuses, a second after another."""
    feed = Feed()
    said: list[tuple[str, Any]] = [("history", feed.history()), *(("event", event) for event in events)]
    for second, status in enumerate(statuses):
        feed.add(status, 100.0 + second)
        said += [("sample", feed.history(1)), ("status", status.to_json())]
    return said


def picture_of(*statuses: Status, events: tuple[dict[str, Any], ...] = ()) -> Picture:
    picture = Picture()
    for name, data in told(*statuses, events=events):
        picture.take(name, json.loads(json.dumps(data)))
    return picture


def client(*links: LinkStatus, up: bool = True) -> Status:
    return replace(STATUS, warnings=(), sessions=(replace(SESSION, links=links, up=up),))


def server(*names: str) -> Status:
    sessions = [
        replace(SESSION, id=n, client=name, links=(replace(LINK, name=f"192.0.2.{n}:5000"),))
        for n, name in enumerate(names)
    ]
    return replace(STATUS, role="server", warnings=(), address="0.0.0.0:12345", sessions=tuple(sessions))  # fmt: skip


def text(picture: Picture, choices: Choices | None = None, width: int = 80, height: int | None = 24) -> str:
    lines = screen(picture, choices or Choices(), Pen(), width, height)
    return "\n".join(line.plain for line in lines)


def test_a_small_screen_has_both_links_their_figures_and_why_one_is_out() -> None:
    shown = text(picture_of(client(LINK, WAN2), client(LINK), events=(LEFT,)))
    assert "The bond is up on 1 of 2 links: wan2 is out: interface down" in shown
    for word in ("16.0 Mbit/s", "8.0 Mbit/s", "20.5 ms", "1.5 %", "Out of the bond: interface down"):
        assert word in shown, word
    assert "! wan2 left the bond: interface down, 1 link up" in shown


def test_the_sparkline_follows_the_traffic() -> None:
    def busy(bps: float) -> Status:
        return client(replace(LINK, rates=Rates(0.0, bps, 0, 0)))

    row = next(
        line
        for line in text(picture_of(*map(busy, (0, 1e6, 4e6, 8e6)))).splitlines()
        if line.startswith("  ↓")
    )
    assert row.rstrip("↑ ").endswith("▁▄█")


def test_a_bond_that_is_down_says_what_it_waits_for() -> None:
    waiting = {
        "id": 1,
        "at_s": 1.0,
        "level": "warning",
        "text": "waiting",
        "facts": {"what": "no answer yet"},
    }
    assert "The bond is down: no answer yet" in text(picture_of(client(up=False), events=(waiting,)))


def test_a_stream_that_breaks_is_said_and_the_last_picture_stays() -> None:
    picture = picture_of(client(LINK))
    picture.take("lost", "ratbond has ended")
    assert "No news: ratbond has ended" in text(picture)
    assert "wan1" in text(picture)
    picture.take("status", client(LINK).to_json())
    assert "No news" not in text(picture)


def test_the_conversations_of_a_link_are_one_row() -> None:
    assert text(picture_of(client(LINK, replace(LINK, conv=661)))).count("wan1") == 1
    assert "32.0 Mbit/s" in text(picture_of(client(LINK, replace(LINK, conv=661))))


def test_a_servers_link_that_comes_back_from_another_port_is_no_second_link() -> None:
    first, second = (replace(LINK, name=f"192.0.2.1:{port}") for port in (5000, 6000))
    links = picture_of(client(first), client(second)).links({"id": 0, "links": [json.loads(json.dumps(client(second).to_json()))["sessions"][0]["links"][0]]})  # fmt: skip
    assert [link.name for link in links] == ["192.0.2.1:6000"]


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (100, 30), (132, 43), (220, 60)])
@pytest.mark.parametrize("links", [0, 1, 2, 30])
@pytest.mark.parametrize("opened", [False, True])
def test_it_fits_every_screen(width: int, height: int, links: int, opened: bool) -> None:
    names = [replace(LINK, name=f"wan{n}") for n in range(links)]
    picture = picture_of(client(*names), client(*names[1:]), events=(LEFT,) * 20)
    choices = Choices(link="wan1", opened=opened)
    lines = screen(picture, choices, Pen(), width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert "quit" in lines[-1].plain
    if links == 30:
        assert "wan1 " in "\n".join(line.plain for line in lines), "the selected one is always there"


def test_the_arrows_walk_the_links_and_enter_shows_one_in_full() -> None:
    picture, choices = picture_of(client(LINK, WAN2)), Choices()
    for key in ("down", "down"):
        press(key, choices, picture)
    assert choices.link == "wan2"
    press("down", choices, picture)
    assert choices.link == "wan1"
    press("enter", choices, picture)
    shown = text(picture, choices)
    for word in ("10.0.1.2:4000", "192.0.2.1:12345", "500 ms", "3 of 12, 1 by timeout", "Came twice"):
        assert word in shown, word
    press("back", choices, picture)
    assert "10.0.1.2:4000" not in text(picture, choices)


def test_at_a_server_the_arrows_walk_the_clients_first() -> None:
    picture, choices = picture_of(server("car", "van")), Choices()
    assert "> car" in text(picture, choices)
    press("down", choices, picture)
    assert "> van" in text(picture, choices)
    assert "192.0.2.1:5000" in text(picture, choices)
    press("enter", choices, picture)
    press("enter", choices, picture)
    assert choices.opened
    for _ in range(2):
        press("back", choices, picture)
    press("up", choices, picture)
    assert "> car" in text(picture, choices)


def test_a_server_that_nobody_has_joined_says_so() -> None:
    assert "No client has connected yet" in text(picture_of(server()))


def test_links_are_sorted_as_asked() -> None:
    picture, choices = picture_of(client(WAN2, LINK)), Choices()
    order = []
    for _ in range(4):
        shown = text(picture, choices)
        order.append("wan1" if shown.index("wan1 ") < shown.index("wan2 ") else "wan2")
        press("s", choices, picture)
    assert order == ["wan1"] * 4  # first by name, by rate, by round trip, and by loss
    assert (
        text(picture_of(client(replace(WAN2, rates=Rates(0, 1e9)), LINK)), Choices(sort=1)).index("wan2 ") > 0
    )


def test_keys_are_told_apart_and_q_ends_it() -> None:
    assert split("\x1b[A\x1bOBjq\x1b") == ["up", "down", "down", "q", "back"]
    assert not press("q", Choices(), Picture())
    assert all(press(key, Choices(), Picture()) for key in ("up", "enter", "back", "s", "p", "?", "x"))


def test_names_sort_as_people_count() -> None:
    assert sorted(["wan10", "wan2", "eth0", "wan1"], key=natural) == ["eth0", "wan1", "wan2", "wan10"]


@given(
    st.lists(st.lists(st.floats(0, 1e9) | st.none(), max_size=20), min_size=1, max_size=4),
    st.integers(0, 30),
    st.integers(1, 8),
    st.booleans(),
)
def test_a_chart_has_its_size_whatever_it_shows(
    columns: list[list[float | None]], width: int, rows: int, blocks: bool
) -> None:
    lines = Pen(blocks).stack([(column, "red") for column in columns], width, rows, 1e9)
    assert len(lines) == rows
    assert all(line.cell_len == width for line in lines)
    assert Pen(blocks).spark(columns[0], width, 1e9, "red").cell_len == width


@contextmanager
def serving(said: list[tuple[str, Any]]) -> Iterator[str]:
    """A status server on loopback that says this, and then nothing until the end."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/events" else 404)
            self.end_headers()
            for name, data in said:
                self.wfile.write(message(name, data).encode())
            self.wfile.flush()
            ended.wait(60)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{http.server_port}"
        finally:
            ended.set()
            http.shutdown()


COMMAND = (sys.executable, "-m", "ratbond", "top", "--http-listen-addr")


def test_without_a_terminal_it_prints_one_picture_without_colours() -> None:
    with serving(told(client(LINK, WAN2), events=(LEFT,))) as address:
        done = subprocess.run([*COMMAND, address], capture_output=True, text=True, check=True, timeout=60)
    assert "wan1" in done.stdout
    assert "wan2" in done.stdout
    assert "\x1b" not in done.stdout


class Screen:
    """The command on a terminal of its own."""

    def __init__(self, address: str, term: str = "xterm-256color") -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        self.process = subprocess.Popen(
            [*COMMAND, address], stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            env=os.environ | {"TERM": term},
        )  # fmt: skip

    def until(self, words: str) -> None:
        while words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], 60)
            assert ready, self.seen
            self.seen += os.read(self.master, 65_536).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        code = self.process.wait(60)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65_536).decode(errors="replace")
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is as it was"
        os.close(self.master)
        os.close(self.slave)
        return code


def test_on_a_terminal_it_is_live_obeys_keys_and_leaves_the_screen_as_it_was() -> None:
    with serving(told(client(LINK, WAN2))) as address:
        top = Screen(address)
        top.until("wan2")
        top.type("jj\r")
        top.until("Came twice")
        top.type("q")
        assert top.end() == 0
    assert top.seen.index("\x1b[?1049h") < top.seen.rindex("\x1b[?1049l"), (
        "the alternate screen was used, and left"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    with serving(told(client(LINK))) as address:
        top = Screen(address)
        top.until("wan1")
        top.process.send_signal(number)
        assert top.end() == 0
    assert top.seen.rindex("\x1b[?1049l") > 0


def test_a_dumb_terminal_gets_one_picture() -> None:
    with serving(told(client(LINK))) as address:
        top = Screen(address, term="dumb")
        top.until("wan1")
        assert top.end() == 0
    assert "\x1b" not in top.seen
