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

from ratbond import __version__
from ratbond.errors import RatbondError, UsageError

if TYPE_CHECKING:
    from ratbond.config import ClientConfig, ServerConfig

# Loaded only when it is called: nothing that runs a tunnel pays for it, or knows of it.
_LAZY_COMMANDS: Final[Mapping[str, str]] = {"lab": "ratbond.lab.cli"}
_CLIENT_COMMANDS: Final = "ratbond.clients_cli"  # `ratbond client add` and its like
_DEFAULT_COMMAND: Final = "client"
_ENDS: Final = frozenset({"client", "server"})
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


TunnelId = Annotated[
    int | None, typer.Option(help="1 to 65525, the same on both ends.  [default: 660]", metavar="N")
]
TunName = Annotated[
    str | None, typer.Option(help="Name of the tun device.  [default: tun<tunnel-id>]", metavar="NAME")
]
TunnelIp = Annotated[
    str | None,
    typer.Option(
        help="The tunnel's /30: the server is its first host, the client its second.  [default: 10.10.10.0/30]",
        metavar="NETWORK",
    ),
]
TunnelIp6 = Annotated[
    str | None,
    typer.Option(
        help="The tunnel's /126.  [default: a private one made from the tunnel-id]", metavar="NETWORK"
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Which host of the /30 and the /126 this end is: first, second, or auto, which is the reverse of the "
        "above towards a stock ratbond.  [default: auto]",
        metavar="HOST",
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="The link protocol: bond, sealed links, which need a secret; or kcp, the stock program's.  "
        "[default: bond with a secret and without --aes, else kcp]",
        metavar="NAME",
    ),
]
Aes = Annotated[
    bool | None,
    typer.Option("--aes", help="The stock program's AES; needs a secret. It hides, but proves nothing."),
]
Cipher = Annotated[
    str | None,
    typer.Option(
        help="The only cipher for sealed links: aes-256-gcm or chacha20-poly1305; auto takes the one that the client's "
        "CPU is faster at.  [default: auto]",
        metavar="NAME",
    ),
]
Secret = Annotated[
    str | None,
    typer.Option(
        help="The secret that both ends share (`ratbond keygen` makes one); visible in `ps`: better --secret-file or "
        "RATBOND_SECRET.",
        metavar="SECRET",
    ),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(help="A file of mode 0600 that holds the secret.", metavar="FILE", dir_okay=True),
]
BalanceAdaptive = Annotated[
    bool | None,
    typer.Option(
        "--balance-adaptive",
        help="Send each packet where it arrives first, so that one download uses every link.  "
        "[the default of sealed links, and for them only]",
    ),
]
BalanceConsistent = Annotated[
    bool | None,
    typer.Option("--balance-consistent", help="Keep each flow on one link.  [the default of plain links]"),
]
BalanceRoundrobin = Annotated[
    bool | None, typer.Option("--balance-roundrobin", help="Send packets over the links in turn.")
]
Nat = Annotated[
    bool | None,
    typer.Option(
        "--nat",
        help="Let others use the tunnel through this machine: turns forwarding on, translates addresses (a client those "
        "of its LAN, a server those of its clients), and opens the way in other firewalls. Needs nft.",
    ),
]
Mux = Annotated[int | None, typer.Option(help="Conversations per link.  [default: 1]", metavar="N")]
HttpListenAddr = Annotated[
    str | None,
    typer.Option(
        help="Where the status is served, to private addresses only; `disable` turns it off.  "
        "[default: 0.0.0.0:8091]",
        metavar="ADDRESS:PORT",
    ),
]
HttpTokenFile = Annotated[
    Path | None,
    typer.Option(
        help="A file of mode 0600 whose token opens the status to public addresses, too.",
        metavar="FILE",
        dir_okay=True,
    ),
]
StatsInterval = Annotated[
    float | None,
    typer.Option(
        help="Seconds between lines of statistics in the log; 0 turns them off.  [default: 15]", metavar="S"
    ),
]
Debug = Annotated[bool | None, typer.Option("--debug", help="Log more; tracebacks of unexpected errors too.")]
Trace = Annotated[
    bool | None,
    typer.Option("--trace", help="Log every datagram and packet too, at most 200 lines a second."),
]
NoSyslog = Annotated[bool | None, typer.Option("--nosyslog", help="Log to standard error only.")]


client_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    subcommand_metavar="[COMMAND]",
    context_settings={"max_content_width": 110},
)
app.add_typer(client_app, name="client", short_help="Bond this machine's WAN links (the default).")


