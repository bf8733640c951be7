"""The border between ratbond's Python and its Rust engine.

Nothing here is called per packet. Every class is safe to use from any thread; no call holds a lock that a packet
waits for. Errors of the system (device busy, no permission) are raised as :class:`EngineError` whose text is one line
that says what to do.
"""

from typing import Literal, TypedDict, Unpack, final

__version__: str

class EngineError(Exception):
    """Something the engine or the kernel refused; the text is one line for the user."""

def keep_memory_private() -> None:
    """No core dump of this process, and nobody but the superuser reads its memory, from now on: before a secret is read."""

EventKind = Literal[
    "session_up",
    "session_down",
    "link_up",
    "link_suspect",
    "link_down",
    "assigned",
    "mtu",
    "replaced",
    "refused",
    "note",
    "trace",
]

def public_key(private_key: str) -> str:
    """The X25519 public key of a private key; both are 64 hex digits."""

@final
class Event:
    """Something that happened; see ``kind``.

    - ``session_up``: the first link of a session is up. ``peer`` is ``"ratbond"`` or ``"stock"``; ``detail`` is the
      cipher of sealed links. A tun may be attached.
    - ``session_down``: the last link of a session is dead. Its tun stays attached until it is detached.
    - ``link_up`` / ``link_suspect`` / ``link_down``: a link joined, stopped answering, or left, with the reason in ``detail``.
    - ``assigned``: the server has told this client its inner ``addresses``; before ``session_up``, and when they change.
    - ``mtu``: the session's packets are of ``mtu`` bytes at most from now on, and its tun should have that MTU. Before the first
      one it is that of the configuration.
    - ``replaced``: another process with the same client's key has taken over; ``name`` is where it is.
    - ``refused``: a peer's datagrams were refused (wrong secret, wrong tunnel-id, ...); at most one a second per cause.
    - ``note``: anything else that belongs in the log.
    - ``trace``: one datagram or packet, if the engine was made with ``trace``; at most 200 a second.
    """

    kind: EventKind
    session: int
    link: int | None
    name: str
    detail: str
    links_up: int
    peer: str
    addresses: list[str]  # "10.66.0.2/30"; this end's own
    mtu: int  # 0 but for ``mtu``
    at_ns: int  # CLOCK_MONOTONIC

class Preference(TypedDict):
    """What is wanted of a link."""

    tier: Literal["primary", "secondary", "backup"]
    up_bps: int | None  # the most that the client sends over it, of IP packets; None: no cap
    down_bps: int | None  # the same of the server
    weight: int  # 1 to 1000: flows or packets for each of another; not of the adaptive scheduler

class LinkSnapshot(TypedDict):
    """One conversation of one link. Counters count since the link was made."""

    id: int
    name: str
    conv: int
    state: Literal["connecting", "up", "suspect", "dead"]
    tier: Literal["primary", "secondary", "backup"]  # as is all up to weight: the client's, once it has told
    cap_up_bps: int | None
    cap_down_bps: int | None
    weight: int
    local: str  # "ip:port" or "" when not known
    remote: str
    rtt_ms: float  # smoothed; 0.0 before the first sample
    rttvar_ms: float
    min_rtt_ms: float
    rto_ms: float
    delivery_rate_bps: float
    in_flight_segments: int
    in_flight_bytes: int
    window_bytes: int  # that may be in flight
    queued_packets: int
    queued_bytes: int
    tx_packets: int  # IP packets given to this link
    tx_bytes: int
    rx_packets: int  # IP packets that came out of it
    rx_bytes: int
    wire_tx_datagrams: int
    wire_tx_bytes: int  # UDP payload
    wire_rx_datagrams: int
    wire_rx_bytes: int
    segments_sent: int
    retransmits: int  # all of them, fast ones included
    fast_retransmits: int
    timeouts: int
    duplicates: int  # segments that had come before
    loss: float  # retransmits / segments sent, over the last few seconds
    aqm_drops: int
    aqm_marks: int  # of packets whose senders listen to ECN
    overflow_drops: int
    malformed: int  # datagrams or segments that were dropped as invalid
    link_mtu: int | None  # longest packet that one of its datagrams carries; None: any, in pieces
    path_mtu: int | None  # longest IP packet that its path carries, as far as is known; None: nobody looks
    path_mtu_state: Literal["", "base", "searching", "complete", "error"]
    hello_age_ms: float  # since any payload came; -1.0 before the first
    uptime_ms: float  # since it came up; 0.0 when it is not

