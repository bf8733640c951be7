"""The clients of a server as the daemon needs them: from the file to the engine, to tunnels and to the status."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

from ratbond.clients import file
from ratbond.clients.model import ClientEntry, Clients
from ratbond.config import ServerConfig
from ratbond.models import IPInterface
from ratbond.status.model import ClientStatus

if TYPE_CHECKING:
    from ratbond.engine import NamedClient, SessionSnapshot


class Roster:
    """The clients file as it was last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clients = file.read(path)

    @property
    def private_key(self) -> str:
        """The server's."""
        return self._clients.server.private_key.get_secret_value()

    @property
    def clients(self) -> dict[int, ClientEntry]:
        """The clients by the number of their session."""
        return self._clients.by_session()

    def name_of(self, session: int) -> str:
        """The name of a session's client."""
        entry = self.clients.get(session)
        return entry.name if entry else ""

    def read_again(self) -> Clients:
        """What stands in the file now; :meth:`take` makes it count. Raises UsageError."""
        return file.read(self._path)

    def take(self, clients: Clients) -> None:
        """These count from now on."""
        self._clients = clients

    def for_engine(self) -> list[NamedClient]:
        """As the engine takes them."""
        return [_for_engine(entry) for entry in self._clients.client]

    def status(self, sessions: list[SessionSnapshot]) -> tuple[ClientStatus, ...]:
        """Every client, connected or not."""
        by_id = {session["id"]: session for session in sessions}
        return tuple(_status(entry, by_id.get(entry.tunnel_id)) for entry in self._clients.client)


def tunnel_config(server: ServerConfig, client: ClientEntry) -> ServerConfig:
    """The server's configuration as far as one client's tunnel goes."""
    return server.model_copy(update={"tunnel_id": client.tunnel_id})


def addresses_of(client: ClientEntry) -> tuple[IPInterface, ...]:
    """The server's addresses in a client's tunnel: the first hosts."""
    inside = [network for network in (client.ip, client.ip6) if network]
    return tuple(ip_interface(f"{network[1]}/{network.prefixlen}") for network in inside)


def _for_engine(entry: ClientEntry) -> NamedClient:
    inside: list[IPv4Network | IPv6Network] = [entry.ip, *([entry.ip6] if entry.ip6 else [])]
    return {
        "name": entry.name,
        "tunnel_id": entry.tunnel_id,
        "public_key": entry.public_key,
        "psk": entry.psk.get_secret_value(),
        "addresses": [(str(network[2]), str(network[1]), network.prefixlen) for network in inside],
        "lan": [(str(network.network_address), network.prefixlen) for network in entry.behind],
        "cap_tx_bps": entry.down,
        "cap_rx_bps": entry.up,
        "reaches_clients": entry.client_to_client,
        "revoked": entry.revoked,
    }


def _status(entry: ClientEntry, session: SessionSnapshot | None) -> ClientStatus:
    if entry.revoked:
        state = "revoked"
    elif session is None:
        state = "never connected"
    else:
        state = "up" if session["up"] else "down"
    return ClientStatus(
        name=entry.name,
        state=state,
        session=entry.tunnel_id,
        addresses=tuple(str(network[2]) for network in (entry.ip, entry.ip6) if network),
        lan=tuple(str(network) for network in entry.lan),
        forwards=tuple(map(str, entry.forward)),
        up_cap_bps=entry.up,
        down_cap_bps=entry.down,
        client_to_client=entry.client_to_client,
        public_key=entry.public_key,
        tx_bytes=session["tun_rx_bytes"] if session else 0,
        rx_bytes=session["tun_tx_bytes"] if session else 0,
        spoofed_drops=session["spoofed_drops"] if session else 0,
        other_client_drops=session["other_client_drops"] if session else 0,
        cap_drops=session["cap_drops_tx"] + session["cap_drops_rx"] if session else 0,
    )
