"""What the demo found out, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ratbond.lab.demo.probe import PACKETS_PER_S

MANY_FLOWS = 6
_TOO_BUSY = (
    "The emulator itself dropped {} packets: this machine was too busy for these figures to mean anything. "
    "Run it again when it is idle."
)


@dataclass(frozen=True)
class Rates:
    """What downloads got over a link alone, or over the bond."""

    name: str
    what: str
    one_flow_mbps: float
    many_flows_mbps: float
    one_flow_shares: tuple[float, ...] = ()  # of each link, where there was a choice
    many_flows_shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Pull:
    """What happened when a link's interface was set down under a call and downloads."""

    link: str
    down_s: float
    left_after_s: float | None  # until the client took the link out of the bond; None: it did not
    joined_after_s: float | None  # after it was set up again; None: not before the demo ended
    silence_s: float  # the longest while it was down and until it was back
    sent: int
    lost: int
    twice: int
    flows: int
    alive_flows: int


@dataclass(frozen=True)
class Report:
    """All of it."""

    links: tuple[Rates, ...]
    bond: Rates
    up_after_s: float
    pull: Pull
    emulator_dropped_packets: int  # anything but 0 makes the figures worthless
    took_s: float


def table(report: Report) -> Table:
    """The rates, a row for each link and one for the bond."""
    rates = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rates.add_column("TCP download, Mbit/s")
    rates.add_column("")
    rates.add_column("1 flow", justify="right")
    rates.add_column(f"{MANY_FLOWS} flows", justify="right")
    for row in (*report.links, report.bond):
        style = "bold" if row is report.bond else ""
        figures = (f"{row.one_flow_mbps:.1f}", f"{row.many_flows_mbps:.1f}")
        name = row.name if row is report.bond else f"{row.name} alone"
        rates.add_row(name, row.what, *figures, style=style)
    return rates


def words(report: Report) -> list[Text]:
    """The rest of it, a line each."""
    names = [row.name for row in report.links]
    pull = report.pull
    bond = report.bond
    one, many = (_carriers(names, shares) for shares in (bond.one_flow_shares, bond.many_flows_shares))
    again = f", {pull.twice} came twice" if pull.twice else ""
    lines = [
        f"over the bond: 1 flow took {one}, {MANY_FLOWS} flows took {many}",
        "(each packet takes the link where it arrives first, so that one flow can use all of them)",
        "",
        f"{pull.link} carried a call of {PACKETS_PER_S} UDP packets a second; for {pull.down_s:.1f} s it was down:",
        f"  longest silence   {pull.silence_s * 1e3:.0f} ms",
        f"  packets lost      {pull.lost} of {pull.sent:,}{again}",
        f"  left the bond     {_after(pull.left_after_s)}; joined again {_after(pull.joined_after_s)}",
        f"  downloads alive   {pull.alive_flows} of {pull.flows}",
    ]
    if report.emulator_dropped_packets:
        lines += ["", _TOO_BUSY.format(report.emulator_dropped_packets)]
    return [Text(line) for line in lines]


def _carriers(names: list[str], shares: tuple[float, ...]) -> str:
    """Which links carried it, those of no account left out."""
    parts = zip(names, shares, strict=True)
    return " and ".join(f"{name} ({share:.0%})" for name, share in parts if share >= 0.005)


def _after(after_s: float | None) -> str:
    return "never" if after_s is None else f"after {after_s * 1e3:.0f} ms"
