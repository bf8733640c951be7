"""What a link may carry in a day, a week or a month, and what it has carried: kept over restarts and crashes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ratbond import files
from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.models import LinkQuota

if TYPE_CHECKING:
    from ratbond._core import LinkSnapshot

log = get_logger(__name__)

STATE_DIRECTORY: Final = Path("/var/lib/ratbond")
WARN_AT: Final = 0.8
_SAVE_AFTER_SHARE: Final = 0.002  # of a quota: so much at most does a crash forget
_SAVE_AFTER_S: Final = 30.0  # while anything is carried
_IP_UDP_BYTES: Final = 28

Counters = Mapping[tuple[int, int], tuple[str, int, int]]
"""By link and conversation: the device's name, datagrams both ways, bytes of their payload both ways."""


def state_file(tunnel_id: int) -> Path:
    """Where a client keeps it: in the directory that a service manager gives, or in /var/lib/ratbond."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return (Path(given) if given else STATE_DIRECTORY) / f"quota-{tunnel_id}.json"


def period_of(quota: LinkQuota, today: date) -> str:
    """The first day of the period in which a day is; weeks begin on Monday."""
    first = {
        "day": today,
        "week": today - timedelta(days=today.weekday()),
        "month": today.replace(day=1),
    }
    return first[quota.per].isoformat()


@dataclass(slots=True)
class _Used:
    period: str
    used_bytes: float
    told: float = 0.0  # the share that was last told of


@dataclass(slots=True)
class Meter:
    """What the links with a quota have carried in its present period."""

    file: Path
    quotas: Mapping[str, LinkQuota]
    _used: dict[str, _Used] = field(default_factory=dict)
    _counted: dict[tuple[int, int], int] = field(default_factory=dict)
    _unsaved_bytes: float = 0.0
    _saved_at: float = 0.0
    _fails: bool = False

    def load(self, today: date) -> None:
        """Reads what earlier runs have counted, and sees that it can be written. Raises RatbondError with one line."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            told = json.loads(self.file.read_text()) if self.file.exists() else {}
            self._used = {
                name: _Used(str(entry["period"]), float(entry["used_bytes"])) for name, entry in told.items()
            }
        except OSError as error:
            raise RatbondError(f"{self.file}: {error.strerror}; quotas are remembered there") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RatbondError(
                f"{self.file} cannot be read, and what the links have used stands in it: repair or remove it"
            ) from None
        self._begin_periods(today)
        self._save()

    def configure(self, quotas: Mapping[str, LinkQuota], today: date) -> None:
        """Other quotas count from now on. What was used stays."""
        self.quotas = quotas
        self._begin_periods(today)

    def count(self, counters: Counters, today: date, now_s: float) -> None:
        """Takes the engine's counters, which begin anew with each link."""
        self._begin_periods(today)
        present: dict[tuple[int, int], int] = {}
        for key, (name, datagrams, payload_bytes) in counters.items():
            present[key] = payload_bytes + _IP_UDP_BYTES * datagrams
            if name in self._used:
                fresh = max(0, present[key] - self._counted.get(key, 0))
                self._used[name].used_bytes += fresh
                self._unsaved_bytes += fresh
        self._counted = present
        self._tell()
        smallest = min((quota.limit_bytes for quota in self.quotas.values()), default=0)
        is_much = self._unsaved_bytes >= _SAVE_AFTER_SHARE * smallest
        if self._unsaved_bytes and (is_much or now_s - self._saved_at >= _SAVE_AFTER_S):
            self._saved_at = now_s
            self._keep()

    def used_bytes(self, name: str) -> int | None:
        """What a link with a quota has carried in the present period."""
        return round(self._used[name].used_bytes) if name in self.quotas else None

    def exhausted(self) -> frozenset[str]:
        """The links that have carried all they may."""
        return frozenset(
            name for name, quota in self.quotas.items() if self._used[name].used_bytes >= quota.limit_bytes
        )

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._unsaved_bytes:
            self._keep()

    def _begin_periods(self, today: date) -> None:
        for name, quota in self.quotas.items():
            period = period_of(quota, today)
            if name not in self._used or self._used[name].period != period:
                self._used[name] = _Used(period, 0.0)

    def _tell(self) -> None:
        for name, quota in self.quotas.items():
            used = self._used[name]
            share = used.used_bytes / quota.limit_bytes
            reached = max((step for step in (WARN_AT, 1.0) if share >= step), default=0.0)
            if reached > used.told:
                used.told = reached
                what = (
                    f"is used up: {quota.words_for_end}"
                    if reached == 1.0
                    else f"is used to {100 * share:.0f} %"
                )
                log.warning("the quota of a link", link=name, quota=str(quota), what=what)

    def _keep(self) -> None:
        """A disk that is full must not end the bond: it is told of once, and tried again."""
        try:
            self._save()
        except RatbondError as error:
            if not self._fails:
                log.error("what the links have used is not kept", why=str(error))
            self._fails = True
        else:
            self._fails = False

    def _save(self) -> None:
        text = json.dumps(
            {n: {"period": u.period, "used_bytes": round(u.used_bytes)} for n, u in self._used.items()}
        )
        files.replace(self.file, text + "\n", str(self.file))
        self._unsaved_bytes = 0.0


def counters_of(links: Iterable[LinkSnapshot]) -> Counters:
    """Of the links of a snapshot."""
    return {
        (link["id"], link["conv"]): (
            link["name"],
            link["wire_tx_datagrams"] + link["wire_rx_datagrams"],
            link["wire_tx_bytes"] + link["wire_rx_bytes"],
        )
        for link in links
    }
