"""The dashboard as a person sees it: it moves when traffic flows, and tells what happened to a link.

The module's scene is one bond; its tests are in the order of a day: idle, loaded, a link pulled, restored, the program ended.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.net.bond import RATBOND, until

from .conftest import Scene, Watched
from .looks import CONTRAST, INK, photograph

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]


@contextmanager
def traffic(scene: Scene, *flags: str) -> Iterator[None]:
    """Six flows from client to server for as long as the context lasts; with ``-R`` the other way."""
    server = scene.lab.server.popen("iperf3", "-s", "-B", "10.10.10.1", stdout=subprocess.DEVNULL)
    until(lambda: "5201" in scene.lab.server.run("ss", "-tln").stdout)
    client = scene.lab.client.popen(
        "iperf3", "-c", "10.10.10.1", *flags, "-P", "6", "-t", "300", stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        for process in (client, server):
            process.send_signal(signal.SIGTERM)
            process.wait()


def download(scene: Scene) -> AbstractContextManager[None]:
    return traffic(scene, "-R")


def ink(page: Page, chart: str, link: int) -> int:
    """How many pixels of a chart have a link's colour."""
    painted: int = page.evaluate(INK, [chart, link])
    return painted


def wait_for_ink(page: Page, chart: str, link: int, least: int) -> None:
    until(lambda: ink(page, chart, link) >= least)


def test_an_idle_bond_says_that_all_is_well(page: Page) -> None:
    expect(page.locator("#verdict-text")).to_have_text("The bond is up on both links")
    expect(page.locator(".card")).to_have_count(2)
    for name in ("wan1", "wan2"):
        card = page.locator(".card", has_text=name)
        expect(card.locator(".state")).to_have_text("working")
        expect(card.locator(".doing")).to_have_text("Ready; there is nothing to carry.")
    expect(page.locator("#end")).to_contain_text("client of 203.0.113.1:12345, tunnel 660")
    expect(page.locator("#events")).to_contain_text("wan2 joined the bond")
    photograph(page, "idle")


def test_the_charts_move_when_traffic_flows(page: Page, scene: Scene) -> None:
    # Acknowledgements are few and go where they arrive first: the upload is wan1's alone.
    moving = (("Download", 0), ("Download", 1), ("Upload", 0))
    before = {(chart, link): ink(page, chart, link) for chart, link in moving}
    round_trip_before = ink(page, "Round trip", 0)
    with download(scene):
        for (chart, link), least in before.items():
            wait_for_ink(page, chart, link, least + 300)
        wait_for_ink(page, "Round trip", 0, round_trip_before + 5)
        expect(page.locator(".tile", has_text="Download").locator(".big")).to_contain_text("Mbit/s")
        until(lambda: megabits(page, "Download") > 25)
        for name in ("wan1", "wan2"):
            doing = page.locator(".card", has_text=name).locator(".doing")
            expect(doing).to_contain_text("% of the download")
        page.wait_for_timeout(15_000 if photograph(page) else 0)
        photograph(page, "loaded")


def megabits(page: Page, tile: str) -> float:
    value, unit = page.locator(".tile", has_text=tile).locator(".big").inner_text().split()
    return float(value) if unit == "Mbit/s" else 0.0


def test_the_queue_in_front_of_all_links_is_seen_while_it_stands(page: Page, scene: Scene) -> None:
    """It is the sender's: that of the upload here."""
    queue = page.locator("figure", has_text="Queue").locator("[role=img]")
    expect(queue).to_have_attribute("aria-label", "Queue over time; now: all links 0 B")
    with traffic(scene, "-C", "cubic"):
        expect(queue).to_have_attribute(
            "aria-label", re.compile(r"now: all links [1-9][0-9.]* [kM]B$"), timeout=20_000
        )
    expect(queue).to_have_attribute("aria-label", "Queue over time; now: all links 0 B", timeout=20_000)


def test_a_chart_that_is_not_fed_does_not_move(page: Page) -> None:
    """What the test above measures is the traffic, and not a chart that scrolls."""
    page.get_by_label("1 min").check()
    page.wait_for_timeout(3000)
    before = ink(page, "Upload", 1)
    page.wait_for_timeout(3000)
    assert ink(page, "Upload", 1) <= before + 60


