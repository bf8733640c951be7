"""The effective configuration as a file could say it, with where each value came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from ratbond.config.ends import ClientConfig
from ratbond.config.model import TunnelConfig
from ratbond.config.sources import Loaded

_SECRETS: Final = frozenset({"secret", "join"})
_COLUMN: Final = 44


def shown(loaded: Loaded[Any]) -> str:
    """TOML; a comment on each line tells the origin, and a setting that is not set is a comment."""
    config = loaded.config
    lines = [f"# ratbond {config.role.value}; file: {loaded.file or 'none'}"]
    tables: list[str] = []
    for name in _names(config):
        value = getattr(config, name)
        origin = str(loaded.origins[name]) if name in loaded.origins else _implied(config, name)
        if isinstance(value, Mapping):
            tables += [
                line
                for key, inner in value.items()
                for line in _table(f"[{name}.{_key(key)}]", inner, origin)
            ]
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            tables += [line for inner in value for line in _table(f"[[{name}]]", inner, origin)]
        elif name in _SECRETS and value is not None:
            lines.append(_line(f"# {name} is set, and not shown", origin))
        elif value is None and name != "http_listen_addr":
            lines.append(_line(f"# {name} is not set", origin))
        else:
            lines.append(_line(f"{name} = {_toml('disable' if value is None else value)}", origin))
    return "\n".join([*lines, *tables]) + "\n"


def _names(config: TunnelConfig) -> Iterator[str]:
    """The settings of its own end first, as in ``--help``."""
    fields = type(config).model_fields
    common = TunnelConfig.model_fields
    yield from (name for name in fields if name not in common)
    yield from common


def _implied(config: TunnelConfig, name: str) -> str:
    if isinstance(config, ClientConfig) and config.has_key_pair and name in {"connect_addr", "tunnel_id"}:
        return "the word of `ratbond client add`"
    return "default"


def _table(header: str, inner: BaseModel, origin: str) -> list[str]:
    values = [(name, getattr(inner, name)) for name in type(inner).model_fields]
    return [
        "",
        _line(header, origin),
        *(f"{name} = {_toml(value)}" for name, value in values if value is not None),
    ]


def _line(text: str, origin: str) -> str:
    return f"{text:<{_COLUMN}} # {origin}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    assert not isinstance(value, SecretStr)
    return json.dumps(str(value), ensure_ascii=False)  # a basic string of TOML has JSON's escapes


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)
