"""The command ``ratbond``: flags in, one line of error out."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from ratbond import __version__, completion
from ratbond.errors import RatbondError, UsageError

if TYPE_CHECKING:
    from ratbond.config import ClientConfig, ServerConfig

# Loaded only when it is called: nothing that runs a tunnel pays for it, or knows of it.
_LAZY_COMMANDS: Final[Mapping[str, str]] = {
    "config": "ratbond.config_cli",
    "doctor": "ratbond.doctor_cli",
    "plan": "ratbond.plan_cli",
    "service": "ratbond.service_cli",
    "lab": "ratbond.lab.cli",
    "setup": "ratbond.setup_cli",
    "speedtest": "ratbond.speedtest_cli",
    "simulate": "ratbond.sim.command",
    "top": "ratbond.status.top.command",
}
_ENDS: Final = frozenset({"client", "server"})
_CLIENT_COMMANDS: Final = "ratbond.clients_cli"  # `ratbond client add` and its like
_DEFAULT_COMMAND: Final = "client"
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
_HELP: Final = frozenset({"--help", "-h"})
_OWN_FLAGS: Final = frozenset({"--help", "-h", "--version"})


class _Commands(TyperGroup):
    """The commands as they are met: the two ends first, the tools after them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (name not in _ENDS, name))


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ratbond {__version__}")
        raise typer.Exit


_SUMMARY: Final = """Bond several WAN links into one tunnel. Without a command it is the client.

\b
On a machine that everybody reaches:   ratbond server
On the machine with the WAN links:     ratbond client --connect-addr HOST:12345
"""


@app.callback(help=_SUMMARY)
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """The flags of the command itself."""


client_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    subcommand_metavar="[COMMAND]",
    context_settings={"max_content_width": 110},
)
app.add_typer(client_app, name="client", short_help="Bond this machine's WAN links (the default).")

_CLIENT: Final = """Bond this machine's WAN links into a tunnel to a server (the default command).

On a server, `ratbond client add NAME` gives a client a key of its own; `client list` and `client revoke NAME` go with it.
"""
_SERVER: Final = (
    "Wait for clients to join their links to a tunnel. A tun device is made once its client has connected."
)


def _mount_ends() -> None:
    """Puts in the commands whose flags are the configuration's; reading its model takes a moment, so not for other commands."""
    from ratbond import flags
    from ratbond.config import ClientConfig, ServerConfig

    def server(_: typer.Context, given: dict[str, Any]) -> None:
        _run_tunnel(ServerConfig, given)

    client_app.callback()(flags.command(ClientConfig, _client, _CLIENT))
    app.command("server", short_help="Wait for clients to join their links to a tunnel.")(
        flags.command(ServerConfig, server, _SERVER)
    )


def _client(context: typer.Context, flags: dict[str, Any]) -> None:
    if context.invoked_subcommand is not None:
        given = next((name for name, value in flags.items() if value is not None), None)
        if given:
            flag = f"--{given.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for running a client: give it without `{context.invoked_subcommand}`"
            )
        _keep_memory_private()
        return
    from ratbond.config import ClientConfig

    _run_tunnel(ClientConfig, flags)


@app.command(short_help="Print a new secret for both ends.")
def keygen(
    *,
    server: Annotated[
        bool,
        typer.Option(
            "--server", help="Make a clients file with a new key pair for a server; print the public key."
        ),
    ] = False,
    clients_file: Annotated[
        Path | None,
        typer.Option(help="That file.  [default: /etc/ratbond/clients.toml]", metavar="FILE"),
    ] = None,
) -> None:
    """Print a new secret for both ends: put it into a file of mode 0600 and give --secret-file."""
    from ratbond import secret

    _keep_memory_private()
    if server:
        from ratbond.clients_cli import make_server

        typer.echo(make_server(clients_file))
    elif clients_file:
        raise UsageError("--clients-file goes with --server: a secret is printed, not kept")
    else:
        typer.echo(secret.generate())


@app.command()
def status(
    *,
    http_listen_addr: Annotated[
        str, typer.Option(help="The --http-listen-addr of the ratbond to ask.", metavar="ADDRESS:PORT")
    ] = "127.0.0.1:8091",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as /status gives it.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print it anew every second, until interrupted.")
    ] = False,
) -> None:
    """Show what the ratbond on this machine is doing."""
    from ratbond.models import HostPort
    from ratbond.status import show

    try:
        address = HostPort.parse(http_listen_addr)
    except ValueError as error:
        raise UsageError(f"--http-listen-addr: {error}") from None
    show.show(address, as_json=as_json, watch=watch)


