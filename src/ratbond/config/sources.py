"""Lays flags over variables over the file over defaults, and remembers where each value came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from ratbond.config.complaints import Origin, complaints, in_the_files_words
from ratbond.config.file import DIRECTORY, ConfigFile, find
from ratbond.config.model import TunnelConfig
from ratbond.errors import UsageError

DEFAULT_CLIENTS_FILE: Final = DIRECTORY / "clients.toml"
ENVIRONMENT: Final = {"RATBOND_SECRET": "secret", "RATBOND_JOIN": "join"}

# Of each of these one is meant: who gives one on the command line does not mean the file's other.
_IDENTITIES: Final = frozenset({"secret", "secret_file", "join", "join_file", "clients_file"})
_BALANCES: Final = frozenset(
    {"balance_adaptive", "balance_consistent", "balance_roundrobin", "balance_redundant"}
)

ConfigT = TypeVar("ConfigT", bound=TunnelConfig)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[ConfigT]):
    """A whole configuration. A setting without an origin has its default."""

    config: ConfigT
    origins: Mapping[str, Origin]
    file: Path | None


def load(
    model: type[ConfigT], flags: Mapping[str, Any], environment: Mapping[str, str], named: Path | None
) -> Loaded[ConfigT]:
    """What flags, variables and the file say together; ``named`` is ``--config``. Raises UsageError with one line."""
    file = find(model.role.value, named)
    given, origins = lay_over(model, flags, environment, file)
    try:
        config = model.model_validate(given)
    except ValidationError as error:
        raise UsageError(complaints(model, error, given, origins, file)[0]) from None
    except UsageError as error:
        raise UsageError(in_the_files_words(str(error), origins)) from None
    return Loaded(config, origins, file.path if file else None)


def merge(
    model: type[ConfigT],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    named: Path | None = None,
) -> ConfigT:
    """The configuration alone. Raises UsageError with one line."""
    return load(model, flags, environment, named).config


def lay_over(
    model: type[TunnelConfig],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: ConfigFile | None,
) -> tuple[dict[str, Any], dict[str, Origin]]:
    """The values that count, unchecked, with their origins. A flag of None is not given."""
    given = {name: value for name, value in flags.items() if value is not None}
    origins = {name: Origin("flag", f"--{name.replace('_', '-')}") for name in given}
    if not _IDENTITIES & given.keys():
        for variable, name in ENVIRONMENT.items():
            if environment.get(variable) and name in model.model_fields:
                given[name] = environment[variable]
                origins[name] = Origin("environment", variable)
    for name, value in (file.values if file else {}).items():
        ousted = any(name in group and group & origins.keys() for group in (_IDENTITIES, _BALANCES))
        if file and name not in given and not ousted:
            given[name] = value
    for name in given.keys() - origins.keys():
        if file:
            origins[name] = Origin("file", str(file.path), file.line_of((name,)))
    if _serves_known_clients(model, given):
        given["clients_file"] = DEFAULT_CLIENTS_FILE
        origins["clients_file"] = Origin("found", "it is there")
    return given, origins


def _serves_known_clients(model: type[TunnelConfig], given: Mapping[str, Any]) -> bool:
    """A server that is told of no other mode serves the clients that `ratbond client add` has made."""
    other_mode = _IDENTITIES & given.keys() or given.get("aes") or given.get("protocol") == "kcp"
    return "clients_file" in model.model_fields and not other_mode and DEFAULT_CLIENTS_FILE.exists()


def secret_is_on_command_line(flags: Mapping[str, Any]) -> bool:
    """Whether anybody on this machine can read the secret in the list of processes."""
    return bool(flags.get("secret"))


def process_environment() -> Mapping[str, str]:
    """The variables that this process was started with."""
    return os.environ
