"""All that is known of one link: its past as charts, its counters as a table. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.text import Text

from ratbond.status.text import bits, duration, octets
from ratbond.status.top import table
from ratbond.status.top.chart import Pen
from ratbond.status.top.picture import Link, Picture
from ratbond.status.top.words import STATE, directions, milliseconds, percent

_LABEL: Final = 26
_LINES: Final[tuple[tuple[str, str, Callable[[float], str], float], ...]] = (
    ("Round trip", "rtt_ms", milliseconds, 10),
    ("Loss", "loss", percent, 0.01),
    ("Queue", "queued_bytes", octets, 10_000),
    ("Sent again /s", "retransmits_per_s", lambda value: f"{value:.0f}", 10),
)


def show(
    picture: Picture, link: Link, colour: str, about: str, role: str, pen: Pen, width: int, room: int | None
) -> list[Text]:
    """The page of one link."""
    lines = [Text.assemble((link.name, f"bold {colour}"), f"  {STATE[link.state]}. {about}"), Text()]
    rows = 2 if room is not None and room < 26 else 4
    past = width - _LABEL
    for arrow, (figure, name) in zip("↓↑", directions(role), strict=True):
        values = picture.column(link.session, link.name, figure)[-past:]
        most = max((value or 0.0 for value in values), default=0.0)
        chart = pen.stack([(values, colour)], past, rows, max(most, 100_000))
        labels = [f"{arrow} {name} {bits(getattr(link, figure))}", f"  peak {bits(most)}"]
        labels += [""] * (rows - len(labels))
        lines += [Text(label.ljust(_LABEL), "bold") + row for label, row in zip(labels, chart, strict=True)]
    for name, figure, say, least in _LINES:
        values = picture.column(link.session, link.name, figure)[-past:]
        known = [value for value in values if value is not None]
        now = values[-1] if values else None
        label = f"{name:<13} {say(now) if now is not None else '-':>9}"
        spark = pen.spark(values, past, max([least, *known]), colour)
        lines.append(Text(label.ljust(_LABEL), "bold") + spark)
    lines.append(Text())
    return lines + _counters(link, width)


def _counters(link: Link, width: int) -> list[Text]:
    if not link.raw:
        return [Text("It has left; nothing more is known of it.", table.MOODS["warn"])]
    count = {name: sum(conv[name] for conv in link.raw) for name in _SUMMED}
    first = link.raw[0]
    age = min((conv["hello_age_s"] for conv in link.raw if conv["hello_age_s"] is not None), default=None)
    pairs = (
        ("From", first["source"] or "?"),
        ("To", first["remote"]),
        ("Up for", duration(first["uptime_s"])),
        ("Last heard", "never" if age is None else f"{age:.1f} s ago"),
        ("Round trip", f"{milliseconds(link.rtt_ms)} +- {milliseconds(first['rttvar_ms'])}"),
        ("Least, RTO", f"{milliseconds(first['min_rtt_ms'])}, {first['rto_ms']:.0f} ms"),
        ("Sent", f"{octets(count['tx_bytes'])} in {count['tx_packets']} packets"),
        ("Received", f"{octets(count['rx_bytes'])} in {count['rx_packets']} packets"),
        ("On the wire", f"{octets(count['wire_tx_bytes'])} in {count['wire_tx_datagrams']} datagrams"),
        ("and back", f"{octets(count['wire_rx_bytes'])} in {count['wire_rx_datagrams']} datagrams"),
        ("Sent again", f"{count['retransmits']} of {count['segments_sent']}, {count['timeouts']} by timeout"),
        ("Came twice", f"{count['duplicates']}, invalid {count['malformed']}"),
        ("In flight", f"{octets(count['in_flight_bytes'])}, {count['in_flight_segments']} segments"),
        (
            "Dropped",
            f"{count['aqm_drops']} too late, {count['aqm_marks']} marked, {count['overflow_drops']} queue full",
        ),
    )
    each = width // 2
    cells = [Text.assemble((f"{name:<12}", "dim"), str(value)) for name, value in pairs]
    for cell in cells:
        cell.truncate(each - 1, overflow="ellipsis")
        cell.pad_right(each - len(cell))
    return [left + right for left, right in zip(cells[::2], cells[1::2], strict=True)]


_SUMMED: Final = (
    "tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "wire_tx_bytes", "wire_tx_datagrams", "wire_rx_bytes",
    "wire_rx_datagrams", "retransmits", "segments_sent", "timeouts", "duplicates", "malformed", "in_flight_bytes",
    "in_flight_segments", "aqm_drops", "aqm_marks", "overflow_drops",
)  # fmt: skip
