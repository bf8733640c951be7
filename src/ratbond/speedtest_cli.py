"""``ratbond speedtest``: asks the client that runs here, or runs one for the time of the test."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ratbond import flags as ends_flags
from ratbond.bond import Bond
from ratbond.config import ClientConfig
from ratbond.errors import UsageError
from ratbond.speedtest.control import Caller, running
from ratbond.speedtest.result import Found, text
from ratbond.speedtest.run import Tell, Wishes, test

_ABOUT: Final = """Measure how fast each link is alone, and all of them together, down and up.

It asks the client that runs on this machine; where none does, it takes the flags of `ratbond client` and connects for as long as it
takes. While a link is measured alone, everything goes over it.
"""
_SECONDS: Final = (1, 30)
_CONNECTIONS: Final = (1, 16)


def mount(parent: typer.Typer) -> None:
    """Puts the command under ``ratbond``."""
    command = ends_flags.with_more(
        ends_flags.command(ClientConfig, _run, _ABOUT),
        seconds=(float, 5.0, typer.Option(help="How long each measurement takes, after 1.5 s to get going; 1 to 30.", metavar="S")),
        connections=(int, 6, typer.Option(help="TCP connections at a time, 1 to 16.", metavar="N")),
        metered=(bool, False, typer.Option("--metered", help="Measure links with a quota and backups alone, too.")),
        as_json=(bool, False, typer.Option("--json", help="Print JSON.")),
    )  # fmt: skip
    parent.command("speedtest", context_settings={"max_content_width": 110}, short_help="Measure each link alone and the bond.")(command)  # fmt: skip


def _run(_: typer.Context, given: dict[str, Any]) -> None:
    as_json = given.pop("as_json")
    wishes = Wishes(given.pop("seconds"), given.pop("connections"), given.pop("metered"))
    for flag, value, (low, high) in (
        ("seconds", wishes.seconds, _SECONDS),
        ("connections", wishes.connections, _CONNECTIONS),
    ):
        if not low <= value <= high:
            raise UsageError(f"--{flag} must be from {low} to {high}")
    with _progress() as tell:
        found = asyncio.run(_test(given, wishes, tell))
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else text(found), nl=as_json)


async def _test(given: dict[str, Any], wishes: Wishes, tell: Tell) -> Found:
    async with AsyncExitStack() as stack:
        end = _end_that_runs(given)
        if not end:
            end = await stack.enter_async_context(_client_of_its_own(given))
        client = await stack.enter_async_context(await Caller.connect(end))
        return await test(client, wishes, tell)


@asynccontextmanager
async def _client_of_its_own(given: dict[str, Any]) -> AsyncIterator[str]:
    """Runs the client that flags, variables and file describe, but routes nothing into its tunnel; gives its name."""
    loaded = ends_flags.read(ClientConfig, given)
    settings = {name: value for name, value in given.items() if value is not None}
    for name, origin in loaded.origins.items():
        if origin.kind == "environment":
            settings[name] = getattr(loaded.config, name)
    settings |= {"no_default_route": True, "route": [], "no_leak": False, "nat": False, "lan": []}
    async with Bond(config=loaded.file, **settings):
        yield loaded.config.end_name


def _end_that_runs(given: dict[str, Any]) -> str:
    """The client to ask: the one with the tunnel-id that is given, or the only one; empty if there is none. Raises UsageError."""
    ends = running()
    if given.get("tunnel_id") is not None:
        wanted = f"client-{given['tunnel_id']}"
        return wanted if wanted in ends else ""
    if len(ends) > 1:
        ids = ", ".join(end.removeprefix("client-") for end in ends)
        raise UsageError(f"more than one client runs here: give --tunnel-id, one of {ids}")
    return ends[0] if ends else ""


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on a terminal; nothing anywhere else."""
    console = Console(stderr=True)
    if not sys.stderr.isatty() or console.is_dumb_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("connecting", total=None)

        def tell(what: str, direction: str, passed_s: float, whole_s: float) -> None:
            progress.update(bar, description=f"{what}, {direction}", completed=passed_s, total=whole_s)

        yield tell
