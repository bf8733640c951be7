"""The configuration: what may be set, from where it comes, and what is said when it cannot be meant."""

from ratbond.config.ends import ClientConfig, LinkSettings, ServerConfig
from ratbond.config.model import (
    DEFAULT_HTTP_LISTEN,
    DEFAULT_TUNNEL_IP,
    MIN_TOKEN_CHARS,
    Host,
    Role,
    TunnelConfig,
)
from ratbond.config.secrets import read_secret
from ratbond.config.sources import (
    DEFAULT_CLIENTS_FILE,
    ENVIRONMENT,
    Loaded,
    load,
    merge,
    process_environment,
    secret_is_on_command_line,
)
from ratbond.config.values import Forwards, Setting, parse_network

__all__ = [
    "DEFAULT_CLIENTS_FILE",
    "DEFAULT_HTTP_LISTEN",
    "DEFAULT_TUNNEL_IP",
    "ENVIRONMENT",
    "MIN_TOKEN_CHARS",
    "ClientConfig",
    "Forwards",
    "Host",
    "LinkSettings",
    "Loaded",
    "Role",
    "ServerConfig",
    "Setting",
    "TunnelConfig",
    "load",
    "merge",
    "parse_network",
    "process_environment",
    "read_secret",
    "secret_is_on_command_line",
]
