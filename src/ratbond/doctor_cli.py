"""``ratbond doctor client | server``: takes the flags of that end, and looks instead of running it."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from ratbond import flags as ends_flags
from ratbond.config import ClientConfig, ServerConfig
from ratbond.doctor.examine import examine
from ratbond.doctor.report import as_json, as_text, healthy

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look for what keeps a tunnel from working.",
)


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="doctor")


_CLIENT = """Look at this machine and ask the server over each WAN link on its own, as a client with these flags would.

Each line is ok, warn or fail; below it stands what to type. The exit status is 1 if anything failed.
"""
_SERVER = """Look at this machine as a server with these flags would find it.

Each line is ok, warn or fail; below it stands what to type. The exit status is 1 if anything failed.
"""


def _mount(model: type[ClientConfig] | type[ServerConfig], about: str) -> None:
    def run(_: typer.Context, flags: dict[str, Any]) -> None:
        _run(model, flags)

    command = ends_flags.with_json(ends_flags.command(model, run, about))
    app.command(model.role.value, context_settings={"max_content_width": 110})(command)


def _run(model: type[ClientConfig] | type[ServerConfig], flags: dict[str, Any]) -> None:
    """Prints the findings. What is wrong with the configuration itself ends it, as it would end the tunnel."""
    json_wanted = flags.pop("as_json")
    loaded = ends_flags.read(model, flags)
    findings = asyncio.run(examine(loaded.config))
    typer.echo(as_json(loaded.config.role.value, findings) if json_wanted else as_text(findings))
    if not healthy(findings):
        raise typer.Exit(1)


_mount(ClientConfig, _CLIENT)
_mount(ServerConfig, _SERVER)
