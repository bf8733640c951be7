"""What is known of the labs on this machine, in files under /run: any process can find a lab, and clean it up.

There is no folder for them: two labs that come and go at the same time could take it away from each other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ratbond.lab.control import ProcessId
from ratbond.lab.topology import LinkPlan

_FOLDER = Path("/run")
_PREFIX = "ratbond-lab."


@dataclass(frozen=True)
class State:
    """One lab."""

    lab: str
    seed: int
    emulator: ProcessId
    owner: ProcessId | None  # the process that takes it down when it ends; None: nobody, it stays
    links: tuple[LinkPlan, ...]

    def is_alive(self) -> bool:
        """Say whether somebody still needs it."""
        return self.emulator.is_alive() and (self.owner is None or self.owner.is_alive())

    def save(self) -> None:
        """Write it down; readers see the old or the new one, nothing between."""
        new = _file(self.lab).with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(_file(self.lab))


def load(lab: str) -> State | None:
    """Read what is known of a lab; ``None`` when nothing is, or what is there is no state."""
    try:
        return _from_json(json.loads(_file(lab).read_text()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def forget(lab: str) -> None:
    """Take the lab's files away."""
    for path in (_file(lab), _file(lab).with_suffix(".new"), socket_path(lab)):
        path.unlink(missing_ok=True)


def known() -> list[str]:
    """List the labs that have a state."""
    return sorted(path.stem.removeprefix(_PREFIX) for path in _FOLDER.glob(f"{_PREFIX}*.json"))


def socket_path(lab: str) -> Path:
    """Say where the lab's emulator answers."""
    return _FOLDER / f"{_PREFIX}{lab}.sock"


def _file(lab: str) -> Path:
    return _FOLDER / f"{_PREFIX}{lab}.json"


def _from_json(saved: dict[str, Any]) -> State:
    return State(
        lab=saved["lab"],
        seed=saved["seed"],
        emulator=ProcessId(**saved["emulator"]),
        owner=ProcessId(**saved["owner"]) if saved["owner"] else None,
        links=tuple(LinkPlan(**link) for link in saved["links"]),
    )
