"""``ratbond service install | remove``: loaded only when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ratbond.errors import RatbondError, UsageError
from ratbond.ownership import CONFIGURATION
from ratbond.service import machine as system
from ratbond.service import plan

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run ratbond as a service, at every boot.",
)


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="service")


Role = Annotated[
    str, typer.Argument(help="client or server.", metavar="ROLE", autocompletion=lambda: list(plan.ROLES))
]
Root = Annotated[
    Path,
    typer.Option(
        help="Write the files below this directory and tell nobody: for packages and images.", metavar="DIR"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.command("install")
def install(role: Role, *, root: Root = Path("/"), dry_run: DryRun = False) -> None:
    """Make a service of this installation: systemd's with a user of its own, or OpenWrt's. Done again it changes nothing."""
    machine = _look(role, root, dry_run=dry_run)
    _do(plan.install(machine, role), root, dry_run=dry_run)
    configuration = CONFIGURATION / f"{role}.toml"
    if role not in machine.configurations:
        start = (
            f"systemctl start ratbond-{role}"
            if machine.manager is plan.Manager.SYSTEMD
            else f"{plan.INIT_SCRIPT} start"
        )
        typer.echo(f"It starts once there is {configuration}; then: {start}", err=True)


@app.command("remove")
def remove(role: Role, *, root: Root = Path("/"), dry_run: DryRun = False) -> None:
    """Stop the service and take back what `install` did. The configuration stays."""
    _do(plan.remove(_look(role, root, dry_run=dry_run), role), root, dry_run=dry_run)


def _look(role: str, root: Path, *, dry_run: bool) -> plan.Machine:
    if role not in plan.ROLES:
        raise UsageError(f"{role!r} is neither client nor server")
    if os.geteuid() != 0 and root == Path("/") and not dry_run:
        raise RatbondError(
            "services are root's business: run it as root, or see what it would do with --dry-run"
        )
    return system.look(root.absolute())


def _do(steps: list[plan.Step], root: Path, *, dry_run: bool) -> None:
    for step in steps:
        if not dry_run:
            system.do([step], root.absolute())
        typer.echo(plan.in_words(step))
