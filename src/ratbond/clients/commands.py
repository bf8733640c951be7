"""``ratbond client add | list | revoke`` on a server, and the file that ``ratbond keygen --server`` makes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from ratbond import secret
from ratbond.clients import allocate, file
from ratbond.clients.model import DEFAULT_POOL, ClientEntry, Clients, parse
from ratbond.errors import RatbondError, UsageError
from ratbond.forward import PortForward
from ratbond.invitation import Invitation
from ratbond.models import HostPort

PublicKeyOf = Callable[[str], str]

_HEADER: Final = """\
The clients of this server: `ratbond client add | list | revoke` change this file, and so may you (docs/clients.md).
It holds keys: keep its mode 0600. A running server reads it again on SIGHUP."""


def make_server(path: Path, address: HostPort | None, public_key_of: PublicKeyOf) -> str:
    """Makes a clients file with a new key pair; the public key. Raises RatbondError when there is one already."""
    with file.editing(path, create=True) as document:
        if document:
            raise UsageError(
                f"clients file {path}: it has a key already; a new one would cut off every client"
            )
        private_key = _begin(document, address)
    return public_key_of(private_key)


def add(
    path: Path, name: str, address: HostPort | None, settings: Mapping[str, Any], public_key_of: PublicKeyOf
) -> str:
    """Adds a client, or gives a revoked one new keys; the line to paste on it. Raises RatbondError."""
    private_key, psk = secret.generate(), secret.generate()
    with file.editing(path, create=True) as document:
        if not document:
            _begin(document, address)
        server = _server_address(document, address)
        before = parse(document.unwrap(), f"clients file {path}")
        known = before.named(name)
        if known and not known.revoked:
            raise UsageError(f"there is a client {name} already; revoke it first, or choose another name")
        entry = _entry_of(document, name) if known else _append(document, name, before)
        entry["public_key"], entry["psk"] = public_key_of(private_key), psk
        entry.pop("revoked", None)
        for key, value in settings.items():
            if value not in (None, (), [], False):
                entry[key] = list(value) if isinstance(value, (list, tuple)) else value
        tunnel_id = int(entry["tunnel_id"])
        server_key = public_key_of(str(document["server"]["private_key"]))
    invitation = Invitation(server, tunnel_id, private_key, server_key, psk)
    return f"RATBOND_JOIN={invitation.encode()} ratbond client"


def revoke(path: Path, name: str, *, forget: bool) -> None:
    """Takes a client's access; with ``forget`` its whole entry. Raises RatbondError when there is no such client."""
    with file.editing(path) as document:
        entry = _entry_of(document, name)
        if forget:
            document["client"].remove(entry)
        else:
            entry["revoked"] = True


def table(clients: Clients) -> str:
    """The clients as text, without any key that is secret."""
    rows: list[tuple[str, ...]] = [
        ("NAME", "TUNNEL", "ADDRESS", "ADDRESS6", "LAN", "FORWARDS", "UP", "DOWN", "CLIENTS", "KEY")
    ]
    rows += [_row(entry) for entry in clients.client]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines) + "\n"


def hint(text: str) -> None:
    """Says something to a person that is not the command's result."""
    sys.stderr.write(text + "\n")


def _row(entry: ClientEntry) -> tuple[str, ...]:
    return (
        entry.name,
        f"tun{entry.tunnel_id}",
        str(entry.ip[2]),
        str(entry.ip6[2]) if entry.ip6 else "-",
        ",".join(str(network) for network in entry.lan) or "-",
        ",".join(forward.listens for forward in entry.forward) or "-",
        _rate(entry.up),
        _rate(entry.down),
        "yes" if entry.client_to_client else "no",
        "revoked" if entry.revoked else entry.public_key[:8],
    )


def _rate(bps: int | None) -> str:
    return f"{bps / 1e6:g}mbit" if bps else "-"


def _begin(document: Any, address: HostPort | None) -> str:
    import tomlkit

    for line in _HEADER.splitlines():
        document.add(tomlkit.comment(line))
    server = tomlkit.table()
    private_key = secret.generate()
    server["private_key"] = private_key
    if address:
        server["address"] = str(address)
    server["pool"] = DEFAULT_POOL
    server["pool6"] = str(allocate.new_pool6())
    document["server"] = server
    return private_key


def _server_address(document: Any, address: HostPort | None) -> HostPort:
    """Where clients find the server: as given now, which is kept when nothing was, or as kept."""
    server = document["server"]
    if address:
        server.setdefault("address", str(address))
        return address
    if "address" not in server:
        raise UsageError("tell where clients find this server, once: --server-addr vps.example.org:12345")
    try:
        return HostPort.parse(str(server["address"]))
    except ValueError as error:
        raise UsageError(f"[server] address: {error}") from None


def _append(document: Any, name: str, clients: Clients) -> Any:
    import tomlkit

    place = allocate.next_place(clients)
    entry = tomlkit.table()
    entry["name"], entry["tunnel_id"], entry["ip"] = name, place.tunnel_id, str(place.ip)
    if place.ip6:
        entry["ip6"] = str(place.ip6)
    if "client" not in document:
        document["client"] = tomlkit.aot()
    document["client"].append(entry)
    return entry


def _entry_of(document: Any, name: str) -> Any:
    for entry in document.get("client", ()):
        if entry.get("name") == name:
            return entry
    raise RatbondError(f"there is no client {name}; `ratbond client list` shows those there are")


def check_lan(networks: list[str]) -> tuple[str, ...]:
    """Networks as they are written into the file. Raises UsageError."""
    try:
        return tuple(str(ip_network(network)) for network in networks)
    except ValueError as error:
        raise UsageError(f"--lan: {error}; write a network such as 192.168.7.0/24") from None


def check_forwards(texts: list[str]) -> tuple[str, ...]:
    """Port forwards as they are written into the file. Raises UsageError."""
    try:
        return tuple(str(PortForward.parse(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"--forward: {error}") from None
