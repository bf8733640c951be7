"""The types of single settings: how they are written, what is said when they are not, and what the flags need to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Strict, WithJsonSchema

from ratbond.forward import EXAMPLE, PortForward, clash
from ratbond.models import Caps, HostPort, IPAddress, IPNetwork, LinkQuota, WanSpec, is_device_name

_MAX_DEVICE_NAME: Final = 15


@dataclass(frozen=True, slots=True)
class Setting:
    """What is to be known of a field beside its type and its description."""

    metavar: str = ""  # what stands for its value in `--help`
    default: str = ""  # in words, for `--help`
    no: str | None = ""  # a boolean's flag that says the contrary; --no-NAME if empty, none if None
    flag: bool = True  # whether there is a flag; some settings stand in the file alone
    live: bool = False  # whether SIGHUP changes it


def parse_host_port(value: object) -> object:
    """Reads ``host:port``."""
    return HostPort.parse(value) if isinstance(value, str) else value


def _parse_listen(value: object) -> object:
    """An address to serve at, or ``disable``."""
    return None if value == "disable" else parse_host_port(value)


def _parse_wans(value: object) -> object:
    return (
        tuple(WanSpec.parse(v) if isinstance(v, str) else v for v in value)
        if isinstance(value, (list, tuple))
        else value
    )


def _parse_forwards(value: object) -> object:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'write a list of port forwards, such as ["{EXAMPLE}"]')  # noqa: TRY004 (pydantic wants it)
    if not all(isinstance(item, (str, PortForward)) for item in value):
        raise ValueError(f'each must be text, such as "{EXAMPLE}"')
    forwards = tuple(PortForward.parse(item) if isinstance(item, str) else item for item in value)
    twins = clash(forwards)
    if twins:
        raise ValueError(f'"{twins[0]}" and "{twins[1]}" take the same port; leave one out')
    return forwards


def _parse_caps(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write "up/down", such as "5mbit/20mbit"')  # noqa: TRY004 (pydantic catches no other)
    return Caps.parse(value)


def _parse_quota(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write "50GB/month"')  # noqa: TRY004 (pydantic catches no other)
    return LinkQuota.parse(value)


def _parse_device_name(value: object) -> object:
    if isinstance(value, str) and not is_device_name(value):
        raise ValueError(
            f"{value!r} cannot be an interface's name: 1 to {_MAX_DEVICE_NAME} characters, no slash, colon or space"
        )
    return value


def _no_number(value: object) -> object:
    """The library would take 5 for 0.0.0.5."""
    if isinstance(value, int):
        raise ValueError("must be an address or a network, in quotes")  # noqa: TRY004 (pydantic catches no other)
    return value


def _parse_address(value: object) -> object:
    value = _no_number(value)
    if not isinstance(value, str):
        return value
    try:
        return ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is no IP address; write one such as 192.0.2.7 or 2001:db8::7") from None


def _parse_any_network(value: object) -> object:
    value = _no_number(value)
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; write a network such as 192.168.7.0/24 or 2001:db8:7::/64") from None


def _parse_path(value: object) -> object:
    if isinstance(value, str) and not value:
        raise ValueError("write the path of a file")
    return Path(value) if isinstance(value, str) else value


def parse_network(version: Literal[4, 6], prefix_length: int, example: str) -> BeforeValidator:
    """Reads a network of exactly this size."""

    def parse(value: object) -> object:
        value = _no_number(value)
        if not isinstance(value, str):
            return value
        try:
            network = IPv4Network(value, strict=False) if version == 4 else IPv6Network(value, strict=False)
        except ValueError:
            raise ValueError(
                f"{value!r} is not an IPv{version} network; write a /{prefix_length} such as {example}"
            ) from None
        if network.prefixlen != prefix_length:
            raise ValueError(
                f"{value!r} is a /{network.prefixlen}, but a tunnel has exactly two ends; "
                f"write a /{prefix_length} such as {example}"
            )
        return network

    return BeforeValidator(parse)


# Without Strict, `true` would do for a number and "yes" for a boolean.
Number = Annotated[int, Strict()]
Seconds = Annotated[float, Strict()]
Switch = Annotated[bool, Strict()]
FilePath = Annotated[Path, BeforeValidator(_parse_path), WithJsonSchema({"type": "string"})]
DeviceName = Annotated[
    str,
    BeforeValidator(_parse_device_name),
    WithJsonSchema({"type": "string", "maxLength": _MAX_DEVICE_NAME, "pattern": r"^[^\s/:]+$"}),
]
Address = Annotated[
    IPAddress,
    BeforeValidator(_parse_address),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}),
]
Network = Annotated[
    IPNetwork,
    BeforeValidator(_parse_any_network),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]+)?$"}),
]
Endpoint = Annotated[
    HostPort,
    BeforeValidator(parse_host_port),
    WithJsonSchema({"type": "string", "pattern": r"^\S+:[0-9]+$"}),
]
ListenAddress = Annotated[
    HostPort | None,
    BeforeValidator(_parse_listen),
    WithJsonSchema({"type": "string", "pattern": r"^(disable|\S+:[0-9]+)$"}),
]
LinkCaps = Annotated[
    Caps,
    BeforeValidator(_parse_caps),
    WithJsonSchema({"type": "string", "pattern": r"^(-|[0-9.]+[kmg]bit)(/(-|[0-9.]+[kmg]bit))?$"}),
]
Quota = Annotated[
    LinkQuota,
    BeforeValidator(_parse_quota),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ *([MmGgTt][Bb]) */ *(day|week|month)$"}),
]
Forwards = Annotated[
    tuple[PortForward, ...],
    BeforeValidator(_parse_forwards),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": r"^(tcp|udp)/[0-9]+(-[0-9]+)? *-> *\S+( +masquerade)?$"},
        }
    ),
]
Wans = Annotated[
    tuple[WanSpec, ...],
    BeforeValidator(_parse_wans),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
