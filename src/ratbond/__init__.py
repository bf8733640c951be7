"""Bonds several WAN links of a Linux machine into one tunnel.

``from ratbond import Bond`` runs one inside a program of yours (docs/python.md).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ratbond.errors import RatbondError, UsageError

if TYPE_CHECKING:
    from ratbond.bond import Bond, BondEvent
    from ratbond.status.model import LinkStatus, SessionStatus, Status

__version__ = version("ratbond")
__all__ = [
    "Bond",
    "BondEvent",
    "LinkStatus",
    "RatbondError",
    "SessionStatus",
    "Status",
    "UsageError",
    "__version__",
]

_ELSEWHERE = {"Bond": "bond", "BondEvent": "bond", "Status": "status.model", "SessionStatus": "status.model", "LinkStatus": "status.model"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads the API when it is asked for: the command does without it."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ratbond.{_ELSEWHERE[name]}"), name)