_COMPLETIONS: Final = """Print a script that completes ratbond's commands, flags and values in a shell.

\b
bash:  ratbond completions bash > /etc/bash_completion.d/ratbond
zsh:   ratbond completions zsh > /usr/local/share/zsh/site-functions/_ratbond
fish:  ratbond completions fish > /etc/fish/completions/ratbond.fish
"""


@app.command(help=_COMPLETIONS, short_help="Print a script for completion in bash, zsh or fish.")
def completions(
    shell: Annotated[completion.Shell, typer.Argument(help="Whose.", metavar="bash|zsh|fish")],
) -> None:
    """Prints typer's script for a shell; it asks us at every Tab."""
    completion.register_shells()
    os.environ[completion.VARIABLE] = f"source_{shell}"
    app([], prog_name="ratbond")


def _run_tunnel(model: type[ClientConfig] | type[ServerConfig], flags: dict[str, Any]) -> None:
    from ratbond import config as configuration
    from ratbond import logs

    _keep_memory_private()
    named = flags.pop("config")

    def read() -> configuration.Loaded[ClientConfig | ServerConfig]:
        return configuration.load(model, flags, configuration.process_environment(), named)

    loaded = read()
    config = loaded.config
    logs.configure(debug=config.debug, trace=config.trace, syslog=not config.nosyslog, form=config.log_format)
    log = logs.get_logger(__name__)
    if configuration.secret_is_on_command_line(flags):
        log.warning("a secret on the command line is seen by everybody on this machine; use --secret-file")
    if config.role is configuration.Role.SERVER and config.tun_name:
        log.warning(
            "--tun-name is the client's: the server's device is named after the tunnel-id",
            device=config.device,
        )
    if loaded.file:
        log.info("read the configuration", file=str(loaded.file))
    from ratbond.daemon import start

    try:
        start.run(config, lambda: read().config)
    except RatbondError:
        raise
    except Exception as error:  # noqa: BLE001 (the last defence: one line, no traceback)
        log.error(
            "unexpected error, please report it",
            error=f"{type(error).__name__}: {error}",
            traceback=config.debug or config.trace,
        )
        sys.exit(1)


def _keep_memory_private() -> None:
    """Before a secret is read: from then on this process must leave no core dump."""
    from ratbond.engine import EngineError, keep_memory_private

    try:
        keep_memory_private()
    except EngineError as error:
        raise RatbondError(str(error)) from None


def main() -> None:
    """Run the command; its errors are one line each."""
    arguments = _with_command(sys.argv[1:])
    if completion.VARIABLE in os.environ:
        completion.register_shells()
        completion.with_default(os.environ, _DEFAULT_COMMAND, _OWN_FLAGS)
        _mount_for(completion.typed(os.environ))
    else:
        _mount(arguments)
    try:
        code = app(arguments, standalone_mode=False)
    except RatbondError as error:
        code = _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        code = _fail(_with_advice(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except BrokenPipeError:
        code = 1
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains when it flushes at exit
    except SystemExit:
        raise
    except BaseException as error:  # the last defence; a panic of the engine is no Exception
        if sys.flags.dev_mode:
            raise
        code = _fail(f"unexpected, please report it: {type(error).__name__}: {error}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _with_advice(error: typer.TyperException) -> str:
    """What is wrong with the command line, and where it is told how it should be."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ratbond"
    return f"{error.format_message().rstrip('.').replace('Value error, ', '')}; see `{command} --help`"


def _with_command(arguments: list[str]) -> list[str]:
    """Puts in the default command: ``ratbond --connect-addr X`` is ``ratbond client --connect-addr X``."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in _OWN_FLAGS):
        return [_DEFAULT_COMMAND, *arguments]
    return arguments


def _mount(arguments: list[str]) -> None:
    """Loads a lazy command when it, or the list of all commands, is asked for."""
    command = arguments[0]
    if command in _ENDS or command in _OWN_FLAGS:
        _mount_ends()
    if command == _DEFAULT_COMMAND and any(
        word in _HELP or not word.startswith("-") for word in arguments[1:2]
    ):
        importlib.import_module(_CLIENT_COMMANDS).mount(client_app)
    for name, module in _LAZY_COMMANDS.items():
        if (command == name or command in _OWN_FLAGS) and importlib.util.find_spec(module.rpartition(".")[0]):
            importlib.import_module(module).mount(app)


def _mount_for(typed: list[str]) -> None:
    """Loads what completes these words: the command that they begin with, or all."""
    known = {*_LAZY_COMMANDS, *_ENDS} & set(typed[:1])
    _mount([*known, "--help"])


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"ratbond: error: {line}\n")
    return code
