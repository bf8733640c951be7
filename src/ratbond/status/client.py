"""Asks a running daemon for its status."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

from ratbond.errors import RatbondError
from ratbond.models import HostPort

PATIENCE_S: Final = 5.0  # samples come each second: who is silent for so long is gone


def fetch(address: HostPort) -> dict[str, Any]:
    """The status as plain data. Raises RatbondError with one line."""
    connection = connect(address)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise nobody_answers(address, error) from None
    except http.client.HTTPException:
        raise RatbondError(
            f"what answers at {address} does not speak HTTP; give ratbond's --http-listen-addr"
        ) from None
    finally:
        connection.close()
    if response.status == http.client.FORBIDDEN:
        raise RatbondError(body.decode(errors="replace").strip())
    try:
        status: dict[str, Any] = json.loads(body)
        _ = status["schema"], status["sessions"]
    except (ValueError, KeyError, TypeError):
        raise not_ratbond(address) from None
    return status


def connect(address: HostPort) -> http.client.HTTPConnection:
    """A connection yet to be opened; where a daemon listens on all addresses, this machine's own is asked."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return http.client.HTTPConnection(host, address.port, timeout=PATIENCE_S)


def nobody_answers(address: HostPort, error: OSError) -> RatbondError:
    """One line for a connection that failed."""
    return RatbondError(
        f"nobody answers at {address}: {error.strerror or error}; is ratbond running, with that --http-listen-addr?"
    )


def not_ratbond(address: HostPort) -> RatbondError:
    """One line for an answer that ratbond would not give."""
    return RatbondError(f"what answers at {address} is not ratbond; give ratbond's --http-listen-addr")
