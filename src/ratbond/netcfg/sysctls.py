"""Sysctls that tunnels change, shared by all of them: who comes first notes the old value, who goes last restores it."""

from __future__ import annotations

import contextlib
from typing import Final

from ratbond.models import Family
from ratbond.netcfg import kernel
from ratbond.netcfg.journal import Journal, SysctlEntry
from ratbond.netcfg.plan import Forwarding, LooseReversePath

_LOOSE: Final = "2"
_ALSO_AS_ROUTER: Final = "2"
_ON: Final = "1"


def due(step: LooseReversePath | Forwarding) -> dict[str, str]:
    """What the step must set on this machine now, in its order: keys below /proc/sys/net with their values."""
    if isinstance(step, LooseReversePath):
        strict = kernel.reverse_path_is_strict(step.device)
        return {kernel.reverse_path_key(step.device): _LOOSE} if strict else {}
    routers = kernel.listening_to_routers() if step.family is Family.V6 else []
    key = kernel.forwarding_key(step.family)
    changes = dict.fromkeys(routers, _ALSO_AS_ROUTER)
    return changes | ({key: _ON} if kernel.read_sysctl(key) == "0" else {})


class Sysctls:
    """One end's part in them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def loosen_reverse_path(self, device: str) -> None:
        """Sets rp_filter to loose where it is strict."""
        self._change(LooseReversePath(device), kernel.reverse_path_key(device), _LOOSE)

    def forward(self, family: Family) -> None:
        """Makes this host a router that still hears the routers it has learnt its own way from."""
        self._change(Forwarding(family), kernel.forwarding_key(family), _ON)

    def stop_forwarding(self, family: Family) -> None:
        """Lets go of it."""
        self.release(kernel.forwarding_key(family))
        if family is Family.V6:
            with self._journal.sysctls() as ledger:
                keys = [key for key in ledger if key.endswith("/accept_ra")]
            for key in keys:
                self.release(key)

    def release(self, key: str) -> int:
        """Lets go of one; who goes last restores it. Returns how many were restored."""
        with self._journal.sysctls() as ledger:
            return int(self._release(ledger, key))

    def release_all(self) -> int:
        """Lets go of all, those first that were changed last. Returns how many were restored."""
        with self._journal.sysctls() as ledger:
            return sum(self._release(ledger, key) for key in reversed(list(ledger)))

    def _change(self, step: LooseReversePath | Forwarding, key: str, value: str) -> None:
        """Sets what the step must change, and takes part in its own key where another tunnel has set that before."""
        with self._journal.sysctls() as ledger:
            if key in ledger:
                self._join(ledger, key, value)
            for changed, wanted in due(step).items():
                self._set(self._join(ledger, changed, wanted), changed)

    def _join(self, ledger: dict[str, SysctlEntry], key: str, wanted: str) -> SysctlEntry:
        entry = ledger.setdefault(key, {"before": kernel.read_sysctl(key), "wanted": wanted, "users": []})
        if self._journal.owner not in entry["users"]:
            entry["users"].append(self._journal.owner)
        return entry

    def _set(self, entry: SysctlEntry, key: str) -> None:
        present = kernel.read_sysctl(key)
        if present != entry["wanted"]:
            entry["before"] = present  # a device that came back, or somebody's own setting meanwhile
            kernel.write_sysctl(key, entry["wanted"])

    def _release(self, ledger: dict[str, SysctlEntry], key: str) -> bool:
        entry = ledger.get(key)
        if entry is None or self._journal.owner not in entry["users"]:
            return False
        entry["users"].remove(self._journal.owner)
        if entry["users"]:
            return False
        del ledger[key]
        with contextlib.suppress(FileNotFoundError):  # the device is gone
            if kernel.read_sysctl(key) == entry["wanted"]:  # otherwise somebody has set it since
                kernel.write_sysctl(key, entry["before"])
                return entry["before"] != entry["wanted"]
        return False