def test_a_pulled_link_is_seen_with_its_reason_and_so_is_its_return(page: Page, scene: Scene) -> None:
    with download(scene):
        until(lambda: megabits(page, "Download") > 20)
        with scene.lab.links[1].interface_pulled():
            happened = page.locator("#events li", has_text="wan2 left the bond").first
            expect(happened).to_contain_text("interface down", timeout=20_000)
            expect(page.locator("#verdict-text")).to_have_text("The bond is up on 1 of 2 links")
            expect(page.locator("#verdict-why")).to_have_text("wan2 is out: interface down.")
            card = page.locator(".card", has_text="wan2")
            expect(card.locator(".state")).to_have_text("out of the bond")
            expect(card.locator(".doing")).to_contain_text("interface down")
            expect(page.locator(".card", has_text="wan1").locator(".doing")).to_contain_text(
                "100 % of the download"
            )
            page.wait_for_timeout(6_000 if photograph(page) else 0)
            photograph(page, "pulled")
        expect(page.locator("#verdict-text")).to_have_text("The bond is up on both links", timeout=30_000)
        expect(page.locator("#events li", has_text="wan2").first).to_contain_text("wan2 joined the bond")


def test_a_silent_link_is_seen_as_such(page: Page, scene: Scene) -> None:
    with scene.lab.links[0].blackhole():
        expect(page.locator(".card", has_text="wan1").locator(".state")).not_to_have_text(
            "working", timeout=20_000
        )
        expect(page.locator("#verdict-text")).to_have_text("The bond is up on 1 of 2 links")
        expect(page.locator("#verdict-why")).to_contain_text("wan1 is")
    expect(page.locator("#verdict-text")).to_have_text("The bond is up on both links", timeout=60_000)


def test_who_comes_later_sees_what_was_before(watched: Watched) -> None:
    page = watched.open()
    page.get_by_label("10 min").check()
    wait_for_ink(page, "Download", 0, 200)
    expect(page.locator("#events")).to_contain_text("wan2 left the bond")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_it_fits_and_can_be_read(page: Page, width: int, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for plot in page.locator(".plot").all():
        box, canvas = plot.bounding_box(), plot.locator("canvas").bounding_box()
        assert box is not None
        assert canvas is not None
        assert canvas["width"] <= box["width"] + 1
        assert canvas["width"] >= box["width"] - 2
    assert page.evaluate(CONTRAST) == []


def test_it_can_be_used_without_a_mouse_and_without_eyes(page: Page) -> None:
    page.get_by_label("2 min").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("10 min")).to_be_checked()
    expect(page.get_by_role("img", name="Download over time; now: wan1")).to_have_count(1)
    assert page.locator("h1").count() == 1
    assert page.locator("main, header, footer").count() == 3
    expect(page.get_by_role("heading", name="Links", exact=True)).to_be_visible()


def test_a_server_shows_its_client(watched: Watched, scene: Scene) -> None:
    """The browser is the client's, so it asks through the tunnel."""
    page = watched.page
    watched.origin = "http://10.10.10.1:8091/"
    page.goto(watched.origin)
    expect(page.locator("#clients-rows tr")).to_have_count(1)
    expect(page.locator("#clients-rows tr td").nth(1)).to_have_text("2 of 2")
    expect(page.locator(".tile h2").first).to_have_text("↓ To the client")
    before = ink(page, "To the client", 0)
    with download(scene):
        wait_for_ink(page, "To the client", 0, before + 300)
    photograph(page, "server")


def test_prometheus_and_watchdogs_are_answered_while_somebody_watches(page: Page) -> None:
    def get(path: str) -> str:
        text: str = page.evaluate("async (path) => (await fetch(path)).text()", path)
        return text

    assert get("healthz") == "ok: 2 of 2 links up\n"
    assert 'ratbond_link_up{client="",conv=' in get("metrics")
    assert json.loads(get("status"))["role"] == "client"


def test_a_terminal_is_told_the_same(scene: Scene) -> None:
    printed = scene.client.host.run(*RATBOND, "top").stdout
    assert "The bond is up on both links" in printed
    assert "wan2 left the bond: interface down" in printed
    assert scene.server.host.run(*RATBOND, "top").stdout.count("1 of 1 client connected") == 1


def test_a_program_that_ends_is_missed_at_once_and_ends_without_a_word(
    watched: Watched, scene: Scene
) -> None:
    page = watched.open()
    assert scene.client.stop() == 0
    expect(page.locator("#stale")).to_contain_text("No connection to ratbond")
    assert "Traceback" not in scene.client.log
    watched.complaints.clear()  # the browser says that nobody answers, and so it should
    scene.bond.client("--secret-file", str(scene.secret))
    expect(page.locator("#stale")).to_be_hidden(timeout=30_000)
    expect(page.locator("#verdict-text")).to_have_text("The bond is up on both links", timeout=30_000)
    watched.complaints.clear()
