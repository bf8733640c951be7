"""The status for Prometheus; docs/status.md lists the metrics. Imported at the first scrape, for its 5 MB.

Names follow Prometheus' conventions: base units (seconds, bytes, ratios), ``_total`` on what only grows. Directions
are those of this end: transmit is what it sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ratbond.status.model import LinkStatus, SessionStatus, Status

SESSION_LABELS: Final = ("session", "client")
LINK_LABELS: Final = ("session", "client", "link", "conv")
STATES: Final = ("connecting", "up", "suspect", "dead")

# name, help, how to get it
SESSION_GAUGES: Final[tuple[tuple[str, str, Callable[[SessionStatus], float]], ...]] = (
    ("session_up", "1 while at least one of its links is up.", lambda s: s.up),
    ("session_uptime_seconds", "Since the bond with this peer came up.", lambda s: s.uptime_s),
    ("session_links", "Links there are.", lambda s: len(s.links)),
    ("session_links_up", "Links that are up.", lambda s: sum(link.state == "up" for link in s.links)),
    ("session_mtu_bytes", "Longest packet that every link carries, both ways.", lambda s: s.inner_mtu),
    ("session_queued_bytes", "Waiting in front of all links.", lambda s: s.queued_bytes),
)
SESSION_COUNTERS: Final[tuple[tuple[str, str, Callable[[SessionStatus], float]], ...]] = (
    ("session_transmit_bytes", "IP bytes from the tun to the peer.", lambda s: s.tx_bytes),
    ("session_receive_bytes", "IP bytes from the peer to the tun.", lambda s: s.rx_bytes),
    ("session_transmit_packets", "IP packets from the tun to the peer.", lambda s: s.tx_packets),
    ("session_receive_packets", "IP packets from the peer to the tun.", lambda s: s.rx_packets),
    ("session_no_link_drops", "Packets that found no link.", lambda s: s.no_link_drops),
    ("session_too_big_packets", "Packets longer than any link carries.", lambda s: s.too_big_packets),
    ("session_aqm_drops", "Packets dropped by queue management, whichever link.", lambda s: s.aqm_drops),
    ("session_aqm_marks", "Packets marked by queue management (ECN) instead.", lambda s: s.aqm_marks),
    ("session_overflow_drops", "Packets dropped because a queue was full.", lambda s: s.overflow_drops),
    ("session_requeued_packets", "Packets of a dead link sent again over another.", lambda s: s.requeued_packets),
)  # fmt: skip
LINK_GAUGES: Final[tuple[tuple[str, str, Callable[[LinkStatus], float]], ...]] = (
    ("link_up", "1 while the link is up.", lambda k: k.state == "up"),
    ("link_uptime_seconds", "Since the link came up.", lambda k: k.uptime_s),
    ("link_rtt_seconds", "Round trip, smoothed.", lambda k: k.rtt_ms / 1000),
    ("link_rtt_variation_seconds", "Variation of the round trip.", lambda k: k.rttvar_ms / 1000),
    ("link_min_rtt_seconds", "Least round trip seen.", lambda k: k.min_rtt_ms / 1000),
    ("link_loss_ratio", "Retransmitted share of what was sent, over the last few seconds.", lambda k: k.loss),
    ("link_in_flight_bytes", "Sent and not yet acknowledged.", lambda k: k.in_flight_bytes),
    ("link_queued_bytes", "Waiting for the link.", lambda k: k.queued_bytes),
    ("link_queued_packets", "Waiting for the link.", lambda k: k.queued_packets),
    (
        "link_path_mtu_bytes",
        "Longest IP packet that its path carries; 0 where nobody looks.",
        lambda k: k.path_mtu or 0,
    ),
)
LINK_COUNTERS: Final[tuple[tuple[str, str, Callable[[LinkStatus], float]], ...]] = (
    ("link_transmit_bytes", "IP bytes given to the link.", lambda k: k.tx_bytes),
    ("link_receive_bytes", "IP bytes that came out of the link.", lambda k: k.rx_bytes),
    ("link_transmit_packets", "IP packets given to the link.", lambda k: k.tx_packets),
    ("link_receive_packets", "IP packets that came out of the link.", lambda k: k.rx_packets),
    ("link_wire_transmit_bytes", "UDP payload sent.", lambda k: k.wire_tx_bytes),
    ("link_wire_receive_bytes", "UDP payload received.", lambda k: k.wire_rx_bytes),
    ("link_wire_transmit_datagrams", "UDP datagrams sent.", lambda k: k.wire_tx_datagrams),
    ("link_wire_receive_datagrams", "UDP datagrams received.", lambda k: k.wire_rx_datagrams),
    ("link_segments_sent", "Segments sent, repeats included.", lambda k: k.segments_sent),
    ("link_retransmits", "Segments sent again.", lambda k: k.retransmits),
    ("link_timeouts", "Retransmission timeouts.", lambda k: k.timeouts),
    ("link_duplicates", "Segments that had come before.", lambda k: k.duplicates),
    ("link_malformed", "Datagrams or segments dropped as invalid.", lambda k: k.malformed),
    ("link_aqm_drops", "Packets dropped by queue management.", lambda k: k.aqm_drops),
    ("link_aqm_marks", "Packets marked by queue management (ECN) instead.", lambda k: k.aqm_marks),
    ("link_overflow_drops", "Packets dropped because the queue was full.", lambda k: k.overflow_drops),
)


class _StatusCollector(Collector):
    """Makes every metric anew from the status; a link that is gone has no series."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterator[Metric]:
        """Nothing: or the registry would collect in order to know the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        facts = ("version", "role", "protocol", "encryption", "scheduler", "address")
        yield InfoMetricFamily(
            "ratbond", "What runs here.", {f: str(getattr(status, f)) for f in facts} | {"tunnel_id": str(status.tunnel_id)}
        )  # fmt: skip
        yield GaugeMetricFamily("ratbond_uptime_seconds", "Since the program started.", status.uptime_s)
        sessions = [(_session_labels(s), s) for s in status.sessions]
        links = [((*labels, k.name, str(k.conv)), k) for labels, s in sessions for k in s.links]
        for name, text, read in SESSION_GAUGES:
            yield _family(GaugeMetricFamily, name, text, SESSION_LABELS, [(w, read(s)) for w, s in sessions])
        for name, text, read in SESSION_COUNTERS:
            yield _family(
                CounterMetricFamily, name, text, SESSION_LABELS, [(w, read(s)) for w, s in sessions]
            )
        for name, text, read_link in LINK_GAUGES:
            yield _family(GaugeMetricFamily, name, text, LINK_LABELS, [(w, read_link(k)) for w, k in links])
        for name, text, read_link in LINK_COUNTERS:
            yield _family(CounterMetricFamily, name, text, LINK_LABELS, [(w, read_link(k)) for w, k in links])
        state = GaugeMetricFamily(
            "ratbond_link_state", "1 for the state that the link is in, 0 for the others.", labels=(*LINK_LABELS, "state")
        )  # fmt: skip
        for where, link in links:
            for name in STATES:
                state.add_metric((*where, name), link.state == name)
        yield state


class Exporter:
    """Answers scrapes."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_StatusCollector(status))
        ProcessCollector(registry=self._registry)

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type: OpenMetrics for those who ask for it, else Prometheus' text format."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _session_labels(session: SessionStatus) -> tuple[str, str]:
    return str(session.id), session.client


def _family(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: list[tuple[tuple[str, ...], Any]],
) -> Metric:
    family = kind(f"ratbond_{name}", text, labels=labels)
    for where, value in values:
        family.add_metric(where, float(value))
    return family
