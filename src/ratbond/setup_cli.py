"""``ratbond setup server | client``: asks what it must, writes the configuration, and says what to type next."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from ratbond import files
from ratbond.clients import commands
from ratbond.clients.file import read as read_clients
from ratbond.clients_cli import public_key_of
from ratbond.config import ClientConfig, ServerConfig
from ratbond.config.file import DIRECTORY, default_path
from ratbond.engine import keep_memory_private
from ratbond.errors import RatbondError, UsageError
from ratbond.invitation import Invitation
from ratbond.links.model import Snapshot
from ratbond.links.netlink import read_snapshot
from ratbond.models import HostPort
from ratbond.setup import machine
from ratbond.setup.files import present, write

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set up one end: a few questions, or none with --yes. It may be run again; what is there stays.",
)

_PORT: Final = 12345
T = TypeVar("T")
_HEADER: Final = (
    "{}\nSee docs/configuration.md; `ratbond config check` says what is wrong, SIGHUP reads it again."
)

Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Ask nothing: take what stands in brackets, and the flags.")
]
Nat = Annotated[
    bool | None,
    typer.Option(
        "--nat/--no-nat", help="Let others use the tunnel through this machine.", show_default=False
    ),
]
Directory = Annotated[
    Path,
    typer.Option(
        help="Write the configuration into this directory.", metavar="DIR", show_default=str(DIRECTORY)
    ),
]


def mount(parent: typer.Typer) -> None:
    """Puts the commands under ``ratbond``."""
    parent.add_typer(app, name="setup")


@app.command()
def server(
    *,
    server_addr: Annotated[
        str | None,
        typer.Option(help="Where clients find this server.", metavar="HOST:PORT", show_default=False),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            help="The name of the first client.  [default: home]", metavar="NAME", show_default=False
        ),
    ] = None,
    nat: Nat = None,
    directory: Directory = DIRECTORY,
    yes: Yes = False,
) -> None:
    """On the server. Makes its keys and those of a client, and prints the one line to paste on that client."""
    keep_memory_private()
    path, clients = directory / "server.toml", directory / "clients.toml"
    _refuse_without_root(directory)
    before = present(path)
    if before.keys() & {"secret", "secret_file"} or before.get("protocol") == "kcp":
        raise UsageError(
            f"{path} serves one client with a secret; move it away to serve clients with keys of their own"
        )
    kept = read_clients(clients).server.address if clients.exists() else None
    address = _endpoint(server_addr, kept, _snapshot(), yes)
    name = client or _ask("What is the client called?", "home", yes)
    wants_nat = _decide(
        "Let the client reach what this server reaches, the Internet say (NAT)?",
        nat,
        before.get("nat", True),
        yes,
    )
    listen = before.get("listen_addr", f"0.0.0.0:{address.port}")
    elsewhere = None if directory == DIRECTORY else str(clients)
    values = {"listen_addr": listen, "nat": wants_nat, "clients_file": elsewhere}
    wrote = write(path, ServerConfig, _HEADER.format("This end is a ratbond server."), values, files.PUBLIC)
    _tell_what_was_written(path, wrote)
    port = HostPort.parse(listen).port
    _say(f"UDP port {port} must be open here, also in the provider's firewall.", "", *_how_to_start(path), "")
    known = read_clients(clients).named(name) if clients.exists() else None
    if known and not known.revoked:
        _say(
            f"{name} was set up before, and its keys are not kept here. For new ones: ratbond client revoke {name}"
            f"{_clients_flag(clients)}, and this again. For another client: --client NAME"
        )
        return
    line = commands.add(clients, name, address, {}, public_key_of)
    _say(f"On {name}, as root, paste:", "")
    typer.echo(line.replace("ratbond client", "ratbond setup client"))


@app.command("client")
def client_end(
    *,
    join_file: Annotated[
        Path | None,
        typer.Option(
            help="A file of mode 0600 with the server's word, in place of RATBOND_JOIN.", metavar="FILE"
        ),
    ] = None,
    no_wan: Annotated[
        list[str] | None,
        typer.Option(help="Leave this interface alone. May be given again.", metavar="IFACE"),
    ] = None,
    nat: Nat = None,
    directory: Directory = DIRECTORY,
    yes: Yes = False,
) -> None:
    """On the client. Takes the word that the server's set-up printed, shows the WANs it finds, and offers NAT for the LAN."""
    keep_memory_private()
    _refuse_without_root(directory)
    path = directory / "client.toml"
    before = present(path)
    word, invitation = _word(join_file, before.get("join"), path, yes)
    snapshot = _snapshot()
    left_out = _choose_wans(
        snapshot, no_wan if no_wan is not None else before.get("no_wan", []), yes, given=no_wan is not None
    )
    lans = ", ".join(f"{lan.network} ({lan.device})" for lan in machine.lans(snapshot))
    question = f"Let the LAN use the bond (NAT)? Found: {lans or 'no LAN on this machine'}"
    wants_nat = _decide(question, nat, before.get("nat", bool(lans)), yes)
    values = {"join": word, "no_wan": left_out or None, "nat": wants_nat}
    wrote = write(
        path,
        ClientConfig,
        _HEADER.format("This end is a ratbond client. It holds its keys: keep its mode 0600."),
        values,
        files.PRIVATE,
    )
    _tell_what_was_written(path, wrote)
    _say(f"The server is {invitation.server}.", "", *_how_to_start(path))


