"""The command: which trials run, one after the other, and where the results go."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pages

from ratbond.lab import LabError

from . import report, results, trial
from .catalogue import SCENARIOS, Scenario
from .contenders import CONTENDERS, Contender
from .errors import BenchError
from .results import Entry, Results
from .trial import Plan

_ROOT = Path(__file__).resolve().parent.parent.parent
_QUICK = _ROOT / "build" / "bench-quick"


def parser() -> argparse.ArgumentParser:
    """Describe the flags."""
    made = argparse.ArgumentParser(prog="make bench", description=__doc__)
    lists = {"action": "extend", "nargs": "+", "metavar": "NAME"}
    made.add_argument("--scenario", choices=[one.name for one in SCENARIOS], **lists)  # type: ignore[arg-type]
    made.add_argument("--contender", choices=list(CONTENDERS), **lists)  # type: ignore[arg-type]
    made.add_argument("--seeds", type=int, help="how many  [default: 5; quick: 1]")
    made.add_argument("--first-seed", type=int, default=1)
    made.add_argument("--seconds", type=int, help="of each transfer  [default: 30; quick: 8]")
    made.add_argument(
        "--omit", type=int, help="seconds before them that do not count  [default: 8; quick: 3]"
    )
    made.add_argument("--directions", nargs="+", choices=["down", "up"])
    made.add_argument("--congestion", nargs="+", choices=["cubic", "bbr"])
    made.add_argument("--flows", nargs="+", type=int, choices=[1, 6], default=[1, 6])
    made.add_argument(
        "--quick", action="store_true", help="8 s, one seed, CUBIC downloads; into build/bench-quick"
    )
    made.add_argument("--results", type=Path, help="a file of results, which the run adds to")
    made.add_argument("--merge", type=Path, nargs="+", default=[], help="further files of results to take in")
    made.add_argument(
        "--report-only", action="store_true", help="measure nothing; write table and plots anew"
    )
    made.add_argument("--list", action="store_true", help="show scenarios and contenders, and what they lack")
    return made


def plan_of(options: argparse.Namespace) -> Plan:
    """Say what is measured by these flags."""
    quick = options.quick
    return Plan(
        seconds=options.seconds or (8 if quick else 30),
        omit_s=options.omit if options.omit is not None else (3 if quick else 8),
        directions=tuple(options.directions or (["down"] if quick else ["down", "up"])),
        congestions=tuple(options.congestion or (["cubic"] if quick else ["cubic", "bbr"])),
        flows=tuple(options.flows),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; what goes wrong is one line."""
    options = parser().parse_args(arguments)
    # So that its namespaces go however it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end; what was measured so far is kept"))
    try:
        if options.list:
            _list()
            return
        folder = _QUICK if options.quick else _ROOT / "docs"
        path = options.results or folder / "benchmarks.json"
        taken_in = [entry for file in options.merge for entry in results.load(file)]
        entries = results.merge(results.load(path), taken_in)
        if not options.report_only:
            entries = _measure(options, path, entries)
        results.save(path, entries)
        _write(Results(entries), folder)
    except (BenchError, LabError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; what was measured so far is kept")


def _measure(options: argparse.Namespace, path: Path, entries: list[Entry]) -> list[Entry]:
    plan, version = plan_of(options), _version()
    contenders = _able([CONTENDERS[name] for name in options.contender or CONTENDERS])
    scenarios = [one for one in SCENARIOS if one.name in (options.scenario or [s.name for s in SCENARIOS])]
    count = options.seeds or (1 if options.quick else 5)
    for seed in range(options.first_seed, options.first_seed + count):
        for scenario in scenarios:
            for contender in contenders:
                entry = _one(contender, scenario, seed, plan, version)
                entries = results.merge(entries, [entry])
                results.save(path, entries)
    return entries


def _one(contender: Contender, scenario: Scenario, seed: int, plan: Plan, version: str) -> Entry:
    began_s, load = time.monotonic(), os.getloadavg()[0]
    outcome = trial.run(contender, scenario, seed, plan)
    shown = " ".join(
        f"{name}={outcome.figures[name]:g}"
        for name in outcome.figures
        if name.endswith((".goodput_mbps", "p99_ms", ".lost"))
    )
    said = f"{scenario.name} {contender.name} seed {seed} ({time.monotonic() - began_s:.0f} s): {shown}"
    print(said + "".join(f"\n  trouble: {trouble}" for trouble in outcome.troubles), flush=True)
    return Entry(
        contender=contender.name,
        scenario=scenario.name,
        seed=seed,
        version=version,
        seconds=plan.seconds,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=round(load, 2),
        figures=outcome.figures,
        series=outcome.series,
        troubles=outcome.troubles,
    )


def _able(contenders: list[Contender]) -> list[Contender]:
    able = []
    for contender in contenders:
        reason = contender.missing()
        if reason is None:
            able.append(contender)
        else:
            print(f"skipped {contender.name}: {reason}", flush=True)
    if not able:
        raise BenchError("no contender is left")
    return able


def _write(measured: Results, folder: Path) -> None:
    from . import plots

    pictures = plots.draw(measured, folder / "benchmarks")
    page = folder / "benchmarks.md"
    before = page.read_text() if page.exists() else ""
    figures = report.markdown(measured, [str(file.relative_to(folder)) for file in pictures])
    try:
        page.write_text(pages.insert(before, figures, "make bench"))
    except ValueError as error:
        raise BenchError(f"{page}: {error}") from None
    print(f"wrote {os.path.relpath(page)} and {len(pictures)} plots")


def _list() -> None:
    for scenario in SCENARIOS:
        print(f"{scenario.name:16} {scenario.words}")
    for contender in CONTENDERS.values():
        print(f"{contender.name:16} {contender.missing() or contender.words}")


def _version() -> str:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
