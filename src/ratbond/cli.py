"""The command ``ratbond``."""

from typing import Annotated

import typer

from ratbond import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ratbond {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *, version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False
) -> None:
    """Bond several WAN links into one tunnel."""


def main() -> None:
    """Run the command; its errors are one line each."""
    app()