def _endpoint(flag: str | None, kept: HostPort | None, snapshot: Snapshot, yes: bool) -> HostPort:
    """Where clients find the server: as given, as it was, or as this machine looks from outside."""
    found = machine.own_address(snapshot)
    default = str(kept or (HostPort(str(found), _PORT) if found else ""))
    if flag is None and yes and not default:
        raise UsageError(
            "this machine has no default route to tell its address by; give --server-addr HOST:PORT"
        )
    text = flag or _ask("Where do clients find this server (address:port or name:port)?", default, yes)
    try:
        endpoint = HostPort.parse(text if ":" in text else f"{text}:{_PORT}")
    except ValueError as error:
        raise UsageError(f"--server-addr: {error}") from None
    if endpoint.literal and endpoint.literal.is_private:
        _say(f"{endpoint.host} is a private address: clients elsewhere will not find it.")
    return endpoint


def _word(file: Path | None, kept: str | None, path: Path, yes: bool) -> tuple[str, Invitation]:
    """The server's word: from the file, the variable, the configuration that is there, or the keyboard."""
    from ratbond.config import read_secret

    word = read_secret(file, "--join-file") if file else os.environ.get("RATBOND_JOIN") or kept
    if not word and yes:
        raise UsageError(
            "where is the server's word? set RATBOND_JOIN, as the line that `ratbond setup server` printed does"
        )
    word = word or _ask("Paste the line that `ratbond setup server` printed:", "", yes=False, hidden=True)
    word = next((part for part in word.replace("=", " ").split() if part.startswith("rbj1.")), word)
    try:
        return word, Invitation.decode(word)
    except ValueError as error:
        where = (
            f"--join-file {file}"
            if file
            else "RATBOND_JOIN"
            if os.environ.get("RATBOND_JOIN")
            else f"{path}: join"
        )
        raise UsageError(f"{where}: {error}") from None


def _choose_wans(snapshot: Snapshot, left_out: list[str], yes: bool, *, given: bool) -> list[str]:
    """Shows the WANs; which of them are not to be used."""
    found = machine.wans(snapshot)
    if not found:
        _say("No WAN yet: no interface has a default route. The client waits for one.")
        return left_out
    _say("These WANs are there:")
    for link in found:
        note = "  (left out)" if link.device in left_out else ""
        _say(f"    {link.device:<15} {link.source!s:<24} over {link.gateway or 'the link itself'}{note}")
    if len(found) - sum(link.device in left_out for link in found) == 1:
        _say("One WAN is no bond: connect another, and it joins by itself.")
    if given or yes:
        return left_out
    default = " ".join(left_out) or "none"
    answer = _ask("Which of them are not to be used?", default, yes)
    names = [] if answer == "none" else answer.replace(",", " ").split()
    unknown = [name for name in names if snapshot.device_named(name) is None]
    if unknown:
        raise UsageError(f"there is no interface {unknown[0]}; nothing was changed")
    return names


def _snapshot() -> Snapshot:
    try:
        return asyncio.run(read_snapshot())
    except OSError as error:
        raise RatbondError(f"the kernel does not tell its interfaces: {error.strerror or error}") from None


def _refuse_without_root(directory: Path) -> None:
    """Before any question is asked."""
    existing = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise RatbondError(f"{existing} cannot be written; run as root, or give another --directory")


def _ask(question: str, default: str, yes: bool, *, hidden: bool = False) -> str:
    if yes:
        return default

    def prompt() -> str:
        hide = hidden and sys.stdin.isatty()  # what is piped in shows on no screen
        return str(
            typer.prompt(question, default=default or None, hide_input=hide, prompt_suffix=" ", err=True)
        )

    return _answered(prompt)


def _decide(question: str, flag: bool | None, default: bool, yes: bool) -> bool:
    if flag is not None or yes:
        return default if flag is None else flag
    return _answered(lambda: typer.confirm(question, default=default, err=True, prompt_suffix=" "))


def _answered(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except typer.Abort:
        raise RatbondError("no answer, and nothing was changed; with --yes nothing is asked") from None


def _tell_what_was_written(path: Path, wrote: bool) -> None:
    _say(f"{path}: {'written' if wrote else 'as it was'}.")


def _how_to_start(path: Path) -> list[str]:
    role = path.stem
    if path != default_path(role):
        return ["Start it with:", "", f"    ratbond {role} --config={path}"]
    return [
        "Start it with the first, or at every boot with the second:",
        "",
        f"    ratbond {role}",
        f"    ratbond service install {role}",
    ]


def _clients_flag(path: Path) -> str:
    return "" if path.parent == DIRECTORY else f" --clients-file={path}"


def _say(*lines: str) -> None:
    """To the person who answers; standard output has the line to paste alone."""
    for line in lines:
        typer.echo(line, err=True)
