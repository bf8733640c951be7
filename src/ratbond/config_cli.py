"""``ratbond config check | show | schema``: what a configuration file says, before it counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from ratbond import flags
from ratbond.config import ClientConfig, Role, ServerConfig
from ratbond.config.complaints import complaints, in_the_files_words
from ratbond.config.file import ConfigFile, default_path, read
from ratbond.config.show import shown
from ratbond.config.sources import lay_over
from ratbond.errors import RatbondError, UsageError

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Check, show and describe configuration files."
)


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="config")


show_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Print what an end would run with, and where each value comes from; secrets are not shown.",
)
app.add_typer(show_app, name="show")

MODELS: Final[dict[Role, type[ClientConfig | ServerConfig]]] = {
    Role.CLIENT: ClientConfig,
    Role.SERVER: ServerConfig,
}

RoleOption = Annotated[
    Role | None,
    typer.Option(help="Whose file it is; without it, its name or its keys tell.", metavar="client|server"),
]


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="[default: those of /etc/ratbond that are there]", metavar="[FILE]...", show_default=False
        ),
    ] = None,
    *,
    role: RoleOption = None,
) -> None:
    """Say all that is wrong with a configuration file, a line each. Exits with 2 if anything is."""
    found = files or [path for path in map(default_path, Role) if path.exists()]
    if not found:
        raise UsageError(
            f"there is neither {default_path('client')} nor {default_path('server')}; name a file"
        )
    wrong = [line for path in found for line in _wrong_with(path, role)]
    for line in wrong:
        sys.stderr.write(f"ratbond: error: {line}\n")
    if wrong:
        raise typer.Exit(UsageError.exit_code)


@app.command()
def schema(role: Annotated[Role, typer.Argument(help="Whose file.", metavar="client|server")]) -> None:
    """Print the JSON Schema of a configuration file, for editors that complete and check TOML."""
    typer.echo(schema_of(role), nl=False)


def schema_of(role: Role) -> str:
    """The JSON Schema of an end's file."""
    made = MODELS[role].model_json_schema()
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": f"{role.value}.toml of ratbond",
    }
    made.pop("required", None)  # what a file leaves out, a flag or a variable may give
    return json.dumps(made, indent=2) + "\n"


def _show(role: Role) -> None:
    def run(_: typer.Context, given: dict[str, Any]) -> None:
        typer.echo(shown(flags.read(MODELS[role], given)), nl=False)

    about = f"What `ratbond {role.value}` would run with. Takes its flags."
    show_app.command(role.value)(flags.command(MODELS[role], run, about))


for _role in Role:
    _show(_role)


def _wrong_with(path: Path, role: Role | None) -> Iterator[str]:
    try:
        file = read(path)
        chosen = role or _role_of(file)
    except UsageError as error:
        yield str(error)
        return
    model = MODELS[chosen]
    given, origins = lay_over(model, {}, {}, file)
    try:
        config = model.model_validate(given)
        if isinstance(config, ClientConfig) and config.policy:
            _try_policy(config.policy, str(origins["policy"]))
    except ValidationError as error:
        yield from complaints(model, error, given, origins, file)
    except RatbondError as error:
        yield in_the_files_words(str(error), origins)
    else:
        typer.echo(f"{path}: good, for a {chosen.value}")


def _try_policy(words: str, where: str) -> None:
    """Makes the policy, as the client would: its own code may be anything. Raises UsageError with one line."""
    from ratbond.policy import choose

    try:
        choose.make(words)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    except Exception as error:  # noqa: BLE001 (somebody else's code)
        raise UsageError(f"{where}: policy {words!r}: {type(error).__name__}: {error}") from None


def _role_of(file: ConfigFile) -> Role:
    """By the file's name, or by a key that only one end has. Raises UsageError when neither tells."""
    for role in Role:
        if file.path.name.startswith(role.value):
            return role
    client, server = (file.values.keys() & MODELS[role].model_fields.keys() for role in Role)
    own = {Role.CLIENT: client - server, Role.SERVER: server - client}
    telling = [
        role for role in Role if own[role] and not own[Role.SERVER if role is Role.CLIENT else Role.CLIENT]
    ]
    if not telling:
        raise UsageError(f"{file.path}: is it a client's or a server's? tell with --role")
    return telling[0]
