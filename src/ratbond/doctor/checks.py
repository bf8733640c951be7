"""What the facts of a machine mean for either end. Pure: each check reads facts and yields findings, best news first."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from ratbond.doctor.model import (
    Clock,
    Finding,
    Firewall,
    InputChain,
    Leftovers,
    Listening,
    Machine,
    Rights,
    SecretFile,
    TunDevice,
    UdpOffload,
    Verdict,
)

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

_SANE_YEAR: Final = 2025  # before this program was written no clock can be right
_COARSE_NS: Final = 1_000_000
_SLOW_SOURCES: Final = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"})


def machine(facts: Machine) -> Iterator[Finding]:
    """Everything that both ends need."""
    yield from rights(facts.rights)
    yield from tun(facts.tun, facts.device)
    yield from udp(facts.udp)
    yield from firewall_tools(facts.firewall, nat=facts.nat)
    yield from clock(facts.clock)
    yield from networks(facts.taken_networks)
    yield from leftovers(facts.leftovers)
    yield from files(facts.files)


def rights(facts: Rights) -> Iterator[Finding]:
    """CAP_NET_ADMIN and CAP_NET_RAW."""
    needed = (("CAP_NET_ADMIN", facts.net_admin), ("CAP_NET_RAW", facts.net_raw))
    missing = " and ".join(name for name, there in needed if not there)
    if missing:
        yield Finding("rights", FAIL, f"{missing} is missing", "run it as root: sudo ratbond doctor ...")
    else:
        yield Finding("rights", OK, "may change the network and bind sockets to devices")


def tun(facts: TunDevice, device: str) -> Iterator[Finding]:
    """/dev/net/tun, and whether the tunnel's name is free."""
    check = "tun"
    match facts.errno:
        case None:
            yield from _offload(facts)
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            yield Finding(
                check, FAIL, "there is no /dev/net/tun: the kernel's module is not loaded, or the file is not there",
                "modprobe tun; mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200",
            )  # fmt: skip
        case errno.EACCES:
            yield Finding(
                check, FAIL, "/dev/net/tun may not be opened by this user", "chmod 666 /dev/net/tun"
            )
        case errno.EPERM if not facts.made:
            yield Finding(
                check, FAIL, "the container or unit that this runs in forbids /dev/net/tun",
                "allow it there: docker run --device /dev/net/tun --cap-add NET_ADMIN; LXC: lxc.cgroup2.devices.allow = c 10:200 rwm; "
                "systemd: DeviceAllow=/dev/net/tun rw",
            )  # fmt: skip
        case number:
            words = errno.errorcode.get(number, str(number))
            yield Finding(
                check,
                FAIL,
                f"the kernel makes no tun device: {words}",
                "run it as root: sudo ratbond doctor ...",
            )
    if facts.taken:
        yield Finding(
            check, FAIL, f"{device} is there already, and no ratbond of this end runs",
            f"ip link delete {device}, or give another --tun-name or --tunnel-id",
        )  # fmt: skip


def _offload(facts: TunDevice) -> Iterator[Finding]:
    if facts.tcp_offload and facts.udp_offload:
        yield Finding("tun", OK, "/dev/net/tun opens, and takes TCP and UDP in large pieces")
    elif facts.tcp_offload:
        yield Finding("tun", OK, "/dev/net/tun opens, and takes TCP in large pieces (UDP from Linux 6.2 on)")
    else:
        yield Finding(
            "tun", WARN, "/dev/net/tun opens, but the kernel cannot hand over TCP in large pieces, which costs speed",
            "use a kernel with TUN offloads (every distribution's has them)",
        )  # fmt: skip


def udp(facts: UdpOffload) -> Iterator[Finding]:
    """Segmentation and coalescing of UDP."""
    missing = [
        name
        for name, there in (("UDP_SEGMENT", facts.segmentation), ("UDP_GRO", facts.coalescing))
        if not there
    ]
    if missing:
        yield Finding(
            "udp", WARN, f"the kernel has no {' and no '.join(missing)}: every datagram costs a system call of its own",
            "use Linux 5.0 or newer",
        )  # fmt: skip
    else:
        yield Finding("udp", OK, "the kernel sends and takes UDP in batches (UDP_SEGMENT, UDP_GRO)")


def firewall_tools(facts: Firewall, *, nat: bool) -> Iterator[Finding]:
    """nft, which --nat needs."""
    if not facts.installed:
        if nat:
            yield Finding("nft", FAIL, "--nat needs nft, which is not installed", "apt-get install nftables")
        else:
            yield Finding("nft", OK, "not installed, and not needed without --nat")
    elif facts.error:
        yield Finding(
            "nft", FAIL if nat else WARN, f"nft does not work here: {facts.error}",
            "modprobe nf_tables nft_masq; in a container its host must load them",
        )  # fmt: skip
    else:
        yield Finding("nft", OK, "nft works")


