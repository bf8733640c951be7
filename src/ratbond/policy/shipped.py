"""The policies that come with the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time

from ratbond.models import Preference, Tier
from ratbond.policy.model import LinkView, Policy


class Cost(Policy):
    """A link with a quota costs something: it carries only what the others cannot."""

    def decide(self, links: Sequence[LinkView]) -> Mapping[str, Preference]:
        """Secondary where there is a quota."""
        dear = (link for link in links if link.quota_bytes is not None and link.wanted.tier is Tier.PRIMARY)
        return {link.name: replace(link.wanted, tier=Tier.SECONDARY) for link in dear}


class TimeOfDay(Policy):
    """Links that are not primary are primary at certain hours: ``time-of-day 22:00-06:00``, when nobody pays or nobody minds."""

    def __init__(self, hours: str, now: Callable[[], datetime] = datetime.now) -> None:
        begin, _, end = hours.partition("-")
        try:
            self._begin, self._end = time.fromisoformat(begin.strip()), time.fromisoformat(end.strip())
        except ValueError:
            raise ValueError(f"{hours!r} are no hours: write them such as 22:00-06:00") from None
        self._now = now

    def decide(self, links: Sequence[LinkView]) -> Mapping[str, Preference]:
        """Primary within the hours, by the machine's clock."""
        return (
            {link.name: replace(link.wanted, tier=Tier.PRIMARY) for link in links} if self._within() else {}
        )

    def _within(self) -> bool:
        now = self._now().time()
        if self._begin <= self._end:
            return self._begin <= now < self._end
        return now >= self._begin or now < self._end  # over midnight


class LatencyFirst(Policy):
    """The link with the least round trip is primary, the others take what it cannot carry: for calls and games."""

    CLEARLY_BETTER = 0.8  # another link takes over when its round trip is below this share of the first one's

    def __init__(self) -> None:
        self._first = ""

    def decide(self, links: Sequence[LinkView]) -> Mapping[str, Preference]:
        """Primary for one of the links that are up and not backups, secondary for the rest of them."""
        able = {link.name: link for link in links if link.wanted.tier is not Tier.BACKUP}
        rtts = {name: link.rtt_ms for name, link in able.items() if link.up and link.rtt_ms > 0}
        if not rtts:
            return {}
        best = min(rtts, key=rtts.__getitem__)
        if self._first not in rtts or rtts[best] < self.CLEARLY_BETTER * rtts[self._first]:
            self._first = best
        tier = {name: Tier.PRIMARY if name == self._first else Tier.SECONDARY for name in able}
        return {name: replace(link.wanted, tier=tier[name]) for name, link in able.items()}
