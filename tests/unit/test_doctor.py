"""What facts mean: the checks of `ratbond doctor` alone, its handshake and its reading of firewalls."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from ratbond.doctor import checks, uplink_checks
from ratbond.doctor.firewall import dropping_chains
from ratbond.doctor.handshake import Challenge, Knock, OtherVersion, mapping_changes
from ratbond.doctor.model import (
    Answers,
    Clock,
    Finding,
    Firewall,
    InputChain,
    Leftovers,
    Listening,
    Machine,
    Name,
    Rights,
    SecretFile,
    TunDevice,
    UdpOffload,
    Uplinks,
    Verdict,
    Wan,
)
from ratbond.doctor.report import as_json, as_text
from tests.crypto import reference

FINE = Machine(
    "client", "bond", nat=False, running=False, rights=Rights(net_admin=True, net_raw=True), tun=TunDevice(),
    udp=UdpOffload(segmentation=True, coalescing=True), clock=Clock(2026, "tsc", 1), firewall=Firewall(installed=True),
    device="tun660",
)  # fmt: skip
WAN = Wan("wan1", ip_address("192.168.8.2"), ip_address("192.168.8.1"), 1500, strict=False)
ANSWERED = Answers("wan1", 5, (31.0, 30.5, 30.7, 31.2, 30.9))
OTHER = replace(WAN, device="wan2", source=ip_address("100.64.3.4"))
UPLINKS = Uplinks(
    Name("vps.example.org", 12345, (4,)), (WAN, OTHER), answers=(ANSWERED, replace(ANSWERED, device="wan2"))
)


def worst(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.OK]


def test_of_a_machine_in_order_every_check_says_ok() -> None:
    found = [*checks.machine(FINE), *uplink_checks.uplinks(UPLINKS, "bond")]
    assert worst(found) == []
    assert len({finding.check for finding in found}) >= 15


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({"rights": Rights(net_admin=False, net_raw=True)}, Verdict.FAIL, "CAP_NET_ADMIN is missing"),
        ({"rights": Rights(net_admin=False, net_raw=False)}, Verdict.FAIL, "CAP_NET_ADMIN and CAP_NET_RAW"),
        ({"tun": TunDevice(errno=errno.ENOENT)}, Verdict.FAIL, "no /dev/net/tun"),
        ({"tun": TunDevice(errno=errno.EACCES)}, Verdict.FAIL, "by this user"),
        ({"tun": TunDevice(errno=errno.EPERM)}, Verdict.FAIL, "container"),
        ({"tun": TunDevice(errno=errno.EPERM, made=True)}, Verdict.FAIL, "EPERM"),
        ({"tun": TunDevice(tcp_offload=False, udp_offload=False)}, Verdict.WARN, "large pieces"),
        ({"tun": TunDevice(taken=True)}, Verdict.FAIL, "tun660 is there already"),
        ({"udp": UdpOffload(segmentation=False, coalescing=True)}, Verdict.WARN, "no UDP_SEGMENT:"),
        ({"firewall": Firewall(installed=False), "nat": True}, Verdict.FAIL, "--nat needs nft"),
        ({"firewall": Firewall(installed=True, error="no such module")}, Verdict.WARN, "no such module"),
        ({"clock": Clock(1970, "tsc", 1)}, Verdict.WARN, "1970"),
        ({"clock": Clock(2026, "tsc", 4_000_000)}, Verdict.WARN, "high-resolution"),
        ({"clock": Clock(2026, "acpi_pm", 1)}, Verdict.WARN, "acpi_pm"),
        ({"taken_networks": ("10.10.10.0/30 is in use: lan has 10.10.10.1",)}, Verdict.FAIL, "is in use"),
        ({"leftovers": Leftovers(noted=("client-660",))}, Verdict.WARN, "client-660"),
        ({"leftovers": Leftovers(unnoted=("ip -4 rule flush protocol 114",))}, Verdict.WARN, "no note"),
        ({"files": (SecretFile("/etc/ratbond/s", "root", False),)}, Verdict.WARN, "root's alone"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_one_finding_with_its_fix(
    change: dict[str, Any], verdict: Verdict, words: str
) -> None:
    (finding,) = worst(list(checks.machine(replace(FINE, **change))))
    assert finding.verdict is verdict
    assert words in finding.text
    assert finding.fix


def test_nft_is_not_missed_without_nat() -> None:
    assert worst(list(checks.machine(replace(FINE, firewall=Firewall(installed=False))))) == []


SILENT = Answers("wan1", 5)


@pytest.mark.parametrize(
    ("change", "check", "verdict", "words"),
    [
        ({"name": Name("vps.example.org", 1, error="cannot find it")}, "dns", Verdict.FAIL, "cannot find it"),
        ({"name": Name("vps.example.org", 1, (4,), took_s=5.2)}, "dns", Verdict.WARN, "5 s"),
        ({"name": Name("vps.example.org", 1, (6,))}, "dns", Verdict.FAIL, "no link has one"),
        ({"wans": (WAN,), "answers": (ANSWERED,)}, "links", Verdict.WARN, "only WAN link"),
        ({"not_yet": (("wwan0", "it has no carrier"),)}, "links", Verdict.WARN, "wwan0 is no link: it has no carrier"),
        ({"wans": (replace(WAN, strict=True, writable=False), OTHER)}, "wan1 rp_filter", Verdict.FAIL, "read-only"),
        ({"wans": (replace(WAN, mtu=1300), OTHER)}, "wan1 mtu", Verdict.WARN, "IPv6 packet of 1,280 bytes has 1338"),
        ({"answers": (replace(ANSWERED, mapping_changes=4),)}, "wan1 nat", Verdict.WARN, "4 changes"),
        ({"answers": (replace(ANSWERED, round_trips_ms=(30.0, 31.0)),)}, "wan1 server", Verdict.WARN, "3 of 5"),
        ({"answers": (SILENT,)}, "wan1 server", Verdict.FAIL, "and over no other link"),
        ({"answers": (replace(SILENT, version="2 to 3, this one speaks 1"),)}, "wan1 server", Verdict.FAIL, "2 to 3"),
        ({"answers": (replace(SILENT, refused="nothing listens"),)}, "wan1 server", Verdict.FAIL, "nothing listens"),
        ({"answers": (replace(SILENT, state="suspect"),)}, "wan1 server", Verdict.WARN, "suspect"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_with_a_link_is_one_finding_with_its_fix(
    change: dict[str, Any], check: str, verdict: Verdict, words: str
) -> None:
    (finding,) = worst(list(uplink_checks.uplinks(replace(UPLINKS, **change), "bond")))
    assert (finding.check, finding.verdict) == (check, verdict)
    assert words in finding.text
    assert finding.fix


def test_an_interface_that_wants_a_route_is_named_with_the_line_to_type() -> None:
    alone = replace(UPLINKS, wans=(), answers=(), routeless=("eth1",))
    (finding,) = worst(list(uplink_checks.uplinks(alone, "bond")))
    assert finding.fix == "ip route add default via ITS-GATEWAY dev eth1 metric 200"


def test_a_silent_link_beside_one_that_answers_is_not_the_servers_fault() -> None:
    answers = (SILENT, replace(ANSWERED, device="wan2"))
    (finding,) = worst(list(uplink_checks.uplinks(replace(UPLINKS, answers=answers), "bond")))
    assert "but over others" in finding.text
    assert "ping -I wan1" in finding.fix


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"errno": errno.EADDRINUSE}, "taken by another program"),
        ({"errno": errno.EADDRNOTAVAIL}, "does not have the address"),
        ({"errno": errno.EACCES}, "below 1024"),
        ({"clients": 0}, "no client may connect"),
        ({"public": False}, "no public address"),
    ],
)
def test_what_keeps_clients_from_a_server_is_told(change: dict[str, Any], words: str) -> None:
    facts = replace(Listening("0.0.0.0", 12345, clients=2), **change)
    (finding,) = worst(list(checks.listening(facts, Firewall(installed=True))))
    assert words in finding.text
    assert finding.fix


@pytest.mark.parametrize(
    ("manager", "fix"),
    [
        ("ufw", "ufw allow 12345/udp"),
        ("firewalld", "firewall-cmd --permanent --add-port=12345/udp && firewall-cmd --reload"),
        ("", "nft insert rule inet filter input udp dport 12345 accept"),
    ],
)
def test_a_firewall_is_opened_by_the_program_that_keeps_it(manager: str, fix: str) -> None:
    closed = Firewall(installed=True, dropping=(InputChain("inet filter input", ((22, 22),), manager),))
    (finding,) = worst(list(checks.listening(Listening("0.0.0.0", 12345), closed)))
    assert finding.fix == fix


def chain(name: str, **more: object) -> dict[str, Any]:
    return {"chain": {"family": "inet", "table": "filter", "name": name, **more}}


def rule(chain_name: str, *statements: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "filter", "chain": chain_name, "expr": list(statements)}}


def dport(right: object, protocol: str = "udp") -> dict[str, Any]:
    return {
        "match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}
    }


INPUT = chain("input", hook="input", type="filter", policy="drop")
ACCEPT: dict[str, Any] = {"accept": None}


@pytest.mark.parametrize(
    ("rules", "ports"),
    [
        ([rule("input", dport(12345), ACCEPT)], ((12345, 12345),)),
        ([rule("input", dport({"set": [53, {"range": [12000, 12999]}]}), ACCEPT)], ((53, 53), (12000, 12999))),
        ([rule("input", dport(22, "tcp"), ACCEPT)], ()),
        ([rule("input", dport(12345), {"drop": None})], ()),
        ([rule("input", {"jump": {"target": "udp"}}), rule("udp", dport(500, "th"), ACCEPT)], ((500, 500),)),
        ([rule("input", {"jump": {"target": "input"}})], ()),
        ([rule("input", {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}, ACCEPT)], ((1, 65535),)),
        ([rule("input", {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}, ACCEPT)], ()),
    ],
)  # fmt: skip
def test_the_ports_that_a_firewall_accepts_are_read_from_its_rules(
    rules: list[dict[str, Any]], ports: tuple[tuple[int, int], ...]
) -> None:
    (found,) = dropping_chains([INPUT, *rules])
    assert found.ports == ports


def test_a_chain_drops_by_its_policy_or_by_its_last_rule() -> None:
    accepting = chain("input", hook="input", type="filter", policy="accept")
    assert dropping_chains([accepting, rule("input", ACCEPT)]) == ()
    assert dropping_chains([accepting, rule("input", {"counter": {}}, {"reject": {}})])
    assert dropping_chains([chain("forward", hook="forward", policy="drop")]) == ()


@pytest.mark.parametrize("mode", ["shared", "named"])
def test_a_request_is_one_of_the_wires_and_its_challenge_is_told_from_forgeries(mode: str) -> None:
    key = "c3" * 32
    knock = Knock.shared(key) if mode == "shared" else Knock.named(key)
    known = reference.shared_psk(bytes.fromhex(key)) if mode == "shared" else bytes.fromhex(key)
    filter_key = reference.filter_key(known)
    request = knock.request()
    assert len(request) == 43
    assert request[-16:] == reference.mac(filter_key, request[:-16])
    answer = reference.challenge(request, b"c" * 16, filter_key)
    assert knock.read(answer, request) == Challenge(b"c" * 16)
    assert knock.read(answer, knock.request()) is None, "that answers another request"
    assert knock.read(answer[:-1] + bytes([answer[-1] ^ 1]), request) is None
    body = b"\x07" + request[7:11] + bytes([3, 2, 3])
    version = body + reference.mac(filter_key, body + request[-16:])
    assert knock.read(version, request) == OtherVersion(2, 3)
    assert knock.read(b"", request) is None


def test_the_turn_of_the_minute_is_no_change_of_address() -> None:
    a, b = b"a" * 16, b"b" * 16
    assert mapping_changes([]) == mapping_changes([a, a, a]) == mapping_changes([a, a, b]) == 0
    assert mapping_changes([a, b, a]) == 2


def test_text_has_a_line_for_each_finding_and_json_the_same() -> None:
    findings = [
        Finding("tun", Verdict.OK, "fine"),
        Finding("links", Verdict.FAIL, "none", "ip route add ..."),
    ]
    assert as_text(findings).splitlines() == [
        "ok    tun    fine",
        "fail  links  none",
        "             > ip route add ...",
        "",
        "1 to mend, 0 to know, 1 in order",
    ]
    said = json.loads(as_json("client", findings))
    assert (said["ok"], [finding["verdict"] for finding in said["findings"]]) == (False, ["ok", "fail"])


def test_every_verdict_reads_as_one_line() -> None:
    for finding in [*checks.machine(FINE), *uplink_checks.uplinks(UPLINKS, "bond")]:
        assert re.fullmatch(r"[^\n]+", finding.text)