class SessionSnapshot(TypedDict):
    id: int
    up: bool
    peer: str
    cipher: Literal["aes-256-gcm", "chacha20-poly1305", ""]  # "": not sealed, or before the handshake
    tunnel_id: int
    scheduler: str
    uptime_ms: float
    tun: str  # device name or ""
    tun_rx_packets: int  # read from the tun
    tun_rx_bytes: int
    tun_tx_packets: int  # written to the tun
    tun_tx_bytes: int
    tun_tx_drops: int  # refused by the kernel, or there was no tun
    no_link_drops: int  # packets that found no link
    not_ip_drops: int  # packets from the tun that were neither IPv4 nor IPv6
    own_drops: (
        int  # packets from the tun that were addressed to the peer's own port: led back into the tunnel
    )
    queued_packets: int  # in the queue in front of all links, where the scheduler has one
    queued_bytes: int
    aqm_drops: int  # by the queues of all links, those that are gone included; as are the next two
    aqm_marks: int
    overflow_drops: int
    requeued_packets: int  # taken from a dead link and sent again over another
    doubled_packets: int  # of which a second copy went over another link
    doubled_bytes: int  # of those that were sent at once, and not because the first was overdue
    inner_mtu: int  # longest packet of the tun that every link carries, both ways
    too_big_packets: int  # longer ones: cut in pieces where they allow it, else refused
    too_big_answers: int  # refusals that were told to the sender
    spoofed_drops: int  # from a named client, with a source that is not its own
    other_client_drops: int  # from a named client to one that it may not reach
    cap_drops_tx: int  # to a named client, beyond its cap
    cap_drops_rx: int  # from a named client, beyond its cap
    links: list[LinkSnapshot]

class NamedClient(TypedDict):
    """A client with a key of its own, as a server knows it. Its session has the number of its tunnel-id."""

    name: str
    tunnel_id: int
    public_key: str  # X25519, 64 hex digits
    psk: str  # 64 hex digits
    addresses: list[tuple[str, str, int]]  # client's, server's, prefix length; one a family
    lan: list[tuple[str, int]]  # networks behind it: address, prefix length
    cap_tx_bps: int | None  # to the client; None: no cap
    cap_rx_bps: int | None  # from it
    reaches_clients: bool  # whether it may reach others that may as well
    revoked: bool

@final
class Tun:
    """A TUN device (IFF_TUN, no packet information). It exists until :meth:`close` and until no engine uses it.

    With ``offload`` the kernel hands over and takes super-packets (TSO, USO), as far as it can.
    """

    def __init__(self, name: str, *, offload: bool = True) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def ifindex(self) -> int: ...
    def close(self) -> None: ...

@final
class Engine:
    """One end of a tunnel: worker threads, sockets, sessions.

    A client has exactly one session, number 0, from the start; it has links only through :meth:`add_link`.
    A server makes sessions and links as datagrams of peers arrive on ``listen``.
    """

    def __init__(
        self,
        *,
        role: Literal["client", "server"],
        protocol: Literal["kcp", "bond"],
        tunnel_id: int,
        scheduler: Literal["adaptive", "consistent", "roundrobin", "redundant"],
        mux: int = 1,
        secret: str | None = None,  # kcp: the passphrase of stock AES; bond: a key of 64 hex digits
        private_key: str | None = None,  # bond with named clients: this end's X25519 key, 64 hex digits
        server_key: str | None = None,  # a named client: the server's public key
        psk: str | None = None,  # a named client: what it shares with the server besides
        cipher: Literal[
            "auto", "aes-256-gcm", "chacha20-poly1305"
        ] = "auto",  # bond: by the CPU, or this one only
        workers: int = 1,  # threads that share the clients of a server with a key of its own: 1 to 64
        listen: tuple[str, int] | None = None,  # server: address, port
        offload: bool = True,  # datagrams go to and come from the kernel many in one piece, as far as it can
        trace: bool = False,  # tell every datagram and packet as an event
    ) -> None: ...
    @property
    def event_fd(self) -> int:
        """Readable when :meth:`events` has something; for an event loop's reader."""
    @property
    def local_address(self) -> tuple[str, int] | None:
        """Where a server listens (the real port when 0 was asked for)."""
    def events(self) -> list[Event]:
        """Takes all waiting events."""
    def add_link(self, name: str, *, device: str | None, source: str | None, remote: tuple[str, int]) -> int:
        """Client: opens a UDP socket bound to the device and the source address and starts ``mux`` conversations on it. Returns the link's number."""
    def remove_link(self, link: int, reason: str) -> None:
        """Takes a link out at once: the peer is told over the others, what it held goes over the others."""
    def rename_link(self, link: int, name: str) -> None:
        """Client: the link's device has another name now. Events and snapshots have it from then on; nothing else changes."""
    def prefer(self, link: int, preference: Preference) -> None:
        """Client: the link is used so from now on, at both ends; over the kcp protocol, for what the client sends."""
    def attach_tun(self, session: int, tun: Tun) -> None: ...
    def detach_tun(self, session: int) -> None: ...
    def set_clients(self, clients: list[NamedClient]) -> None:
        """Server with a private key: who may connect from now on. Who is in the list as before notices nothing; who is gone, revoked or has other keys or addresses is cut off when this returns."""
    def set_scheduler(
        self, scheduler: Literal["adaptive", "consistent", "roundrobin", "redundant"]
    ) -> None: ...
    def snapshot(self) -> list[SessionSnapshot]: ...
    def close(self) -> None:
        """Stops the threads and closes every socket and tun. Idempotent."""