def clock(facts: Clock) -> Iterator[Finding]:
    """Time of day, for the logs; the fine clock, for the pacing. The two ends need not agree."""
    if facts.year < _SANE_YEAR:
        yield Finding(
            "clock", WARN, f"the clock says {facts.year}: the tunnel does not mind, but logs are of no use",
            "timedatectl set-ntp true",
        )  # fmt: skip
    elif facts.resolution_ns >= _COARSE_NS:
        yield Finding(
            "clock", WARN, "the kernel has no high-resolution timers: what should be spread evenly goes out in bursts",
            "boot without highres=off, or use a kernel with CONFIG_HIGH_RES_TIMERS",
        )  # fmt: skip
    elif facts.source in _SLOW_SOURCES:
        yield Finding(
            "clock", WARN, f"the kernel reads the time from {facts.source}, which is slow, and every packet is timed",
            "see /sys/devices/system/clocksource/clocksource0/available_clocksource; boot with clocksource=tsc if it is there",
        )  # fmt: skip
    else:
        yield Finding(
            "clock", OK, f"fine enough{f' ({facts.source})' if facts.source else ''}; the ends need not agree"
        )


def networks(taken: tuple[str, ...]) -> Iterator[Finding]:
    """Addresses of the tunnel that are in use here."""
    for words in taken:
        flag = "--tunnel-ip6" if ":" in words.partition(" ")[0] else "--tunnel-ip"
        yield Finding("addresses", FAIL, words, f"give another {flag} on both ends")
    if not taken:
        yield Finding("addresses", OK, "the tunnel's own are free")


def leftovers(facts: Leftovers) -> Iterator[Finding]:
    """What killed runs left behind."""
    for owner in facts.noted:
        role = owner.partition("-")[0]
        yield Finding(
            "leftovers", WARN, f"a killed run of {owner} left changes behind; its next start takes them back",
            f"start that {role} again, and stop it in the usual way if you do not want it",
        )  # fmt: skip
    for command in facts.unnoted:
        yield Finding("leftovers", WARN, "a rule of ratbond's is there, and no note of whose it is", command)
    if not facts.noted and not facts.unnoted:
        yield Finding("leftovers", OK, "none of a former run")


def files(found: tuple[SecretFile, ...]) -> Iterator[Finding]:
    """Whether the service can read what root has written. That nobody else can, the configuration has checked."""
    for file in found:
        if file.service_can_read:
            yield Finding("files", OK, f"{file.path}: nobody but {file.owner} can read it")
        else:
            yield Finding(
                "files", WARN, f"{file.path} is {file.owner}'s alone: the service, which is not root, cannot read it",
                f"chown ratbond {file.path}",
            )  # fmt: skip


def listening(facts: Listening, firewall: Firewall) -> Iterator[Finding]:
    """A server's port, its firewall, its clients, its address."""
    if facts.errno == errno.EADDRINUSE:
        yield Finding(
            "port", FAIL, f"UDP port {facts.port} is taken by another program",
            f"ss -Hlunp 'sport = :{facts.port}' says by which; end it, or give another --listen-addr",
        )  # fmt: skip
    elif facts.errno == errno.EADDRNOTAVAIL:
        yield Finding(
            "port", FAIL, f"this machine does not have the address {facts.address}",
            f"--listen-addr 0.0.0.0:{facts.port} takes all of them",
        )  # fmt: skip
    elif facts.errno == errno.EACCES:
        yield Finding(
            "port", FAIL, f"a port below 1024, {facts.port}, takes CAP_NET_BIND_SERVICE", "run it as root, or take a higher port"
        )  # fmt: skip
    elif facts.errno:
        words = errno.errorcode.get(facts.errno, str(facts.errno))
        yield Finding(
            "port", FAIL, f"UDP port {facts.port} cannot be had: {words}", "give another --listen-addr"
        )
    else:
        yield Finding("port", OK, f"UDP port {facts.port} is this server's")
    yield from _opened(facts.port, firewall)
    yield from _who(facts)


def _opened(port: int, firewall: Firewall) -> Iterator[Finding]:
    closed = [
        chain for chain in firewall.dropping if not any(low <= port <= high for low, high in chain.ports)
    ]
    for chain in closed:
        yield Finding(
            "firewall", WARN, f"{chain.place} drops what it does not know, and no rule there names UDP port {port}",
            _opening(chain, port),
        )  # fmt: skip
    if not closed and firewall.installed and not firewall.error:
        yield Finding(
            "firewall",
            OK,
            f"nothing here that would drop UDP port {port}; the provider's firewall must let it, too",
        )


def _opening(chain: InputChain, port: int) -> str:
    if chain.manager == "ufw":
        return f"ufw allow {port}/udp"
    if chain.manager == "firewalld":
        return f"firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload"
    return f"nft insert rule {chain.place} udp dport {port} accept"


def _who(facts: Listening) -> Iterator[Finding]:
    if facts.clients == 0:
        yield Finding(
            "clients", WARN, "no client may connect yet", "ratbond client add NAME --server-addr=HOST:PORT"
        )
    elif facts.clients is not None:
        yield Finding("clients", OK, f"{facts.clients} may connect")
    if not facts.public:
        yield Finding(
            "address", WARN, "this machine has no public address: clients elsewhere do not reach it by itself",
            f"forward UDP port {facts.port} to it on the router before it",
        )  # fmt: skip
