"""``ratbond client add | list | revoke``: flags in, one line out; loaded only when one of them is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratbond.clients import commands, file
from ratbond.config import DEFAULT_CLIENTS_FILE
from ratbond.engine import EngineError, public_key
from ratbond.errors import RatbondError, UsageError
from ratbond.models import HostPort

ClientsFile = Annotated[
    Path | None,
    typer.Option(help="The clients file.  [default: /etc/ratbond/clients.toml]", metavar="FILE"),
]
ClientName = Annotated[str, typer.Argument(help="The client's name.", metavar="NAME")]


def mount(client: typer.Typer) -> None:
    """Puts the commands under ``ratbond client``."""
    client.command("add")(add)
    client.command("list")(show)
    client.command("revoke")(revoke)


def make_server(path: Path | None) -> str:
    """A clients file with a new key pair; the public key."""
    return commands.make_server(path or DEFAULT_CLIENTS_FILE, None, public_key_of)


def add(
    name: ClientName,
    *,
    clients_file: ClientsFile = None,
    server_addr: Annotated[
        str | None,
        typer.Option(
            help="Where clients find this server; needed once, then it stands in the file.",
            metavar="HOST:PORT",
        ),
    ] = None,
    lan: Annotated[
        list[str] | None,
        typer.Option(
            help="A network behind the client, routed to it. May be given again.", metavar="NETWORK"
        ),
    ] = None,
    forward: Annotated[
        list[str] | None,
        typer.Option(
            help='A port of the server that leads to a host behind the client, such as "tcp/8443 -> 192.168.8.10:443". '
            "May be given again.",
            metavar="FORWARD",
        ),
    ] = None,
    up: Annotated[
        str | None,
        typer.Option(help="Most that it may send, such as 20mbit.  [default: no cap]", metavar="RATE"),
    ] = None,
    down: Annotated[
        str | None, typer.Option(help="Most that it may receive.  [default: no cap]", metavar="RATE")
    ] = None,
    client_to_client: Annotated[
        bool, typer.Option("--client-to-client", help="Let it reach other clients that have this too.")
    ] = False,
) -> None:
    """Give a client a key, a tunnel-id and addresses, and print the one line to run on it. On the server.

    A client that was revoked gets new keys, and keeps its addresses.
    """
    path = clients_file or DEFAULT_CLIENTS_FILE
    settings = {
        "lan": commands.check_lan(lan or []),
        "forward": commands.check_forwards(forward or []),
        "up": up,
        "down": down,
        "client_to_client": client_to_client,
    }
    typer.echo(commands.add(path, name, _host_port(server_addr), settings, public_key_of))
    commands.hint(
        f"Run this line as root on {name}; it holds the client's keys, and whoever has it is this client.\n"
        "To keep it there, put the word after RATBOND_JOIN= into a file of mode 0600 and give --join-file FILE.\n"
        "A server that runs takes the new client in on SIGHUP."
    )


def show(*, clients_file: ClientsFile = None) -> None:
    """List the clients. On the server."""
    typer.echo(commands.table(file.read(clients_file or DEFAULT_CLIENTS_FILE)), nl=False)


def revoke(
    name: ClientName,
    *,
    clients_file: ClientsFile = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove it from the file; its tunnel-id may be given to another.")
    ] = False,
) -> None:
    """Take a client's key away. On the server; one that runs cuts the client off on SIGHUP."""
    commands.revoke(clients_file or DEFAULT_CLIENTS_FILE, name, forget=forget)
    commands.hint(f"{name} is cut off as soon as the server gets a SIGHUP.")


def _host_port(text: str | None) -> HostPort | None:
    try:
        return HostPort.parse(text) if text else None
    except ValueError as error:
        raise UsageError(f"--server-addr: {error}") from None


def public_key_of(private_key: str) -> str:
    """The public key to a private one. Raises RatbondError."""
    try:
        return public_key(private_key)
    except EngineError as error:
        raise RatbondError(f"[server] private_key: {error}") from None
