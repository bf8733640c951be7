"""A configuration file: its values, and the line on which each stands."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ratbond.errors import UsageError

DIRECTORY: Final = Path("/etc/ratbond")
NONE: Final = Path("none")  # --config=none: not even the file that is there
_SECRETS: Final = ("secret", "join")
_HEADER: Final = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?")
_ASSIGNMENT: Final = re.compile(r"""\s*((?:[\w-]|\s*\.\s*|"[^"]*"|'[^']*')+?)\s*=""")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line_of(self, place: KeyPath) -> int | None:
        """The line of a key, or of what is around it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def default_path(role: str) -> Path:
    """Where the file of one end is looked for when none is named."""
    return DIRECTORY / f"{role}.toml"


def find(role: str, named: Path | None) -> ConfigFile | None:
    """The file that is named, or the default one if it is there. Raises UsageError with one line."""
    if named == NONE:
        return None
    if named is None and not default_path(role).exists():
        return None
    return read(named or default_path(role))


def read(path: Path) -> ConfigFile:
    """Reads a file. Raises UsageError with one line, which has the number of a line that is no TOML."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the open file: its name may lead elsewhere by now
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"--config {path}: {reason}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    shared = stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO)
    if shared and any(key in values for key in _SECRETS):
        key = next(key for key in _SECRETS if key in values)
        raise UsageError(f"{path}: others may read it, and it holds {key}; run: chmod 600 {path}")
    return ConfigFile(path, values, dict(lines_of(text)))


def lines_of(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Each key with the number of its line: a plain look at headers and assignments, for messages alone.

    TOML parsers do not tell lines. Text in triple quotes, which no setting needs, may look like a key.
    """
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = _path(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, number
        elif assignment := _ASSIGNMENT.match(line):
            yield (*table, *_path(assignment[1])), number


def _path(dotted: str) -> KeyPath:
    """``links."my dsl"`` in parts, as a parser of TOML reads it; nothing if it cannot."""
    try:
        node: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(node, dict):
        key, node = next(iter(node.items()))
        parts.append(key)
    return tuple(parts)
