"""Secrets from where they are kept: files that nobody but their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from ratbond.errors import UsageError
from ratbond.invitation import Invitation

_MAX_SECRET_CHARS: Final = 4_096


def read_invitation(word: str | SecretStr | None, file: Path | str | None) -> Invitation | None:
    """The word, from wherever it is. Raises ValueError or UsageError with one line."""
    if word and file:
        raise ValueError("--join-file and RATBOND_JOIN exclude each other: give one of them")
    text = word.get_secret_value() if isinstance(word, SecretStr) else word
    if file:
        text = read_secret(Path(file), "--join-file")
    if not text:
        return None
    try:
        return Invitation.decode(text)
    except ValueError as error:
        raise ValueError(f"{'--join-file' if file else 'RATBOND_JOIN'}: {error}") from None


def read_secret(path: Path, flag: str = "--secret-file") -> str:
    """The secret in a file that nobody but its owner can read. Raises UsageError with one line."""
    try:
        with path.open(encoding="utf-8") as file:
            # Of the open file: the name may lead elsewhere a moment later.
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_SECRET_CHARS + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"{flag} {path}: {reason}") from None
    if stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{flag} {path}: others may read it; run: chmod 600 {path}")
    if len(text) > _MAX_SECRET_CHARS:
        raise UsageError(
            f"{flag} {path}: that is no secret, it is longer than {_MAX_SECRET_CHARS} characters"
        )
    if not text:
        raise UsageError(f"{flag} {path}: the file is empty")
    return text
