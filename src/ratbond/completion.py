"""Completion in shells: typer's own, told of our default command and of commands that are loaded only when they are asked for.

The script that ``ratbond completions bash`` prints runs ``ratbond`` at every Tab with what has been typed in variables.
"""

from __future__ import annotations

import socket
import typing
from collections.abc import Callable, Collection, Mapping, MutableMapping
from enum import StrEnum
from typing import Any, Final, Literal

VARIABLE: Final = "_RATBOND_COMPLETE"
_LINES: Final = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")  # bash's; zsh's and fish's
_INDEX: Final = "COMP_CWORD"

Complete = Callable[[str], list[str]]  # typer goes by the name of its parameter


class Shell(StrEnum):
    """Shells there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def register_shells() -> None:
    """Lets typer know the shells, which it does by itself only for its own flags that install a script."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()


def typed(environment: Mapping[str, str]) -> list[str]:
    """The words typed so far, without the program's own."""
    line = next((environment[name] for name in _LINES if name in environment), "")
    return line.split()[1:]


def with_default(environment: MutableMapping[str, str], default: str, own_flags: Collection[str]) -> None:
    """Puts in the default command where a flag has been typed in its place."""
    words = typed(environment)
    if not words or not words[0].startswith("-") or any(flag.startswith(words[0]) for flag in own_flags):
        return
    for name in _LINES:
        if name in environment:
            program, rest = environment[name].split(maxsplit=1)
            environment[name] = f"{program} {default} {rest}"
    if _INDEX in environment:
        environment[_INDEX] = str(int(environment[_INDEX]) + 1)


def of_values(annotation: Any, metavar: str) -> Complete | None:
    """What completes a flag's value: one of a few words, or an interface. None: the shell's own way, which knows files."""
    words = _words(annotation)
    if words:
        return lambda incomplete: [word for word in words if word.startswith(incomplete)]
    if metavar.startswith("IFACE"):
        return lambda incomplete: [name for _, name in socket.if_nameindex() if name.startswith(incomplete)]
    return None


def _words(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [member.value for member in annotation]
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    return [word for part in typing.get_args(annotation) for word in _words(part)]
