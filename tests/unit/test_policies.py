"""The policies that come with the program, and how one is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from ratbond.config import ClientConfig
from ratbond.daemon.steering import Steering
from ratbond.errors import UsageError
from ratbond.models import Caps, Preference, Tier
from ratbond.policy import choose
from ratbond.policy.model import LinkView, Policy
from ratbond.policy.shipped import Cost, LatencyFirst, TimeOfDay

from .fakes import FakeEngine, link_snapshot, session_snapshot


def view(name: str, rtt_ms: float = 20.0, wanted: Preference | None = None, **more: object) -> LinkView:
    return LinkView(name, True, rtt_ms, 0.0, 50e6, wanted or Preference(), **more)  # type: ignore[arg-type]


def tiers(decided: Mapping[str, Preference]) -> dict[str, str]:
    return {name: preference.tier.value for name, preference in decided.items()}


def test_cost_spares_links_with_a_quota_and_keeps_their_caps() -> None:
    capped = Preference(rate=Caps(1_000, 2_000))
    backup = Preference(Tier.BACKUP)
    decided = Cost().decide(
        [view("dsl"), view("lte", wanted=capped, quota_bytes=5), view("sat", wanted=backup, quota_bytes=5)]
    )
    assert decided == {"lte": Preference(Tier.SECONDARY, capped.rate)}


@pytest.mark.parametrize(
    ("hours", "at", "is_primary"),
    [
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("09:30-17:00", "12:00", True),
        ("09:30-17:00", "17:00", False),
    ],
)
def test_time_of_day_makes_links_primary_within_its_hours(hours: str, at: str, is_primary: bool) -> None:
    policy = TimeOfDay(hours, lambda: datetime.fromisoformat(f"2026-05-20T{at}"))
    decided = policy.decide([view("lte", wanted=Preference(Tier.BACKUP))])
    assert tiers(decided) == ({"lte": "primary"} if is_primary else {})


def test_latency_first_stays_until_another_link_is_clearly_better() -> None:
    policy = LatencyFirst()
    assert tiers(policy.decide([view("a", 20), view("b", 30)])) == {"a": "primary", "b": "secondary"}
    assert tiers(policy.decide([view("a", 32), view("b", 30)])) == {"a": "primary", "b": "secondary"}
    assert tiers(policy.decide([view("a", 40), view("b", 30)])) == {"a": "secondary", "b": "primary"}
    assert tiers(policy.decide([view("a", 40)])) == {"a": "primary"}
    assert policy.decide([view("a", 0)]) == {}
    assert tiers(policy.decide([view("a", 40), view("c", 1, Preference(Tier.BACKUP))])) == {"a": "primary"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("luck", "cost, latency-first, time-of-day"),
        ("time-of-day", "hours"),
        ("time-of-day 25:00-26:00", "22:00-06:00"),
        ("cost 5", "takes no arguments"),
        ("no_such_module:Policy", "no_such_module"),
        ("json:NoPolicy", "NoPolicy"),
        ("json:JSONDecoder", "is no ratbond.policy.model.Policy"),
    ],
)
def test_what_is_no_policy_is_one_line(words: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose.make(words)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


class Fickle(Policy):
    """Says the next of what it was given; an exception it raises."""

    answers: list[Exception | dict[str, Preference]] = []  # noqa: RUF012 (a test's own)

    def decide(self, links: Sequence[LinkView]) -> Mapping[str, Preference]:
        assert [link.name for link in links] == ["wan1"]
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.logs_errors
def test_the_client_follows_its_policy_and_outlives_its_mistakes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backup = {"wan1": Preference(Tier.BACKUP)}
    monkeypatch.setattr(choose, "SHIPPED", {"fickle": Fickle})
    monkeypatch.setattr(Fickle, "answers", [{}, backup, backup, KeyError("wan7"), KeyError("wan7"), {}])
    calls: list[int] = []
    config = ClientConfig.model_validate({"connect_addr": "192.0.2.1:1", "policy": "fickle"})
    engine = FakeEngine()
    steering = Steering(config, engine, lambda: calls.append(1))
    seen = []
    for _ in range(6):
        steering.look([session_snapshot(link_snapshot())])
        seen.append((dict(steering.preferences), len(calls)))
    assert seen == [({}, 0), (backup, 1), (backup, 1), (backup, 1), (backup, 1), ({}, 2)]
    failures = [record for record in caplog.records if "policy fails" in record.getMessage()]
    assert len(failures) == 1
    engine.close()
