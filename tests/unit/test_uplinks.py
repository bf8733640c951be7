"""How the engine's links follow the WAN links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ratbond.daemon.uplinks import Uplinks
from ratbond.engine import Event
from ratbond.links.model import WanLink
from ratbond.models import Family

from .fakes import FakeEngine, FakeEvent

SERVER = {Family.V4: ("192.0.2.1", 12345)}
WAN1 = WanLink(1, "wan1", ip_address("10.0.1.2"), ip_address("10.0.1.1"))
WAN2 = WanLink(2, "wan2", ip_address("10.0.2.2"), None)


class Bench:
    """Uplinks over a fake engine and a clock that stands still."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.now = 100.0
        self.uplinks = Uplinks(self.engine, lambda: self.now)

    def want(self, *links: WanLink, server: dict[Family, tuple[str, int]] | None = None) -> None:
        self.uplinks.reconcile(links, SERVER if server is None else server, lambda _: "interface down")

    def say(self, **fields: object) -> None:
        self.uplinks.on_event(cast("Event", FakeEvent(**fields)))  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.engine.close()


def test_each_wan_link_becomes_a_link_of_the_engine_once(bench: Bench) -> None:
    bench.want(WAN1, WAN2)
    bench.want(WAN1, WAN2)
    assert bench.engine.links == {
        1: ("wan1", "10.0.1.2", SERVER[Family.V4]),
        2: ("wan2", "10.0.2.2", SERVER[Family.V4]),
    }


def test_a_link_that_goes_is_taken_out_with_the_reason(bench: Bench) -> None:
    bench.want(WAN1, WAN2)
    bench.want(WAN1)
    assert bench.engine.names() == ["wan1"]
    assert bench.engine.removed == [(2, "interface down")]


def test_a_changed_address_makes_the_link_anew(bench: Bench) -> None:
    bench.want(WAN1)
    bench.want(replace(WAN1, source=ip_address("10.0.1.99")))
    assert bench.engine.links == {2: ("wan1", "10.0.1.99", SERVER[Family.V4])}


def test_another_gateway_leaves_the_link_alone(bench: Bench) -> None:
    bench.want(WAN1)
    bench.want(replace(WAN1, gateway=None))
    assert bench.engine.links == {1: ("wan1", "10.0.1.2", SERVER[Family.V4])}


def test_a_renamed_device_is_the_same_link_under_its_new_name(bench: Bench) -> None:
    bench.want(WAN1)
    bench.want(replace(WAN1, device="lte0"))
    assert bench.engine.links == {1: ("lte0", "10.0.1.2", SERVER[Family.V4])}
    assert bench.engine.removed == []


def test_a_device_renamed_while_its_link_rests_is_tried_under_its_new_name(bench: Bench) -> None:
    bench.want(WAN1)
    bench.say(kind="link_down", link=1, detail="no answer for 10 s")
    bench.want(replace(WAN1, device="lte0"))
    bench.now += 1
    bench.want(replace(WAN1, device="lte0"))
    assert bench.engine.names() == ["lte0"]


def test_a_server_with_a_new_address_is_connected_to_anew(bench: Bench) -> None:
    bench.want(WAN1)
    bench.want(WAN1, server={Family.V4: ("192.0.2.9", 12345)})
    assert bench.engine.links == {2: ("wan1", "10.0.1.2", ("192.0.2.9", 12345))}


def test_a_link_dead_of_silence_is_made_anew_after_a_short_rest(bench: Bench) -> None:
    bench.want(WAN1)
    bench.say(kind="link_down", link=1, detail="no answer for 10 s")
    bench.want(WAN1)
    assert bench.engine.links == {}
    retry_at = bench.uplinks.next_retry_at()
    assert retry_at is not None
    bench.now = retry_at
    bench.want(WAN1)
    assert list(bench.engine.links) == [2]


def test_rests_grow_to_two_seconds_and_shrink_again_when_the_link_works(bench: Bench) -> None:
    rests = []
    for _ in range(6):
        bench.want(WAN1)
        bench.say(kind="link_down", link=bench.engine.number_of("wan1"))
        rests.append((bench.uplinks.next_retry_at() or 0) - bench.now)
        bench.now = bench.uplinks.next_retry_at() or 0
    assert rests == sorted(rests)
    assert rests[-1] == 2
    bench.want(WAN1)
    bench.say(kind="link_up", link=bench.engine.number_of("wan1"))
    bench.say(kind="link_down", link=bench.engine.number_of("wan1"))
    assert (bench.uplinks.next_retry_at() or 0) - bench.now == rests[0]


def test_a_link_that_the_engine_refuses_is_tried_again_and_complained_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.engine.refusal = "wan1: no such device"
    for _ in range(5):
        bench.want(WAN1)
        bench.now = bench.uplinks.next_retry_at() or 0
    assert sum("no such device" in record.getMessage() for record in caplog.records) == 1
    bench.engine.refusal = ""
    bench.want(WAN1)
    assert bench.engine.names() == ["wan1"]


def test_an_event_of_a_link_long_gone_is_harmless(bench: Bench) -> None:
    bench.want(WAN1)
    bench.want()
    bench.say(kind="link_down", link=1, detail="interface down")
    bench.say(kind="session_down", link=None)
    assert bench.uplinks.next_retry_at() is None


class LinksComeAndGo(RuleBasedStateMachine):
    """Whatever happens, the engine has a link for each wanted WAN that does not rest, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.wanted: set[int] = set()

    def teardown(self) -> None:
        self.bench.engine.close()

    @rule(wanted=st.sets(st.integers(1, 4)), address=st.integers(1, 2))
    def change(self, wanted: set[int], address: int) -> None:
        self.wanted = wanted
        self.bench.want(*(WanLink(i, f"wan{i}", ip_address(f"10.0.{i}.{address}"), None) for i in wanted))

    @rule(data=st.data(), kind=st.sampled_from(["link_up", "link_suspect", "link_down"]))
    def speak(self, data: st.DataObject, kind: str) -> None:
        number = data.draw(st.sampled_from([*self.bench.engine.links, 999]))
        self.bench.say(kind=kind, link=number)

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.bench.now += seconds

    @rule(refusal=st.sampled_from(["", "no"]))
    def refuse(self, refusal: str) -> None:
        self.bench.engine.refusal = refusal

    @invariant()
    def the_engine_has_no_link_too_many(self) -> None:
        names = self.bench.engine.names()
        assert len(set(names)) == len(names)
        assert set(names) <= {f"wan{i}" for i in self.wanted}

    @invariant()
    def what_it_lacks_will_be_tried_again(self) -> None:
        if len(self.bench.engine.links) < len(self.wanted):
            assert self.bench.uplinks.next_retry_at() is not None


LinksComeAndGo.TestCase.settings = settings(max_examples=50, deadline=None)
test_links_come_and_go = LinksComeAndGo.TestCase
