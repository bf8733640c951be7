"""``ratbond lab``: a lab that stays until it is taken down."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Literal, ParamSpec, TypeVar

import typer

from ratbond.lab import topology
from ratbond.lab.errors import LabError
from ratbond.lab.lab import Lab
from ratbond.lab.report import show, snapshot
from ratbond.linkspec import LinkSpec, SpecError

app = typer.Typer(no_args_is_help=True, help="Emulate WAN links between network namespaces of this machine.")


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="lab")


P = ParamSpec("P")
R = TypeVar("R")

LabName = Annotated[str, typer.Option("--name", help="Which lab, when there are several.")]


def _one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (LabError, SpecError) as error:
            typer.echo(f"ratbond lab: {error}", err=True)
            raise typer.Exit(1) from None

    return run


@app.command()
@_one_line_errors
def up(
    link: Annotated[list[str], typer.Option(help="A link, such as 80mbit,16ms; once for each.")],
    name: LabName = "lab",
    seed: Annotated[int, typer.Option(min=0, help="Which losses and delays chance brings.")] = 0,
) -> None:
    """Make client, WAN and server namespaces with these links between them."""
    show(snapshot(Lab.up(link, name=name, seed=seed, stays=True)))
    named = "" if name == "lab" else f" --name {name}"
    typer.echo(f"try:  ratbond lab exec{named} client -- ping {topology.SERVER_IPV4}")


@app.command("set")
@_one_line_errors
def set_(
    link: Annotated[str, typer.Argument(help="The link's name, such as wan1.")],
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Such as rate=10mbit loss=1%.")
    ],
    name: LabName = "lab",
) -> None:
    """Change a link while it runs."""
    Lab.attach(name).link(link).set(LinkSpec.parse(",".join(changes)))


@app.command("exec")
@_one_line_errors
def exec_(
    host: Annotated[Literal["client", "server"], typer.Argument(help="Where.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What.")],
    name: LabName = "lab",
) -> None:
    """Run a command on a host of the lab, in place of this one."""
    lab = Lab.attach(name)
    arguments = (lab.client if host == "client" else lab.server).command(*command)
    sys.stdout.flush()
    os.execvp(arguments[0], arguments)


@app.command()
@_one_line_errors
def status(
    name: LabName = "lab",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show every link: what it is like, and what it has carried and dropped."""
    found = snapshot(Lab.attach(name))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        show(found)


@app.command()
@_one_line_errors
def down(name: LabName = "lab") -> None:
    """End every process in the lab and take it away; also what is left of one that was killed."""
    if not Lab.remove(name):
        typer.echo(f"there was no lab {name!r}", err=True)


def main() -> None:
    """Run the commands on their own."""
    app(prog_name="ratbond lab")
