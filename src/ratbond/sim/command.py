"""``ratbond simulate``: what a bond of some links would give, before anybody buys them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from ratbond.errors import UsageError
from ratbond.linkspec import SpecError
from ratbond.sim.result import LoadResult
from ratbond.sim.simulation import Balance, Congestion, Link, Simulation

_FLOWS: Final = (1, 6)
_START_SHARE: Final = 0.25  # of the time, in which transfers find their pace: not counted
_MAX_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Row:
    """What some links give: Mbit/s by number of downloads, and what a call beside six of them takes."""

    name: str
    goodput_mbps: dict[int, float]
    call_delay_ms: float | None
    call_loss: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for all rows."""

    balance: Balance
    congestion: Congestion
    seconds: int
    seed: int


def mount(app: typer.Typer) -> None:
    """Puts the command in."""
    app.command(short_help="Try a mix of links before you buy it.")(simulate)


def simulate(
    *,
    link: Annotated[
        list[str],
        typer.Option(
            metavar="RATE,RTT[,LOSS][,KEY=VALUE]",
            help="A link, such as 80mbit,16ms or 30mbit,60ms,0.5%. Give one for each.",
        ),
    ],
    balance: Annotated[Balance, typer.Option(help="How packets are spread.")] = "adaptive",
    congestion: Annotated[Congestion, typer.Option(help="What the senders of the downloads run.")] = "cubic",
    seconds: Annotated[
        int, typer.Option(metavar="S", min=4, max=_MAX_SECONDS, help="How long each download lasts.")
    ] = 20,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed gives other losses.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate downloads over a bond of these links, and over each link alone. Nothing is sent, and no root is needed."""
    plan = Plan(balance, congestion, seconds, seed)
    try:
        rows = [row("the bond", [Link(spec) for spec in link], plan)]
        if len(link) > 1:
            rows += [row(f"{spec} alone", [Link(spec)], plan) for spec in link]
    except (SpecError, ValueError) as error:
        raise UsageError(f"--link: {error}") from None
    typer.echo(_json(rows) if as_json else "\n".join(_table(rows)))


def row(name: str, links: list[Link], plan: Plan) -> Row:
    """Simulates one mix."""
    steady = max(1, round(plan.seconds * _START_SHARE))
    loads = {flows: _loads(links, flows, plan) for flows in _FLOWS}
    call = loads[_FLOWS[-1]][1]
    return Row(
        name,
        {flows: download.mean_bps(steady) / 1e6 for flows, (download, _) in loads.items()},
        call.delay_ms(0.99, steady),
        call.loss,
    )


def _loads(links: list[Link], flows: int, plan: Plan) -> tuple[LoadResult, LoadResult]:
    """Downloads with a call beside them, which ends a little earlier, so that none of it is under way at the end."""
    simulation = Simulation(links, balance=plan.balance, seed=plan.seed)
    download = simulation.download(flows=flows, congestion=plan.congestion)
    call = simulation.stream(stop_s=plan.seconds - 1)
    result = simulation.run(plan.seconds)
    return result.load(download), result.load(call)


def _table(rows: list[Row]) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    columns = [f"{flows} download{'s' if flows > 1 else ''}" for flows in _FLOWS]
    yield "  ".join(
        [" " * width, *(f"{column:>12}" for column in columns), "a call beside them takes, and loses"]
    )
    for each in rows:
        rates = [f"{f'{each.goodput_mbps[flows]:.1f} Mbit/s':>12}" for flows in _FLOWS]
        delay = "nothing came" if each.call_delay_ms is None else f"{each.call_delay_ms:.0f} ms"
        yield "  ".join([f"{each.name:<{width}}", *rates, f"{delay}, {100 * each.call_loss:.1f} %"])


def _json(rows: list[Row]) -> str:
    return json.dumps([asdict(each) for each in rows], indent=2)
