"""Writes a configuration file, or changes one: comments, order and all that was not asked for stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ratbond import files
from ratbond.config import ClientConfig, ServerConfig
from ratbond.config.complaints import complaints
from ratbond.config.file import ConfigFile, read
from ratbond.config.sources import lay_over
from ratbond.errors import RatbondError, UsageError


def present(path: Path) -> dict[str, Any]:
    """What the file says now; nothing if there is none. Raises UsageError when it cannot be read."""
    return dict(read(path).values) if path.exists() else {}


def write(
    path: Path, model: type[ClientConfig | ServerConfig], header: str, values: Mapping[str, Any], mode: int
) -> bool:
    """Sets these keys (None takes one out); False when the file says all that already. Raises RatbondError."""
    import tomlkit

    before = path.read_text(encoding="utf-8") if path.exists() else ""
    document = tomlkit.parse(before)
    if not before:
        for line in header.splitlines():
            document.add(tomlkit.comment(line))
    for name, value in values.items():
        if value is None:
            document.pop(name, None)
        elif document.get(name) != value:
            document[name] = value
    text = tomlkit.dumps(document)
    if text == before:
        return False
    _check(path, model, document.unwrap())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise RatbondError(f"{path.parent}: {error.strerror}; run as root") from None
    files.replace(path.resolve(), text, str(path), mode)  # not the link in place of the file
    return True


def _check(path: Path, model: type[ClientConfig | ServerConfig], values: dict[str, Any]) -> None:
    """Nothing is written that would not run."""
    file = ConfigFile(path, values)
    given, origins = lay_over(model, {}, {}, file)
    try:
        model.model_validate(given)
    except ValidationError as error:
        raise UsageError(complaints(model, error, given, origins, file)[0]) from None
