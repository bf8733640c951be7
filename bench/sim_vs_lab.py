"""Whether the simulator tells the truth: the same downloads in the lab, over a real kernel's TCP, and in the simulator.

    sudo .venv/bin/python bench/sim_vs_lab.py [equal dsl_lte bad_link lossy] [--write]

A download of one flow and one of six, CUBIC, each for 25 s of which the last 15 count. Prints a row of Markdown for each;
``--write`` puts them into the table of docs/simulator.md, where they replace those of the same scenario.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from scenarios.catalogue import SCENARIOS, Scenario
from scenarios.contenders import CONTENDERS, Place
from scenarios.errors import BenchError
from scenarios.load import Tcp, read_tcp, start_tcp

from ratbond.lab import Lab, LabError
from ratbond.sim import Link, Simulation

PAGE = Path(__file__).resolve().parent.parent / "docs" / "simulator.md"
COMPARED = ("equal", "dsl_lte", "bad_link", "lossy")
BEGIN_S, COUNTED_S = 10, 15
SEEDS = range(1, 4)
_SETTLE_S = 2.0
_TABLE = re.compile(r"(?<=<!-- sim_vs_lab -->\n).*?(?=<!-- end -->)", re.DOTALL)
_HEADER = (
    "| scenario | flows | lab | simulator | simulator's seeds | difference |\n|---|--:|--:|--:|--:|--:|\n"
)


@dataclass(frozen=True)
class Row:
    """One download both ways, in Mbit/s; the simulator with several seeds."""

    scenario: str
    flows: int
    lab_mbps: float
    sim_mbps: list[float]

    def __str__(self) -> str:
        middle = statistics.median(self.sim_mbps)
        return (
            f"| {self.scenario} | {self.flows} | {self.lab_mbps:.1f} | {middle:.1f} "
            f"| {min(self.sim_mbps):.1f} to {max(self.sim_mbps):.1f} | {100 * (middle / self.lab_mbps - 1):+.1f} % |"
        )


def in_lab(scenario: Scenario, flows: tuple[int, ...]) -> list[float]:
    """Goodput of a download of so many flows each, one after the other."""
    specs = [link.spec for link in scenario.links]
    with (
        tempfile.TemporaryDirectory(prefix="rb-bench-") as folder,
        Lab.up(specs, name=f"sim-{os.getpid()}") as lab,
    ):
        place = Place(lab, scenario, Path(folder))
        try:
            tunnel = CONTENDERS["bond-adaptive"].start(place)
            time.sleep(_SETTLE_S)
            transfers = [Tcp("down", "cubic", count, COUNTED_S, BEGIN_S) for count in flows]
            return [read_tcp(start_tcp(lab, tunnel, tcp).outcome()).goodput_mbps for tcp in transfers]
        finally:
            place.stop()


def simulated(scenario: Scenario, flows: int, seed: int) -> float:
    simulation = Simulation([Link(link.spec) for link in scenario.links], seed=seed)
    name = simulation.download(flows=flows)
    return simulation.run(BEGIN_S + COUNTED_S).load(name).mean_bps(BEGIN_S) / 1e6


def write(rows: list[Row]) -> None:
    """Puts the rows into the page, in the order of the scenarios."""
    page = PAGE.read_text()
    table = _TABLE.search(page)
    if table is None:
        sys.exit(f"sim_vs_lab: {PAGE} has no place for the table")
    kept = {}
    for line in table[0].splitlines()[2:]:
        _, scenario, flows, *_ = (cell.strip() for cell in line.split("|"))
        kept[scenario, int(flows)] = line
    kept.update({(row.scenario, row.flows): str(row) for row in rows})
    lines = [kept[key] for key in sorted(kept, key=lambda key: (COMPARED.index(key[0]), key[1]))]
    PAGE.write_text(_TABLE.sub(_HEADER + "\n".join(lines) + "\n", page))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("scenario", nargs="*", default=COMPARED, choices=COMPARED)
    asked.add_argument("--write", action="store_true", help="into docs/simulator.md")
    asked.add_argument("--flows", type=int, nargs="+", default=[1, 6])
    options = asked.parse_args()
    rows = []
    for scenario in (one for one in SCENARIOS if one.name in options.scenario):
        try:
            measured = in_lab(scenario, tuple(options.flows))
        except (BenchError, LabError) as error:
            sys.exit(f"sim_vs_lab: {scenario.name}: {error}")
        for flows, lab_mbps in zip(options.flows, measured, strict=True):
            seeds = [simulated(scenario, flows, seed) for seed in SEEDS]
            rows.append(Row(scenario.name, flows, lab_mbps, seeds))
            print(rows[-1], flush=True)
    if options.write:
        write(rows)


if __name__ == "__main__":
    main()
