"""Tables that fit: columns by their importance, as many as the width has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from rich.text import Text

from ratbond.status.text import bits, duration, octets
from ratbond.status.top.picture import Link
from ratbond.status.top.words import STATE, milliseconds, percent

COLOURS: Final = (
    "#3d8fe0", "#dd7330", "#2a9d6f", "#a566d6", "#d24b87", "#9a8420", "#6b8aad", "#a8755a",
)  # fmt: skip
"""A link's colours, in the dashboard's order; of middling light, so that they show on black and on white."""

MOODS: Final = {"good": "green", "warn": "yellow", "bad": "red", "plain": "default"}
_STATE_MOOD: Final = {"up": "good", "suspect": "warn", "connecting": "warn", "out": "bad"}

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One figure of a row; right-aligned figures stand under right-aligned titles."""

    title: str
    width: int
    read: Callable[[Row], str]
    style: Callable[[Row], str] = lambda _: ""
    left: bool = False


def link_columns(role: str) -> tuple[Column[Link], ...]:
    """What is shown of a link, the most important first; directions are called as the role calls them."""
    down, up = ("rx_bps", "tx_bps") if role == "client" else ("tx_bps", "rx_bps")

    def figure(read: Callable[[Link], str]) -> Callable[[Link], str]:
        return lambda link: read(link) if link.raw else "-"

    def first(name: str) -> Callable[[Link], str]:
        return figure(lambda link: str(link.raw[0][name]) or "-")

    def total(*names: str) -> Callable[[Link], int]:
        return lambda link: sum(int(conv[name]) for conv in link.raw for name in names)

    return (
        Column("STATE", 10, lambda k: STATE[k.state], lambda k: MOODS[_STATE_MOOD[k.state]], left=True),
        Column("↓ DOWN" if role == "client" else "TO CLIENT", 12, figure(lambda k: bits(getattr(k, down)))),
        Column("↑ UP" if role == "client" else "FROM CLIENT", 12, figure(lambda k: bits(getattr(k, up)))),
        Column("RTT", 8, figure(lambda k: milliseconds(k.rtt_ms))),
        Column("LOSS", 6, figure(lambda k: percent(k.loss)), _loss_style),
        Column("QUEUE", 8, figure(lambda k: octets(k.queued_bytes))),
        Column("AGAIN/s", 7, figure(lambda k: f"{k.retransmits_per_s:.0f}")),
        Column("UP FOR", 11, figure(lambda k: duration(k.raw[0]["uptime_s"]))),
        Column("CARRIED", 8, figure(lambda k: octets(total("tx_bytes", "rx_bytes")(k)))),
        Column("LEAST", 8, figure(lambda k: milliseconds(float(k.raw[0]["min_rtt_ms"])))),
        Column("IN FLIGHT", 9, figure(lambda k: octets(total("in_flight_bytes")(k)))),
        Column("TIMEOUTS", 8, figure(lambda k: str(total("timeouts")(k)))),
        Column("FROM", 21, first("source"), left=True),
    )  # fmt: skip


def fit(columns: Sequence[Column[Row]], room: int) -> list[Column[Row]]:
    """As many columns as there is room for, beside the name."""
    taken = []
    for column in columns:
        room -= column.width + 1
        if room < 0:
            break
        taken.append(column)
    return taken


def head(name: str, width: int, columns: Sequence[Column[Any]]) -> Text:
    """The titles."""
    line = Text(name.ljust(width), style="bold")
    for column in columns:
        line.append(" " + _aligned(column.title, column))
    return line


def line(name: Text, width: int, columns: Sequence[Column[Row]], row: Row) -> Text:
    """A row's figures behind its name."""
    made = name.copy()
    made.truncate(width, overflow="ellipsis", pad=True)
    for column in columns:
        made.append(" ")
        made.append(_aligned(column.read(row), column), column.style(row))
    return made


def _aligned(text: str, column: Column[Any]) -> str:
    text = text if len(text) <= column.width else text[: column.width - 1] + "…"
    return text.ljust(column.width) if column.left else text.rjust(column.width)


def _loss_style(link: Link) -> str:
    return "red" if link.loss >= 0.05 else "yellow" if link.loss >= 0.01 else ""
