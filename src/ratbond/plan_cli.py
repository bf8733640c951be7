"""``ratbond plan client | server``: takes the flags of that end, and tells what it would change instead of changing it."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from ratbond import flags as ends_flags
from ratbond.config import ClientConfig, ServerConfig
from ratbond.preview.foresee import foresee
from ratbond.preview.model import as_json, as_text

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Print what an end would change here, before it does.",
)


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="plan")


def _mount(model: type[ClientConfig] | type[ServerConfig]) -> None:
    def run(_: typer.Context, given: dict[str, Any]) -> None:
        json_wanted = given.pop("as_json")
        preview = asyncio.run(foresee(ends_flags.read(model, given).config))
        typer.echo(as_json(preview) if json_wanted else as_text(preview))

    about = f"""Print what `ratbond {model.role.value}` with these flags would change: devices, addresses, routes, rules, sysctls, nftables.

    It is told in the words of ip, sysctl and nft, and nothing is changed.
    """
    command = ends_flags.with_json(ends_flags.command(model, run, about))
    app.command(model.role.value, context_settings={"max_content_width": 110})(command)


_mount(ClientConfig)
_mount(ServerConfig)
