"""The status as text for a terminal or a browser: from the JSON, so that it is the same near and far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_COLUMNS = (
    "LINK", "CONV", "STATE", "SOURCE", "RTT", "RTO", "LOSS", "TX", "RX", "TX PKTS", "RX PKTS", "RETRANS", "TIMEOUTS",
    "HELLO", "UPTIME",
)  # fmt: skip


_CLIENT_COLUMNS = (
    "CLIENT", "STATE", "ADDRESSES", "LAN", "TX", "RX", "TX CAP", "RX CAP", "OVER CAP", "SPOOFED", "TO OTHERS",
)  # fmt: skip


def render(status: Mapping[str, Any]) -> str:
    """A few lines a session and a table of its links."""
    clients = status.get("clients", ())
    whose = f"{len(clients)} clients" if clients else f"tunnel {status['tunnel_id']}"
    end = f"ratbond {status['version']} {status['role']}, {whose}, {status['address']}"
    mode = f"protocol {status['protocol']}, encryption {status['encryption']}"
    lines = [
        f"{end}, up {duration(status['uptime_s'])}",
        f"{mode}, scheduler {status['scheduler']}, mux {status['mux']}",
        *(f"warning: {warning}" for warning in status["warnings"]),
    ]
    if clients:
        lines += ["", *_table(_CLIENT_COLUMNS, [_client(client) for client in clients])]
    for session in status["sessions"]:
        lines += ["", *_session(session)]
    if not status["sessions"] and not clients:
        lines += ["", "no client has connected"]
    return "\n".join(lines) + "\n"


def _session(session: Mapping[str, Any]) -> Iterator[str]:
    state = f"up for {duration(session['uptime_s'])}" if session["up"] else "DOWN"
    peer = f" with a {session['peer']} peer" if session["peer"] else ""
    if session.get("client"):
        peer = f" with client {session['client']}"
    cipher = f", sealed with {session['cipher']}" if session.get("cipher") else ""
    yield f"bond {state}{peer}{cipher}, {session['tun'] or 'no tun yet'}: {_traffic(session)}"
    yield (
        f"packets that found no link: {session['no_link_drops']}, "
        f"sent again over another link: {session['requeued_packets']}"
    )
    if session.get("doubled_packets"):
        yield f"sent twice or more: {session['doubled_packets']} packets, which cost {octets(session['doubled_bytes'])}"
    if session["own_drops"]:
        yield f"warning: a route leads to the peer through the tunnel itself; dropped there: {session['own_drops']}"
    if not session["links"]:
        yield "no link"
        return
    yield from _table(_COLUMNS, [_link(link) for link in session["links"]])


def _table(columns: tuple[str, ...], cells: list[tuple[str, ...]]) -> Iterator[str]:
    rows = [columns, *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _client(client: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        client["name"],
        client["state"],
        " ".join(client["addresses"]),
        " ".join(client["lan"]) or "-",
        octets(client["tx_bytes"]),
        octets(client["rx_bytes"]),
        bits(client["down_cap_bps"]) if client["down_cap_bps"] else "-",
        bits(client["up_cap_bps"]) if client["up_cap_bps"] else "-",
        str(client["cap_drops"]),
        str(client["spoofed_drops"]),
        str(client["other_client_drops"]),
    )


def _link(link: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        link["name"],
        str(link["conv"]),
        _state(link),
        link["source"],
        f"{link['rtt_ms']:.1f} ms",
        f"{link['rto_ms']:.0f} ms",
        f"{100 * link['loss']:.1f} %",
        f"{bits(link['rates']['tx_bps'])} ({octets(link['tx_bytes'])})",
        f"{bits(link['rates']['rx_bps'])} ({octets(link['rx_bytes'])})",
        str(link["tx_packets"]),
        str(link["rx_packets"]),
        str(link["retransmits"]),
        str(link["timeouts"]),
        "never" if link["hello_age_s"] is None else f"{link['hello_age_s']:.1f} s",
        duration(link["uptime_s"]),
    )


def _state(link: Mapping[str, Any]) -> str:
    """Its state, and in parentheses how it differs from a link that is used for all."""
    caps = {"up": link.get("cap_up_bps"), "down": link.get("cap_down_bps")}
    tier = link.get("tier", "primary")
    words = [
        *([tier] if tier != "primary" else []),
        *(f"{way} at most {bits(cap)}" for way, cap in caps.items() if cap),
        *(
            [f"{octets(link['quota_used_bytes'])} of {octets(link['quota_bytes'])}"]
            if link.get("quota_bytes")
            else []
        ),
    ]
    return f"{link['state']} ({', '.join(words)})" if words else link["state"]


def _traffic(session: Mapping[str, Any]) -> str:
    rates = session["rates"]
    return (
        f"tx {bits(rates['tx_bps'])} ({session['tx_packets']} packets, {octets(session['tx_bytes'])}), "
        f"rx {bits(rates['rx_bps'])} ({session['rx_packets']} packets, {octets(session['rx_bytes'])})"
    )


def bits(bps: float) -> str:
    """A rate with its unit."""
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if bps < 1000:
            return f"{bps:.0f} {unit}" if unit == "bit/s" else f"{bps:.1f} {unit}"
        bps /= 1000
    return f"{bps:.2f} Gbit/s"


def octets(count: float) -> str:
    """An amount with its unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """``3d 04:05:06``."""
    days, rest = divmod(int(seconds), 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {clock}" if days else clock
