"""The status: what `/status` and `ratbond status --json` give. docs/status.md describes every field.

The schema's number grows when a field changes its meaning or goes; new fields do not change it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Rates:
    """IP traffic over the last few seconds."""

    tx_bps: float = 0.0
    rx_bps: float = 0.0
    tx_pps: float = 0.0
    rx_pps: float = 0.0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One conversation of a link; counters count since the link was made."""

    id: int
    name: str
    conv: int
    state: str  # connecting, up, suspect, dead
    source: str  # "address:port" here
    remote: str  # "address:port" there
    uptime_s: float
    hello_age_s: float | None  # since anything came; None before the first
    rtt_ms: float
    rttvar_ms: float
    min_rtt_ms: float
    rto_ms: float
    loss: float  # retransmitted share of what was sent, over the last few seconds
    rates: Rates
    tx_packets: int
    tx_bytes: int
    rx_packets: int
    rx_bytes: int
    wire_tx_datagrams: int
    wire_tx_bytes: int
    wire_rx_datagrams: int
    wire_rx_bytes: int
    segments_sent: int
    retransmits: int
    fast_retransmits: int
    timeouts: int
    duplicates: int
    malformed: int
    in_flight_segments: int
    in_flight_bytes: int
    queued_packets: int
    queued_bytes: int
    aqm_drops: int
    overflow_drops: int
    tier: str = "primary"  # or secondary, backup; as is all below: what the client's user wants of it
    cap_up_bps: int | None = None
    cap_down_bps: int | None = None
    weight: int = 1
    quota_bytes: int | None = None  # a client's, of a day, week or month
    quota_used_bytes: int | None = None
    link_mtu: int | None = None  # longest packet that one of its datagrams carries; None: any, in pieces
    path_mtu: int | None = (
        None  # longest IP packet that its path carries, as far as is known; None: nobody looks
    )
    aqm_marks: int = 0  # of packets whose senders listen to ECN
    path_mtu_state: str = ""  # base, searching, complete, error; "" where nobody looks


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """A named client of a server, connected or not; counters count since it first connected."""

    name: str
    state: str  # up, down, never connected, revoked
    session: int  # of the sessions
    addresses: tuple[str, ...]  # its own, inside the tunnel
    lan: tuple[str, ...]  # networks behind it
    up_cap_bps: int | None
    down_cap_bps: int | None
    client_to_client: bool
    public_key: str
    tx_bytes: int  # to the client
    rx_bytes: int  # from it
    spoofed_drops: int  # from it, with a source that is not its own
    other_client_drops: int  # from it, to a client that it may not reach
    cap_drops: int  # both ways, beyond its caps
    forwards: tuple[str, ...] = ()  # ports of the server that lead behind it


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One peer."""

    id: int
    up: bool
    peer: str  # "ratbond", "stock", or "" before it is known
    cipher: str  # that seals its links; "" before the handshake, and where none does
    uptime_s: float
    tun: str
    rates: Rates  # through the tun
    tx_packets: int  # from the tun to the peer
    tx_bytes: int
    rx_packets: int
    rx_bytes: int
    no_link_drops: int
    own_drops: int
    requeued_packets: int
    links: tuple[LinkStatus, ...] = ()
    doubled_packets: int = 0  # of which a second copy went over another link
    doubled_bytes: int = 0  # what that cost
    client: str = ""  # its name, where clients have keys of their own
    aqm_drops: int = 0  # by all its queues, links that are gone included; as are the next two
    aqm_marks: int = 0
    overflow_drops: int = 0
    inner_mtu: int = 0  # longest packet that every link carries, both ways
    too_big_packets: int = 0  # longer ones: cut in pieces where they allow it, else refused
    too_big_answers: int = 0  # refusals that were told to the sender
    queued_packets: int = 0  # in the queue in front of all links, where the scheduler has one
    queued_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """One end of a tunnel."""

    version: str
    role: str
    tunnel_id: int
    protocol: str
    encryption: str  # "none", "aes-cfb (stock: not authenticated)"
    scheduler: str
    mux: int
    address: str  # the server's: where it listens, or where the client connects
    uptime_s: float
    sessions: tuple[SessionStatus, ...] = ()
    clients: tuple[ClientStatus, ...] = ()  # a server's, where they have keys of their own
    warnings: tuple[str, ...] = ()
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
