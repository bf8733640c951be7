"""What a policy is: Python that says, a few times a second, what is wanted of the links now. docs/policies.md shows how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratbond.models import Preference


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link as a policy sees it. Times are milliseconds, rates bit/s."""

    name: str  # of its device
    up: bool  # it answers
    rtt_ms: float  # smoothed; 0 before the first
    loss: float  # 0 to 1
    delivery_rate_bps: float  # what it can carry from here, as far as it is known
    wanted: Preference  # as its user configured it
    quota_bytes: int | None = None  # None: it may carry what it likes
    used_bytes: int = 0  # of that


class Policy(ABC):
    """Derive from it, and name the class in the configuration: ``policy = "module:Class"``."""

    @abstractmethod
    def decide(self, links: Sequence[LinkView]) -> Mapping[str, Preference]:
        """What is wanted of the links, by name; those that are left out are used as their user configured them.

        It is called about four times a second and is to return at once. What is the same as before costs nothing. A quota
        that is used up counts whatever is returned here.
        """
