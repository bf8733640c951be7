"""The ports that programs of this machine listen on for others, as /proc/net has them (proc(5))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ratbond.netcfg.kernel import read_sysctl

_PROC: Final = Path("/proc/net")
_LISTENING: Final[dict[Literal["tcp", "udp"], str]] = {
    "tcp": "0A",
    "udp": "07",
}  # TCP_LISTEN; a datagram socket without a peer is TCP_CLOSE
_KNOWN: Final = {("tcp", 22): "ssh's"}


@dataclass(frozen=True, slots=True)
class Listener:
    """A port, and in words whose it is."""

    protocol: Literal["tcp", "udp"]
    port: int
    whose: str


def listeners() -> list[Listener]:
    """Those that are not for this machine alone. A datagram socket whose port the kernel has chosen listens for nobody."""
    low, high = (int(word) for word in read_sysctl("ipv4/ip_local_port_range").split())
    found = []
    for protocol in _LISTENING:
        for family in ("", "6"):
            path = _PROC / f"{protocol}{family}"
            ports = parse(path.read_text(), protocol) if path.exists() else ()
            found += [port for port in ports if port[0] == "tcp" or not low <= port[1] <= high]
    return [
        Listener(protocol, port, _KNOWN.get((protocol, port), "another program's"))
        for protocol, port in dict.fromkeys(found)
    ]


def parse(table: str, protocol: Literal["tcp", "udp"]) -> Iterator[tuple[Literal["tcp", "udp"], int]]:
    """The ports of a table's listening sockets, but for those of loopback addresses."""
    for line in table.splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        address, _, port = local.partition(":")
        if state == _LISTENING[protocol] and not _is_loopback(address):
            yield protocol, int(port, 16)


def _is_loopback(address: str) -> bool:
    """An address as the kernel prints it: 32-bit words in the machine's order of bytes."""
    words = [bytes.fromhex(address[i : i + 8]) for i in range(0, len(address), 8)]
    if len(words) == 1:
        return 127 in (words[0][0], words[0][3])
    return not any(b"".join(words[:3])) and words[3] in (b"\x01\0\0\0", b"\0\0\0\x01")
