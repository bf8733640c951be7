"""What was measured, as JSON, and the medians of it."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .tunnels import BenchError

_SCHEMA = 1


@dataclass
class Results:
    """One run: what each tunnel did in each round, and servers of many clients."""

    version: str
    machine: str
    seconds: int
    words: dict[str, str] = field(default_factory=dict)  # what each tunnel is
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    many: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def median(self, tunnel: str, figure: str) -> float | None:
        """A tunnel's figure; ``None`` when it was not measured."""
        return _median(self.rounds.get(tunnel, []), figure)

    def of_many(self, clients: str, figure: str) -> float | None:
        """A figure of a server with so many clients."""
        return _median(self.many.get(clients, []), figure)

    def save(self, path: Path) -> None:
        """Write it; readers see the old or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n")
        new.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what was saved.

        Raises:
            BenchError: there is none, or it is something else.
        """
        try:
            told = json.loads(path.read_text())
            if told.pop("schema") != _SCHEMA:
                raise BenchError(f"{path} is of another version; measure anew")
            return cls(**told)
        except FileNotFoundError:
            raise BenchError(f"{path} is not there; measure first") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BenchError(f"{path} holds no results; measure anew") from None


def machine() -> str:
    """Describe the machine."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}"
    return f"{cores}, {memory_gb:.0f} GB, Linux {kernel}"


def _median(rounds: list[dict[str, float]], figure: str) -> float | None:
    values = [one[figure] for one in rounds if figure in one]
    return statistics.median(values) if values else None
