"""What the demo found out, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

MANY_FLOWS = 6


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
        rates.add_row(row.name, row.what, *figures, style=style)
    return rates


def words(report: Report) -> list[Text]:
    """The rest of it, a line each."""
    names = [row.name for row in report.links]
    pull = report.pull
    lines = [
        f"over the bond: 1 flow took {_carriers(names, report.bond.one_flow_shares)}, "
        f"{MANY_FLOWS} flows took {_carriers(names, report.bond.many_flows_shares)}",
        "(a flow keeps to one link, so that its packets stay in order: one flow is as fast as the link it took)",
        "",
        f"{pull.link}, which carried the call, set down for {pull.down_s:.1f} s during {pull.flows} downloads "
        f"and 200 UDP packets a second:",
        f"  longest silence   {pull.silence_s * 1e3:.0f} ms",
        f"  packets lost      {pull.lost} of {pull.sent:,}" + (f", {pull.twice} came twice" if pull.twice else ""),
        f"  left the bond     {_after(pull.left_after_s)}; joined again {_after(pull.joined_after_s)}",
        f"  downloads alive   {pull.alive_flows} of {pull.flows}",
    ]
    if report.emulator_dropped_packets:
        lines += [
            "",
            f"The emulator itself dropped {report.emulator_dropped_packets} packets: this machine was too busy for "
            "these figures to mean anything. Run it again when it is idle.",
        ]
    return [Text(line) for line in lines]


def _carriers(names: list[str], shares: tuple[float, ...]) -> str:
    """Which links carried it, those of no account left out."""
    parts = zip(names, shares, strict=True)
    return " and ".join(f"{name} ({share:.0%})" for name, share in parts if share >= 0.005)


def _after(after_s: float | None) -> str:
    return "never" if after_s is None else f"after {after_s * 1e3:.0f} ms"
