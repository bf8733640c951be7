"""What was measured, as JSON: one entry for each contender, scenario and seed; several runs add up in one file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import BenchError

_SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """One trial."""

    contender: str
    scenario: str
    seed: int
    version: str  # of this program; figures of different versions are not put together
    seconds: int
    measured_at: str
    load_average: float  # of the machine when it began
    figures: dict[str, float]
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is about."""
        return self.scenario, self.contender, self.seed


def merge(older: Iterable[Entry], newer: Iterable[Entry]) -> list[Entry]:
    """Lay newer trials over older ones.

    A trial of the same version and duration completes the older one, figure by figure; any other replaces it.
    """
    merged = {entry.key: entry for entry in older}
    for entry in newer:
        former = merged.get(entry.key)
        if former and (former.version, former.seconds) == (entry.version, entry.seconds):
            figures, series = {**former.figures, **entry.figures}, {**former.series, **entry.series}
            both = {**asdict(entry), "figures": figures, "series": series}
            merged[entry.key] = Entry(**both)
        else:
            merged[entry.key] = entry
    return [merged[key] for key in sorted(merged)]


def load(path: Path) -> list[Entry]:
    """Read a file of results; nothing when there is none.

    Raises:
        BenchError: it is not a file of results.
    """
    if not path.exists():
        return []
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        if told["schema"] != _SCHEMA:
            raise BenchError(f"{path} has schema {told['schema']}, not {_SCHEMA}; measure anew")
        return [Entry(**entry) for entry in told["entries"]]
    except (ValueError, KeyError, TypeError):
        raise BenchError(f"{path} holds no results; give another file with --results") from None


def save(path: Path, entries: Iterable[Entry]) -> None:
    """Write a file of results; readers see the old or the new one. One line for each trial."""
    lines = ",\n".join(json.dumps(asdict(entry), sort_keys=True) for entry in entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f'{{"schema": {_SCHEMA}, "entries": [\n{lines}\n]}}\n')
    new.replace(path)


@dataclass(frozen=True)
class Results:
    """All trials, and their medians over the seeds."""

    entries: list[Entry]

    def of(self, scenario: str, contender: str) -> list[Entry]:
        """The trials of one contender in one scenario."""
        return [entry for entry in self.entries if (entry.scenario, entry.contender) == (scenario, contender)]

    def median(self, scenario: str, contender: str, figure: str) -> float | None:
        """A figure's median over the seeds; ``None`` when it was not measured."""
        trials = self.of(scenario, contender)
        values = [trial.figures[figure] for trial in trials if figure in trial.figures]
        return statistics.median(values) if values else None

    def contenders(self) -> list[str]:
        """Those that were measured."""
        return sorted({entry.contender for entry in self.entries})
