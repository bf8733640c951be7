"""From the words of the configuration to a policy."""

from __future__ import annotations

import importlib
from typing import Any, Final

from ratbond.errors import UsageError
from ratbond.policy.model import Policy
from ratbond.policy.shipped import Cost, LatencyFirst, TimeOfDay

SHIPPED: Final[dict[str, type[Policy]]] = {
    "cost": Cost,
    "latency-first": LatencyFirst,
    "time-of-day": TimeOfDay,
}


def make(words: str) -> Policy:
    """``cost``, ``time-of-day 22:00-06:00`` or ``module:Class``, with what its constructor takes behind a space.

    Raises UsageError with one line.
    """
    name, _, argument = words.strip().partition(" ")
    made = _class(name)
    try:
        policy = made(argument.strip()) if argument else made()
    except (TypeError, ValueError) as error:
        raise UsageError(f"policy {words!r}: {error}") from None
    if not isinstance(policy, Policy):
        raise UsageError(f"policy {words!r}: {name} is no ratbond.policy.model.Policy")
    return policy


def _class(name: str) -> Any:
    if name in SHIPPED:
        return SHIPPED[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UsageError(
            f"policy {name!r}: there are {', '.join(SHIPPED)}, and module:Class for one of yours"
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"policy {name!r}: {error}") from None
