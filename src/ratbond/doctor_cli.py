"""``ratbond doctor client | server``: takes the flags of that end, and looks instead of running it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ratbond import flags as ends_flags
from ratbond.config import ClientConfig, ServerConfig, load, process_environment
from ratbond.doctor.examine import examine
from ratbond.doctor.report import as_json, as_text, healthy
from ratbond.engine import EngineError, keep_memory_private
from ratbond.errors import RatbondError

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
_JSON = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print JSON.")],
)


def _mount(model: type[ClientConfig] | type[ServerConfig], about: str) -> None:
    def run(_: typer.Context, flags: dict[str, Any]) -> None:
        _run(model, flags)

    command = _with_json(ends_flags.command(model, run, about))
    app.command(model.role.value, context_settings={"max_content_width": 110})(command)


def _with_json(command: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(command)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), _JSON]
    )
    return command


def _run(model: type[ClientConfig] | type[ServerConfig], flags: dict[str, Any]) -> None:
    """Prints the findings. What is wrong with the configuration itself ends it, as it would end the tunnel."""
    try:
        keep_memory_private()
    except EngineError as error:
        raise RatbondError(str(error)) from None
    json_wanted, named = flags.pop("as_json"), flags.pop("config")
    loaded = load(model, flags, process_environment(), named)
    findings = asyncio.run(examine(loaded.config))
    typer.echo(as_json(loaded.config.role.value, findings) if json_wanted else as_text(findings))
    if not healthy(findings):
        raise typer.Exit(1)


_mount(ClientConfig, _CLIENT)
_mount(ServerConfig, _SERVER)
