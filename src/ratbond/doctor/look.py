"""Looks at the machine: reads files, opens devices, asks the kernel. It changes nothing that stays."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ratbond.config import ClientConfig, ServerConfig
from ratbond.doctor.firewall import dropping_chains
from ratbond.doctor.model import Clock, Firewall, Leftovers, Rights, SecretFile, TunDevice, UdpOffload, Wan
from ratbond.links.model import Snapshot, WanLink
from ratbond.models import Family
from ratbond.netcfg import journal, kernel, nft
from ratbond.ownership import service_user

_CAP_NET_ADMIN, _CAP_NET_RAW = 12, 13  # linux/capability.h
_TUN: Final = Path("/dev/net/tun")
_TUN_FLAGS: Final = 0x0001 | 0x1000 | 0x4000  # IFF_TUN, IFF_NO_PI, IFF_VNET_HDR
_TCP_OFFLOAD: Final = 0x01 | 0x02 | 0x04  # TUN_F_CSUM, TSO4, TSO6
_UDP_OFFLOAD: Final = _TCP_OFFLOAD | 0x20 | 0x40  # USO4, USO6
_PROBE_NAME: Final = b"rbdoctor%d"  # the kernel counts up
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104  # linux/udp.h
_CLOCK_SOURCE: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_NO_WAN_KINDS: Final = frozenset({"bridge", "dummy", "ifb", "tap", "tun", "wireguard"})


def rights() -> Rights:
    """The effective capabilities."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return Rights(bool(effective >> _CAP_NET_ADMIN & 1), bool(effective >> _CAP_NET_RAW & 1))


def tun(*, taken: bool) -> TunDevice:
    """Makes a tun device of another name, asks what it takes, and lets it go."""
    opened = False
    try:
        descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        opened = True
        try:
            fcntl.ioctl(descriptor, _write_ioctl(202), struct.pack("16sH22x", _PROBE_NAME, _TUN_FLAGS))
            return TunDevice(
                tcp_offload=_takes(descriptor, _TCP_OFFLOAD),
                udp_offload=_takes(descriptor, _UDP_OFFLOAD),
                taken=taken,
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        return TunDevice(errno=error.errno or errno.EIO, made=opened, taken=taken)


def _write_ioctl(number: int) -> int:
    """_IOW('T', number, int): MIPS, PowerPC and SPARC have their direction bits elsewhere (asm/ioctl.h)."""
    write = 4 << 29 if platform.machine().startswith(("mips", "ppc", "sparc")) else 1 << 30
    return write | 4 << 16 | ord("T") << 8 | number


def _takes(descriptor: int, offload: int) -> bool:
    try:
        fcntl.ioctl(descriptor, _write_ioctl(208), offload)
    except OSError:
        return False
    return True


def udp() -> UdpOffload:
    """Asks a socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return UdpOffload(_accepts(probe, _UDP_SEGMENT), _accepts(probe, _UDP_GRO))


def _accepts(probe: socket.socket, option: int) -> bool:
    try:
        probe.setsockopt(_SOL_UDP, option, 0)
    except OSError:
        return False
    return True


def clock() -> Clock:
    """Date, source and resolution."""
    try:
        source = _CLOCK_SOURCE.read_text().strip()
    except OSError:
        source = ""
    return Clock(time.gmtime().tm_year, source, round(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9))


async def firewall() -> Firewall:
    """What nft knows."""
    if shutil.which("nft") is None:
        return Firewall(installed=False)
    try:
        return Firewall(installed=True, dropping=dropping_chains(await nft.ruleset()))
    except OSError as error:
        return Firewall(installed=True, error=error.strerror or str(error))


def ends() -> dict[str, bool]:
    """The ends that have notes in this network namespace, and whether each runs."""
    return journal.ends(journal.state_directory())


async def leftovers(known: dict[str, bool]) -> Leftovers:
    """What killed runs have left. Rules without notes are somebody's only if nobody has any."""
    killed = tuple(sorted(owner for owner, runs in known.items() if not runs))
    if known:
        return Leftovers(killed)
    netlink = kernel.Kernel()
    left = [family.value for family in Family if await netlink.count_own_rules(family)]
    await netlink.close()
    ours = kernel.PROTOCOL
    return Leftovers(
        unnoted=tuple(
            f"ip -{version} rule flush protocol {ours}; ip -{version} route flush table all proto {ours}"
            for version in left
        )
    )


def secret_files(config: ClientConfig | ServerConfig) -> tuple[SecretFile, ...]:
    """The files with secrets that the configuration names."""
    names = ("secret_file", "join_file", "clients_file", "http_token_file")
    paths = [path for name in names if (path := getattr(config, name, None)) is not None]
    service = service_user()
    return tuple(
        SecretFile(str(path), path.owner(), service is None or path.stat().st_uid == service.pw_uid)
        for path in paths
    )


def wans(links: Iterable[WanLink]) -> tuple[Wan, ...]:
    """What the kernel says of the links' devices."""
    read_only = bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
    return tuple(
        Wan(
            link.device, link.source, link.gateway, int(Path(f"/sys/class/net/{link.device}/mtu").read_text()),
            strict=kernel.reverse_path_is_strict(link.device), writable=not read_only,
        )
        for link in links
    )  # fmt: skip


def routeless(
    snapshot: Snapshot, families: tuple[Family, ...], links: Iterable[WanLink], own_device: str
) -> tuple[str, ...]:
    """Interfaces that could be WANs towards a server of these families, had they a default route."""
    routes = {route.index for route in snapshot.default_routes if route.family in families}
    known = routes | {link.index for link in links}
    addressed = {
        a.index
        for a in snapshot.addresses
        if a.usable and not a.link_local and Family.of(a.address) in families
    }
    return tuple(
        device.name
        for device in snapshot.devices
        if device.index in addressed - known and device.up and device.carrier and device.name != own_device
        and not device.loopback and device.kind not in _NO_WAN_KINDS and not device.port_of
    )  # fmt: skip


def binding_error(address: str, port: int) -> int | None:
    """What the kernel says to a UDP socket there; None when it may be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno
    return None