class LinkSettings(TypedDict, total=False):
    """One direction of an emulated link. What is not given is that of a perfect wire, or stays as it was."""

    rate_bps: int  # 0: unlimited
    overhead_bytes: int  # what an IP packet costs beyond its own size
    queue_bytes: int  # either this ...
    queue_ms: float  # ... or what drains in this time at the present rate (100.0)
    delay_ms: float  # one way
    jitter_ms: float
    jitter_distribution: Literal["uniform", "normal", "exponential"]
    jitter_reorders: bool
    loss: float  # each packet on its own; this and those below are 0.0 to 1.0
    burst_loss: float  # share of packets lost in bursts
    burst_packets: float  # mean length of a burst (5.0)
    reorder: float  # share of packets held back
    reorder_ms: float  # for how long (10.0)
    duplicate: float
    mtu_bytes: int  # larger IP packets vanish; 0: no limit
    blackhole: bool

class DirectionStats(TypedDict):
    """Counters of one direction since the emulator started. Bytes are those of IP packets."""

    sent_packets: int
    sent_bytes: int
    delivered_packets: int
    delivered_bytes: int
    oversize_packets: int
    queue_dropped_packets: int
    lost_packets: int
    blackholed_packets: int
    duplicated_packets: int
    reordered_packets: int
    queued_packets: int  # now, as is all below up to in_flight_packets
    queued_bytes: int
    in_flight_packets: int
    unsent_packets: int  # refused by the interface at the end, as when it is down
    emulator_dropped_packets: int  # the emulator itself was too slow; 0 in any sound measurement

class LinkStats(TypedDict):
    up: DirectionStats
    down: DirectionStats

class EmulatorStats(TypedDict):
    links: list[LinkStats]
    cpu_s: float  # processor time of the emulator's thread
    realtime: bool  # whether it got real-time priority; without, delays are less exact on a busy machine

@final
class Emulator:
    """WAN links between pairs of interfaces, in a thread of its own; for the lab.

    A link is (client's port, server's port, settings up, settings down). The interfaces are looked up in the calling
    thread's network namespace. Wrong settings raise :class:`ValueError`.
    """

    def __init__(
        self, links: list[tuple[str, str, LinkSettings, LinkSettings]], *, seed: int = 0
    ) -> None: ...
    def set(self, link: int, direction: Literal["up", "down"], **changes: Unpack[LinkSettings]) -> None:
        """Changes what is named, from now on, queued packets included; packets on the wire keep their arrival times."""
    def stats(self) -> EmulatorStats: ...
    def close(self) -> None:
        """Stops the thread; packets under way are gone. Idempotent."""

class LoadResult(TypedDict):
    """What one load has come to."""

    delivered_bytes: list[int]  # payload, in each full second
    resent_segments: int  # by the TCP inside
    datagrams: list[tuple[float, float | None]]  # a stream's: when sent, in s; how long it took, in ms
    duplicates: int

class LinkResult(TypedDict):
    """Bytes that a link delivered in each full second, the tunnel's own headers included."""

    up_bytes: list[int]
    down_bytes: list[int]

class SimulatorResult(TypedDict):
    loads: list[LoadResult]  # in the order in which they were added
    links: list[LinkResult]
    repaired_packets: int  # both ends together, as are all below
    copied_packets: int
    queue_dropped_packets: int

@final
class Simulator:
    """Both ends of a sealed tunnel over simulated links, in virtual time; links are told by their place.

    A link is (settings up, settings down, what is wanted of it). It is connected when the constructor returns. Wrong values raise
    :class:`ValueError`.
    """

    def __init__(
        self,
        links: list[tuple[LinkSettings, LinkSettings, Preference]],
        *,
        scheduler: Literal["adaptive", "consistent", "roundrobin", "redundant"] = "adaptive",
        seed: int = 1,
    ) -> None: ...
    @property
    def now_s(self) -> float: ...
    def add_transfers(
        self,
        direction: Literal["up", "down"],
        count: int,
        congestion: Literal["cubic", "bbr"],
        start_s: float,
        stop_s: float,
    ) -> None:
        """TCP transfers, which have always something to send."""
    def add_stream(
        self,
        direction: Literal["up", "down"],
        packets_per_s: float,
        packet_bytes: int,
        start_s: float,
        stop_s: float,
    ) -> None:
        """UDP packets of one size at a steady pace."""
    def set(self, link: int, direction: Literal["up", "down"], **changes: Unpack[LinkSettings]) -> None: ...
    def prefer(self, link: int, preference: Preference) -> None:
        """The link is used so from now on."""
    def pull(self, link: int) -> None:
        """As if the client's interface went down."""
    def restore(self, link: int) -> None: ...
    def advance(self, until_s: float) -> None:
        """Runs on to a moment; nothing happens when that is over."""
    def result(self) -> SimulatorResult: ...
