"""Port forwards: what may be written, what it is in nft's words, and what stands against one."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratbond.clients.model import Clients, parse
from ratbond.config import ServerConfig
from ratbond.daemon.forwarding import refuse_taken
from ratbond.errors import RatbondError, UsageError
from ratbond.forward import PortForward, clash, with_targets
from ratbond.netcfg import listeners, nft_words
from ratbond.netcfg.plan import PortForwards, Translation

KEY = "ab" * 32

targets = st.ip_addresses().filter(
    lambda a: not (a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local)
)


ports = st.integers(1, 65_535)
options = {"protocol": st.sampled_from(["tcp", "udp"]), "target": targets, "masquerade": st.booleans()}
single = ports.flatmap(
    lambda n: st.builds(
        PortForward, first=st.just(n), last=st.just(n), target_port=st.none() | ports, **options
    )
)
ranges = (
    st.tuples(ports, ports)
    .map(sorted)
    .flatmap(lambda p: st.builds(PortForward, first=st.just(p[0]), last=st.just(p[1]), **options))
)


@given(single | ranges)
def test_what_is_printed_of_one_is_read_as_the_same(forward: PortForward) -> None:
    assert PortForward.parse(str(forward)) == forward


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8443 -> 192.168.8.10", "is no port forward: write one such as"),
        ("tcp/8443 - 192.168.8.10", "is no port forward"),
        ("tcp/0 -> 192.168.8.10", "ports go from 1 to 65535"),
        ("tcp/70000 -> 192.168.8.10", "ports go from 1 to 65535"),
        ("udp/20-10 -> 192.168.8.10", "the lower one first"),
        ("tcp/1-2 -> 192.168.8.10:80", "a range keeps its ports"),
        ("tcp/80 -> web.lan:80", "'web.lan' does not appear to be"),
        ("tcp/80 -> 2001:db8::7", "write an IPv6 address in brackets"),
        ("tcp/80 -> 127.0.0.1", "no host that a packet can be routed to"),
        ("tcp/80 -> 192.168.8.10:0", "the port must be a number from 1 to 65535"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", "\\(")) as caught:
        PortForward.parse(text)
    assert "\n" not in str(caught.value)


def test_two_meet_where_they_take_one_port_from_the_same_visitors() -> None:
    read = PortForward.parse
    one = read("tcp/8000-8010 -> 192.168.8.10")
    assert one.meets(read("tcp/8010 -> 192.168.8.11:80"))
    assert not one.meets(read("udp/8010 -> 192.168.8.11"))
    assert not one.meets(read("tcp/8011 -> 192.168.8.11"))
    assert not one.meets(read("tcp/8010 -> [2001:db8::7]:80"))
    assert clash([one, read("udp/1 -> 10.0.0.1"), read("tcp/8000 -> 10.0.0.1")]) == (
        one,
        read("tcp/8000 -> 10.0.0.1"),
    )


def test_a_target_outside_the_lan_is_routed_by_itself() -> None:
    lan = (ip_network("192.168.8.0/24"),)
    wanted = [PortForward.parse(f"tcp/{n} -> {to}") for n, to in ((1, "192.168.8.10"), (2, "10.0.0.1"), (3, "10.0.0.1"))]  # fmt: skip
    assert with_targets(lan, wanted) == (*lan, ip_network("10.0.0.1"))


def client(name: str, number: int, **more: object) -> dict[str, object]:
    key = f"{number:02x}" * 32
    return {
        "name": name,
        "tunnel_id": number,
        "public_key": key,
        "psk": KEY,
        "ip": f"10.66.0.{4 * number}/30",
    } | more


def clients(*entries: dict[str, object]) -> Clients:
    return parse({"server": {"private_key": KEY}, "client": list(entries)}, "clients file x")


def test_a_client_may_send_from_its_forwards_targets() -> None:
    made = clients(client("van", 1, forward=["tcp/80 -> 192.168.8.10:80", "udp/7 -> 10.66.0.6"]))
    (entry,) = made.client
    assert entry.behind == (ip_network("192.168.8.10"),)


@pytest.mark.parametrize(
    ("van", "bus", "said"),
    [
        ("tcp/80 -> 10.1.0.1", "tcp/70-90 -> 10.2.0.1", '"tcp/80 -> 10.1.0.1" of client van and "tcp/70-90'),
        ("tcp/80 -> 10.1.0.1", "tcp/81 -> 10.1.0.1", "10.1.0.1/32 of client van and 10.1.0.1/32 of client bus"),
        ("tcp/80", "tcp/81 -> 10.1.0.1", "clients file x: client van: forward: 'tcp/80' is no port forward"),
    ],
)  # fmt: skip
def test_clients_that_want_the_same_are_refused(van: str, bus: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        clients(client("van", 1, forward=[van]), client("bus", 2, forward=[bus]))


def test_one_client_may_not_take_a_port_twice() -> None:
    with pytest.raises(UsageError, match=r"client van: forward: .* take the same port; leave one out"):
        clients(client("van", 1, forward=["tcp/80 -> 10.1.0.1", "tcp/80 -> 10.1.0.2"]))


def test_a_port_that_is_in_use_is_refused() -> None:
    def wrong(forward: str, **more: object) -> str:
        config = ServerConfig.model_validate({"forward": [forward], **more})
        with pytest.raises(RatbondError) as caught:
            refuse_taken(config, ())
        return str(caught.value)

    assert "port udp/12345 is ratbond's own" in wrong("udp/12000-13000 -> 10.1.0.1")
    assert "port tcp/8091 is the status server's" in wrong("tcp/8091 -> 10.1.0.1")
    refuse_taken(ServerConfig.model_validate({"forward": ["tcp/12345 -> 10.1.0.1"]}), ())
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        assert f"port tcp/{port} is another program's" in wrong(f"tcp/{port} -> 10.1.0.1")
        entry = clients(client("van", 1, forward=[f"tcp/{port} -> 10.1.0.1"])).client
        with pytest.raises(RatbondError, match=r"^client van: forward"):
            refuse_taken(ServerConfig(), entry)
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {"forward": [f"tcp/{server.getsockname()[1]} -> 10.1.0.1"]}
        refuse_taken(ServerConfig.model_validate(config), ())


PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0200000A:0051 0300000A:0052 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:0053 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1 1 0
   4: 00000000000000000000000000000000:0054 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1 1 0
"""


