"""A preview as data, as text and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

_SCHEMA: Final = 1


class When(StrEnum):
    """The moment of a change. What a moment has brought goes when it is over: a link is lost, the bond is down."""

    START = "start"
    LINKS = "links"
    MET = "met"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Change:
    """One change. ``command`` does the same when it is typed."""

    when: When
    kind: str
    command: str
    before: str = ""  # a sysctl's present value
    client: str = ""  # whose it is, on a server of named clients


@dataclass(frozen=True, slots=True)
class Preview:
    """What an end would change, in its order."""

    role: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...] = ()


def as_json(preview: Preview) -> str:
    """One object."""
    return json.dumps({"schema": _SCHEMA, **asdict(preview)}, indent=2)


def as_text(preview: Preview) -> str:
    """Commands that a shell would take, with the moments as comments."""
    return "\n".join(_lines(preview))


def _lines(preview: Preview) -> Iterator[str]:
    yield f"# What `ratbond {preview.role}` would change on this machine. Nothing has been changed."
    yield from (f"# {remark}" for remark in preview.remarks)
    for (when, client), changes in groupby(preview.changes, key=lambda change: (change.when, change.client)):
        yield ""
        yield f"# {_moment(preview.role, when, client)}"
        for change in changes:
            yield f"{change.command}  # now {change.before}" if change.before else change.command
    yield ""
    yield "# All of it is undone when it ends; after a crash, at its next start."


def _moment(role: str, when: When, client: str) -> str:
    match when:
        case When.START:
            return "at the start"
        case When.LINKS:
            return "for the links that are there now; as links come and go, so does this"
        case When.MET:
            peer = (
                "the server has answered" if role == "client" else f"{client or 'the client'} has connected"
            )
            return f"once {peer}"
        case When.UP:
            return "while the bond is up"
