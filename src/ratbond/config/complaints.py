"""What is said of a setting that cannot be meant: where it stands, its value, and what is allowed. Each is one line."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr, ValidationError

from ratbond.config.file import ConfigFile, KeyPath
from ratbond.config.model import TunnelConfig

_MAX_VALUE_CHARS: Final = 60
_FLAG: Final = re.compile(r"--([a-z][a-z0-9-]+)")
_VARIABLES: Final = {"RATBOND_SECRET": "secret", "RATBOND_JOIN": "join"}
_TYPES: Final = {
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "string_type": "must be text in quotes",
    "path_type": "must be the path of a file, in quotes",
    "tuple_type": 'must be a list, such as ["eth0"]',
    "list_type": 'must be a list, such as ["eth0"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dataclass_type": "must be text in quotes",
    "is_instance_of": "must be text in quotes",
    "is_an_instance_of": "must be text in quotes",
    "ip_v4_network": "must be an IPv4 network in quotes",
    "ip_v6_network": "must be an IPv6 network in quotes",
    "finite_number": "must be a finite number",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: Literal["flag", "environment", "file", "found"]
    name: str  # the flag, the variable, or the file's path
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


def complaints(
    model: type[TunnelConfig],
    error: ValidationError,
    given: Mapping[str, Any],
    origins: Mapping[str, Origin],
    file: ConfigFile | None,
) -> list[str]:
    """All that is wrong: keys that do not exist, one of which may be meant for what is missing; then in the model's order."""
    found = error.errors(include_url=False, include_input=False)
    found.sort(key=lambda one: one["type"] != "extra_forbidden")
    return list(dict.fromkeys(_complaint(model, dict(one), given, origins, file) for one in found))


def in_the_files_words(message: str, origins: Mapping[str, Origin]) -> str:
    """A message that speaks of flags, for a reader who has written keys into a file; unchanged for others."""
    mentioned = [word.replace("-", "_") for word in _FLAG.findall(message)]
    mentioned += [name for variable, name in _VARIABLES.items() if variable in message]
    written = [name for name in mentioned if name in origins and origins[name].kind == "file"]
    if not written:
        return message

    def key(match: re.Match[str]) -> str:
        name = match[1].replace("-", "_")
        return match[0] if name in origins and origins[name].kind == "flag" else name

    text = _FLAG.sub(key, message)
    for variable, name in _VARIABLES.items():
        if name in written:
            text = text.replace(variable, name)
    return f"{origins[written[0]]}: {text}"


def _complaint(
    model: type[TunnelConfig],
    error: dict[str, Any],
    given: Mapping[str, Any],
    origins: Mapping[str, Origin],
    file: ConfigFile | None,
) -> str:
    place: KeyPath = tuple(error["loc"])
    if error["type"] == "missing" and len(place) == 1:
        return _missing(str(place[0]), file)
    if not place:
        return in_the_files_words(_text(error), origins)
    origin = origins.get(str(place[0]))
    if origin is None or origin.kind == "found":
        return f"{place[0]}: {_text(error)}"
    if origin.kind != "file" or file is None:
        message = _text(error)
        return message if message.startswith(str(origin)) else f"{origin}: {message}"
    where = Origin("file", str(file.path), file.line_of(place))
    return f"{where}: {_in_file(model, error, place, given)}"


def _in_file(
    model: type[TunnelConfig], error: dict[str, Any], place: KeyPath, given: Mapping[str, Any]
) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(model, place)
    key = _dotted(place)
    if error["type"] == "missing":
        return f"{key} is missing"
    message = _FLAG.sub(lambda match: match[1].replace("-", "_"), _text(error))
    value = _shown(model, place, given)
    return f"{key}: {message}" if not value or message.startswith("'") else f"{key} = {value}: {message}"


def _missing(name: str, file: ConfigFile | None) -> str:
    flag = f"--{name.replace('_', '-')}"
    if file:
        return f'{file.path}: {name} is missing: tell where the server is, such as {name} = "192.0.2.1:12345", or give {flag}'
    return f"{flag} is required: tell where the server is, such as {flag} 192.0.2.1:12345, or give --join-file (ratbond --help has all flags)"


def _unknown(model: type[TunnelConfig], place: KeyPath) -> str:
    unknown = str(place[-1])
    known = list(_keys_at(model, place[:-1]))
    others = next(
        (m for m in TunnelConfig.__subclasses__() if m is not model and unknown in m.model_fields), None
    )
    if others and len(place) == 1:
        return f"{unknown}: this is for a {others.role.value}, and the file is for a {model.role.value}"
    near = difflib.get_close_matches(unknown.replace("-", "_"), known, n=1)
    if near:
        return f"{_dotted(place)}: there is no such key; did you mean {near[0]}?"
    return f"{_dotted(place)}: there is no such key; allowed are {', '.join(known)}"


def _keys_at(model: type[BaseModel], place: KeyPath) -> Iterator[str]:
    """The keys of the table at a place."""
    inner: type[BaseModel] = model
    if place:
        inner = next(_models_in(model.model_fields[str(place[0])].annotation), model)
    yield from inner.model_fields


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _text(error: Mapping[str, Any]) -> str:
    """What is allowed, in words."""
    context = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "literal_error" | "enum":
            return f"must be {context['expected']}"
        case kind if kind in _TYPES:
            return _TYPES[kind]
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def _shown(model: type[TunnelConfig], place: KeyPath, given: Mapping[str, Any]) -> str:
    """The value as it stands in the file, unless it is secret or a whole table."""
    name = str(place[0])
    if name in model.model_fields and SecretStr in typing.get_args(model.model_fields[name].annotation):
        return ""
    value: Any = given
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return ""
    if isinstance(value, (dict, list)):
        return ""
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}..."


def _dotted(place: KeyPath) -> str:
    """``links.dsl.gateway``, ``forward[2].port``, as people count."""
    text = ""
    for step in place:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text