def test_of_the_kernels_table_only_listeners_for_others_count() -> None:
    assert list(listeners.parse(PROC_NET_TCP, "tcp")) == [("tcp", 22), ("tcp", 0x54)]


def test_a_forward_in_nfts_words() -> None:
    texts = ("tcp/8443 -> [2001:db8::7]:443", "udp/5000-5010 -> 192.168.8.10 masquerade")
    step = PortForwards("server-660-forwards", "tun660", tuple(map(PortForward.parse, texts)))
    first, second, third = (line.strip() for line in nft_words.chains(step).splitlines() if "dport" in line)
    assert first == (
        'iifname != "tun660" meta nfproto ipv6 fib daddr type local tcp dport 8443 dnat ip6 to [2001:db8::7]:443'
    )
    assert second.endswith("udp dport 5000-5010 dnat ip to 192.168.8.10")
    assert third == 'oifname "tun660" ct status dnat ip daddr 192.168.8.10 udp dport 5000-5010 masquerade'
    assert nft_words.openings(step, "ip6")
    of_v4 = PortForwards(step.owner, step.device, step.forwards[1:])
    assert nft_words.openings(of_v4, "ip6") == []


def test_a_routed_lan_is_not_translated_and_let_in_by_its_own_family() -> None:
    lan = (ip_network("192.168.8.0/24"), ip_network("2001:db8:8::/64"))
    step = Translation(
        "client-660", "tun660", towards_tunnel=True, routed=lan, inside=(ip_network("10.66.0.0/30"),)
    )
    rules = [line.strip() for line in nft_words.chains(step).splitlines() if "ifname" in line]
    assert rules == [
        'oifname "tun660" ip saddr 192.168.8.0/24 accept',
        'iifname "tun660" ip saddr 10.66.0.0/30 ip daddr 192.168.8.0/24 masquerade',
        'oifname "tun660" ip6 saddr 2001:db8:8::/64 accept',
        'oifname "tun660" masquerade',
    ]
    opened = nft_words.openings(step, "ip")
    assert 'iifname "tun660" ip daddr 192.168.8.0/24' in opened
    assert not any("ip6" in match for match in opened)
    assert 'oifname "tun660"' in opened
    alone = Translation("client-660", "tun660", towards_tunnel=True, masquerade=False, routed=lan[:1])
    assert 'oifname "tun660"' not in nft_words.openings(alone, "ip")
    assert nft_words.openings(alone, "ip6") == []
