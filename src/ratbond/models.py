"""Plain values that more than one part of the program speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Family(IntEnum):
    """The version of the Internet Protocol."""

    V4 = 4
    V6 = 6

    @classmethod
    def of(cls, value: IPAddress | IPInterface | IPNetwork) -> Family:
        """The family of an address."""
        return cls(value.version)


@dataclass(frozen=True, slots=True)
class HostPort:
    """``host:port`` as written on a command line; an IPv6 host stands in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Reads ``192.0.2.1:12345``, ``[2001:db8::1]:12345`` or ``vps.example.org:12345``.

        Raises ValueError with one line for the user.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text!r} has no port: write address:port, such as 192.0.2.1:12345")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [2001:db8::1]:12345")
        if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
        if not host or any(c.isspace() or c in "/[]" for c in host):
            raise ValueError(f"{text!r}: {host!r} is neither an address nor a host name")
        return cls(host, int(port))

    @property
    def literal(self) -> IPAddress | None:
        """The host as an address; None when it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WanSpec:
    """A WAN that the user names: ``IFACE[=ADDRESS][@GATEWAY]``."""

    device: str
    address: IPAddress | None = None
    gateway: IPAddress | None = None

    @classmethod
    def parse(cls, text: str) -> WanSpec:
        """Reads ``wwan0``, ``eth1=192.0.2.7``, ``eth1@192.0.2.1`` or all of it.

        Raises ValueError with one line for the user.
        """
        rest, at, gateway = text.partition("@")
        device, equals, address = rest.partition("=")
        if not is_device_name(device):
            raise ValueError(
                f"{text!r}: {device!r} cannot be an interface's name; write IFACE[=ADDRESS][@GATEWAY]"
            )
        try:
            spec = cls(device, ip_address(address) if equals else None, ip_address(gateway) if at else None)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; write IFACE[=ADDRESS][@GATEWAY]") from None
        if spec.address and spec.gateway and spec.address.version != spec.gateway.version:
            raise ValueError(f"{text!r}: the address and the gateway must be of one family")
        return spec

    def __str__(self) -> str:
        address = f"={self.address}" if self.address else ""
        return f"{self.device}{address}" + (f"@{self.gateway}" if self.gateway else "")


def is_device_name(name: str) -> bool:
    """Whether the kernel would take this as an interface's name (dev_valid_name: 1 to 15 bytes, no slash, colon, space)."""
    return (
        0 < len(name.encode()) < 16
        and name not in {".", ".."}
        and not any(c in "/:" or c.isspace() for c in name)
    )
