"""A bond in a lab, and a real browser on the client's host.

    browser ─ client ─┬─ wan1 40 Mbit/s, 16 ms ─┬─ server
                      └─ wan2 20 Mbit/s, 50 ms ─┘

The browser runs inside the client's namespace, which leads nowhere but to the server: what it shows without the Internet is all
there is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ratbond.lab import Lab
from tests.net.bond import Bond, End

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
URL = "http://127.0.0.1:8091/"


@dataclass(frozen=True, slots=True)
class Scene:
    """Both ends, up."""

    lab: Lab
    bond: Bond
    server: End
    client: End
    secret: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("dashboard")
    with Lab.up(["40mbit,16ms", "20mbit,50ms"], name=f"dash{os.getpid()}") as lab:
        bond = Bond(lab, directory)
        secret = directory / "secret"
        secret.touch(mode=0o600)
        secret.write_text("7f" * 32)
        server, client = bond.up(f"--secret-file={secret}")
        yield Scene(lab, bond, server, client, secret)
        for end in bond.ends:
            if end.process.poll() is None:
                end.stop()
            assert "Traceback" not in end.log
            assert " error: " not in end.log


@pytest.fixture(scope="module")
def browser(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium on the client's host."""
    if CHROMIUM is None:
        pytest.fail("there is no Chromium; install it (Debian: apt-get install chromium-headless-shell)")
    wrapper = tmp_path_factory.mktemp("browser") / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(scene.lab.client.command(CHROMIUM))} "$@"\n')
    wrapper.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=wrapper)
        yield browser
        browser.close()


class Watched:
    """A page, and all that it complains of or asks others for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.origin = URL
        self.complaints: list[str] = []
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(self.origin) else self.complaints.append(f"asks {request.url}")
            ),
        )

    def open(self) -> Page:
        self.page.goto(self.origin)
        self.page.wait_for_selector("body[data-live=yes]")
        return self.page


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """The dashboard, alive."""
    return watched.open()