@client_app.callback()
def client(
    context: typer.Context,
    *,
    connect_addr: Annotated[
        str | None,
        typer.Option(
            help="The server: address:port, [v6]:port or name:port. A name is looked up again when all links are down.",
            metavar="HOST:PORT",
        ),
    ] = None,
    wan: Annotated[
        list[str] | None,
        typer.Option(
            help="Also use this interface, whatever routes it has; with a source address and a gateway if it needs "
            "them. May be given again.",
            metavar="IFACE[=ADDRESS][@GATEWAY]",
        ),
    ] = None,
    no_wan: Annotated[
        list[str] | None,
        typer.Option(help="Leave this interface alone. May be given again.", metavar="IFACE"),
    ] = None,
    no_default_route: Annotated[
        bool | None, typer.Option("--no-default-route", help="Do not route everything through the tunnel.")
    ] = None,
    join_file: Annotated[
        Path | None,
        typer.Option(
            help="A file of mode 0600 with the word that `ratbond client add` printed on the server: where it is, and this "
            "client's keys. RATBOND_JOIN may hold the word instead.",
            metavar="FILE",
        ),
    ] = None,
    tunnel_id: TunnelId = None,
    tun_name: TunName = None,
    tunnel_ip: TunnelIp = None,
    tunnel_ip6: TunnelIp6 = None,
    address: Address = None,
    protocol: Protocol = None,
    aes: Aes = None,
    cipher: Cipher = None,
    secret: Secret = None,
    secret_file: SecretFile = None,
    balance_adaptive: BalanceAdaptive = None,
    balance_consistent: BalanceConsistent = None,
    balance_roundrobin: BalanceRoundrobin = None,
    nat: Nat = None,
    mux: Mux = None,
    http_listen_addr: HttpListenAddr = None,
    http_token_file: HttpTokenFile = None,
    stats_interval: StatsInterval = None,
    debug: Debug = None,
    trace: Trace = None,
    nosyslog: NoSyslog = None,
) -> None:
    """Bond this machine's WAN links into a tunnel to a server (the default command).

    On a server, `ratbond client add NAME` gives a client a key of its own; `client list` and `client revoke NAME` go with it.
    """
    flags = dict(locals())
    if flags.pop("context").invoked_subcommand is not None:
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


@app.command(short_help="Wait for clients to join their links to a tunnel.")
def server(
    *,
    listen_addr: Annotated[
        str | None,
        typer.Option(
            help="Where to listen; [::]:12345 takes IPv4 too.  [default: 0.0.0.0:12345]",
            metavar="ADDRESS:PORT",
        ),
    ] = None,
    clients_file: Annotated[
        Path | None,
        typer.Option(
            help="Serve the clients of this file (`ratbond client add`), each with a key and a tun device of its own.  "
            "[default: /etc/ratbond/clients.toml if it is there and no other mode is asked for]",
            metavar="FILE",
        ),
    ] = None,
    tunnel_id: TunnelId = None,
    tun_name: TunName = None,
    tunnel_ip: TunnelIp = None,
    tunnel_ip6: TunnelIp6 = None,
    address: Address = None,
    protocol: Protocol = None,
    aes: Aes = None,
    cipher: Cipher = None,
    secret: Secret = None,
    secret_file: SecretFile = None,
    balance_adaptive: BalanceAdaptive = None,
    balance_consistent: BalanceConsistent = None,
    balance_roundrobin: BalanceRoundrobin = None,
    nat: Nat = None,
    mux: Mux = None,
    http_listen_addr: HttpListenAddr = None,
    http_token_file: HttpTokenFile = None,
    stats_interval: StatsInterval = None,
    debug: Debug = None,
    trace: Trace = None,
    nosyslog: NoSyslog = None,
) -> None:
    """Wait for clients to join their links to a tunnel. A tun device is made once its client has connected."""
    flags = dict(locals())
    from ratbond.config import ServerConfig

    _run_tunnel(ServerConfig, flags)


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


def _run_tunnel(model: type[ClientConfig] | type[ServerConfig], flags: dict[str, Any]) -> None:
    from ratbond import config as configuration
    from ratbond import logs

    _keep_memory_private()
    config = configuration.merge(model, flags, configuration.process_environment())
    logs.configure(debug=config.debug, trace=config.trace, syslog=not config.nosyslog)
    log = logs.get_logger(__name__)
    if configuration.secret_is_on_command_line(flags):
        log.warning("a secret on the command line is seen by everybody on this machine; use --secret-file")
    if config.role is configuration.Role.SERVER and config.tun_name:
        log.warning(
            "--tun-name is the client's: the server's device is named after the tunnel-id",
            device=config.device,
        )
    from ratbond.daemon import start

    try:
        start.run(config)
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
    sys.exit(code if isinstance(code, int) else 0)


def _with_advice(error: typer.TyperException) -> str:
    """What is wrong with the command line, and where it is told how it should be."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ratbond"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _with_command(arguments: list[str]) -> list[str]:
    """Puts in the default command: ``ratbond --connect-addr X`` is ``ratbond client --connect-addr X``."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in _OWN_FLAGS):
        return [_DEFAULT_COMMAND, *arguments]
    return arguments


def _mount(arguments: list[str]) -> None:
    """Loads a lazy command when it, or the list of all commands, is asked for."""
    command = arguments[0]
    if command == _DEFAULT_COMMAND and any(
        word in _HELP or not word.startswith("-") for word in arguments[1:2]
    ):
        importlib.import_module(_CLIENT_COMMANDS).mount(client_app)
    for name, module in _LAZY_COMMANDS.items():
        if (command == name or command in _OWN_FLAGS) and importlib.util.find_spec(module.rpartition(".")[0]):
            app.add_typer(importlib.import_module(module).app, name=name)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"ratbond: error: {line}\n")
    return code
