"""The flags of a running end, made from the model of its configuration: one flag for each setting, with its description."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from ratbond import completion
from ratbond.config import Loaded, Setting, TunnelConfig, load, process_environment
from ratbond.errors import RatbondError

Run = Callable[[typer.Context, dict[str, Any]], None]
ConfigT = TypeVar("ConfigT", bound=TunnelConfig)


def command(model: type[TunnelConfig], run: Run, about: str) -> Callable[..., None]:
    """A function that typer takes for a command with all of a model's flags; it hands those that were given to ``run``."""

    def called(context: typer.Context, **flags: Any) -> None:
        run(context, flags)

    called.__doc__ = about
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    called.__signature__ = inspect.Signature([context, *_parameters(model)])  # type: ignore[attr-defined]
    return called


def with_json(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with ``--json``, which comes as ``as_json``."""
    return with_more(command, as_json=(bool, False, typer.Option("--json", help="Print JSON.")))


def with_more(command: Callable[..., None], **options: tuple[type, Any, Any]) -> Callable[..., None]:
    """The same command with options of its own: the type of each, its default, and what typer is told of it."""
    signature = inspect.signature(command)
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
        )
        for name, (kind, default, option) in options.items()
    ]
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *more]
    )
    return command


def read(model: type[ConfigT], given: dict[str, Any]) -> Loaded[ConfigT]:
    """The configuration that these flags lead to, read by a process that keeps its memory private. Raises RatbondError."""
    from ratbond.engine import EngineError, keep_memory_private

    try:
        keep_memory_private()
    except EngineError as error:
        raise RatbondError(str(error)) from None
    named = given.pop("config")
    return load(model, given, process_environment(), named)


def flag_of(name: str) -> str:
    """A setting's flag."""
    return f"--{name.replace('_', '-')}"


def settings_of(model: type[TunnelConfig]) -> dict[str, tuple[FieldInfo, Setting]]:
    """A model's settings: those of its own end first, then those that both ends have."""
    common = TunnelConfig.model_fields
    own = {name: field for name, field in model.model_fields.items() if name not in common}
    return {name: (field, _setting(name, field)) for name, field in {**own, **model.model_fields}.items()}


def _setting(name: str, field: FieldInfo) -> Setting:
    for item in field.metadata:
        if isinstance(item, Setting):
            return item
    raise TypeError(f"{name} has no Setting")


def _parameters(model: type[TunnelConfig]) -> Iterator[inspect.Parameter]:
    yield _parameter(
        "config",
        Path | None,
        typer.Option(
            help=f"Read this configuration file; `none` reads none.  [default: /etc/ratbond/{model.role.value}.toml, if it is there]",
            metavar="FILE",
            dir_okay=True,
        ),
    )
    for name, (field, setting) in settings_of(model).items():
        if setting.flag:
            yield _parameter(name, *_option(name, field, setting))


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _option(name: str, field: FieldInfo, setting: Setting) -> tuple[Any, Any]:
    """The type that typer reads and the option itself; what a value may be is the model's to say."""
    text = f"{field.description}{_default(setting.default)}"
    kinds = {field.annotation, *typing.get_args(field.annotation)}
    if bool in kinds:
        no = "" if setting.no is None else f"/--{setting.no}" if setting.no else f"/{flag_of(f'no_{name}')}"
        flag = flag_of(name) + no
        return bool | None, typer.Option(flag, help=text, show_default=False)
    if typing.get_origin(field.annotation) is tuple:
        kind: Any = list[str] | None
    else:
        kind = next((simple for simple in (int, float) if simple in kinds), str) | None
    complete = completion.of_values(field.annotation, setting.metavar)
    return kind, typer.Option(help=text, metavar=setting.metavar, show_default=False, autocompletion=complete)


def _default(words: str) -> str:
    if not words:
        return ""
    return f"  [{words}]" if words.startswith("the default") else f"  [default: {words}]"
