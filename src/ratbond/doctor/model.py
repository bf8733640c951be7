"""What is looked at, as plain facts, and what is said of it. The checks are pure functions from the ones to the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ratbond.models import IPAddress


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  # it works, but not as well as it could, or it may not
    FAIL = "fail"  # it cannot work so


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. ``fix`` is a line to type, or, where there is none, what to do."""

    check: str
    verdict: Verdict
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """What this process may do."""

    net_admin: bool
    net_raw: bool


@dataclass(frozen=True, slots=True)
class TunDevice:
    """/dev/net/tun. ``errno`` is that of opening it or of making a device; None when both went well."""

    errno: int | None = None
    made: bool = False  # the device opened, and refused to make a tun
    tcp_offload: bool = True
    udp_offload: bool = True  # Linux 6.2
    taken: bool = False  # the tunnel's device is there, and none of ours runs


@dataclass(frozen=True, slots=True)
class UdpOffload:
    """What the kernel does for UDP sockets."""

    segmentation: bool  # UDP_SEGMENT, Linux 4.18
    coalescing: bool  # UDP_GRO, Linux 5.0


@dataclass(frozen=True, slots=True)
class Clock:
    """The machine's clocks."""

    year: int
    source: str  # clocksource of the kernel; "" when it does not say
    resolution_ns: int  # of CLOCK_MONOTONIC


@dataclass(frozen=True, slots=True)
class InputChain:
    """A firewall's chain that drops what it does not know, and the UDP ports that its rules name."""

    place: str  # "inet filter input"
    ports: tuple[tuple[int, int], ...]  # ranges, both ends included
    manager: str  # "ufw", "firewalld" or "" for a plain nftables or iptables


@dataclass(frozen=True, slots=True)
class Firewall:
    """nft and what stands in it. ``error`` is what nft said instead of an answer."""

    installed: bool
    error: str = ""
    dropping: tuple[InputChain, ...] = ()


@dataclass(frozen=True, slots=True)
class Wan:
    """A WAN link as the client would use it."""

    device: str
    source: IPAddress
    gateway: IPAddress | None
    mtu: int
    strict: bool  # rp_filter
    writable: bool = True  # whether rp_filter may be changed


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What ends that do not run any more have left."""

    noted: tuple[str, ...] = ()  # the ends whose notes are there: the next start of each takes it back
    unnoted: tuple[str, ...] = ()  # commands that remove what nobody has noted


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back over one link."""

    device: str
    asked: int
    round_trips_ms: tuple[float, ...] = ()
    refused: str = ""  # an ICMP error, or the kernel's own, in words
    version: str = ""  # the server speaks another one
    mapping_changes: int = 0  # how often the server saw another address or port
    state: str = ""  # not asked, since a client runs here: what it says of the link


@dataclass(frozen=True, slots=True)
class Name:
    """Where the server is."""

    host: str
    port: int
    families: tuple[int, ...] = ()
    error: str = ""
    took_s: float = 0.0
    literal: bool = False


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds a secret, and whether the service could read it."""

    path: str
    owner: str
    service_can_read: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What both ends need."""

    role: str
    protocol: str
    nat: bool
    running: bool  # this very end, here and now
    rights: Rights
    tun: TunDevice
    udp: UdpOffload
    clock: Clock
    firewall: Firewall
    device: str  # the tunnel's; "" where each client has its own
    taken_networks: tuple[str, ...] = ()
    leftovers: Leftovers = field(default_factory=Leftovers)
    files: tuple[SecretFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Uplinks:
    """A client's way to its server."""

    name: Name
    wans: tuple[Wan, ...] = ()
    not_yet: tuple[tuple[str, str], ...] = ()  # named interfaces that are no link, and why
    routeless: tuple[str, ...] = ()  # interfaces with an address and no default route
    answers: tuple[Answers, ...] = ()
    not_asked: str = ""  # why


@dataclass(frozen=True, slots=True)
class Listening:
    """A server's own side."""

    address: str
    port: int
    errno: int | None = None  # of binding it, when no server of ours runs
    clients: int | None = None  # of the clients file that are not revoked; None: there is no such file
    public: bool = True  # whether this machine has a public address
