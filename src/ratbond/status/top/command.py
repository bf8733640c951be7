"""``ratbond top`` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from ratbond.errors import UsageError
from ratbond.models import HostPort


def mount(app: typer.Typer) -> None:
    """Puts the command under ``ratbond``."""
    app.command("top", short_help="Watch the bond live in the terminal.")(top)


def top(
    *,
    http_listen_addr: Annotated[
        str, typer.Option(help="The --http-listen-addr of the ratbond to watch.", metavar="ADDRESS:PORT")
    ] = "127.0.0.1:8091",
) -> None:
    """Watch the bond live in the terminal: links, rates, round trips, losses, events. Without a terminal, print it once."""
    from ratbond.status.top import terminal

    try:
        address = HostPort.parse(http_listen_addr)
    except ValueError as error:
        raise UsageError(f"--http-listen-addr: {error}") from None
    terminal.run(address)
