"""States, events and figures as people read them; the same words as the dashboard's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ratbond.status.text import bits, duration
from ratbond.status.top.picture import Link

STATE: Final = {"up": "up", "suspect": "no answer", "connecting": "connecting", "dead": "out", "out": "out"}
_ABSENCE: Final = {"suspect": "silent", "connecting": "connecting", "out": "out"}
_GOOD: Final = frozenset({"link joined the bond", "the bond is up"})
_QUIET_BPS: Final = 20_000  # what liveness and other small talk may need


def directions(role: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """(figure, name) of what a person calls down and up: at a client received is the download, at a server sent is."""
    if role == "client":
        return ("rx_bps", "Download"), ("tx_bps", "Upload")
    return ("tx_bps", "To client"), ("rx_bps", "From client")


def verdict(session: Mapping[str, Any], links: Sequence[Link], events: Sequence[Mapping[str, Any]]) -> str:
    """The bond in one sentence, and what is wrong in a second one."""
    if not session["up"]:
        waiting = next((e for e in reversed(events) if e["text"] == "waiting"), None)
        return f"The bond is down: {because(waiting) if waiting else 'no link works'}"
    bad = [link for link in links if link.state != "up"]
    span = duration(session["uptime_s"])
    if not bad:
        whole = {1: "its only link", 2: "both links"}.get(len(links), f"all {len(links)} links")
        return f"The bond is up on {whole}, for {span}"
    reasons = "; ".join(f"{link.name} is {_ABSENCE[link.state]}{_reason(link)}" for link in bad)
    return f"The bond is up on {len(links) - len(bad)} of {len(links)} links: {reasons}"


def mood(session: Mapping[str, Any], links: Sequence[Link]) -> str:
    """How the bond does: good, warn or bad."""
    if not session["up"]:
        return "bad"
    return "good" if all(link.state == "up" for link in links) else "warn"


def doing(link: Link, links: Sequence[Link], scheduler: str, role: str) -> str:
    """What a link does, and why: one sentence."""
    if link.state == "suspect":
        age = min((conv["hello_age_s"] or 0.0 for conv in link.raw), default=0.0)
        return f"Has not answered for {age:.0f} s; the other links carry its traffic"
    if link.state == "connecting":
        return f"Waits for the {'server' if role == 'client' else 'client'} to answer{_reason(link)}"
    if link.state != "up":
        return f"Out of the bond{_reason(link)}"
    down, up = sum(k.rx_bps for k in links), sum(k.tx_bps for k in links)
    own = link.rx_bps + link.tx_bps
    if down + up < _QUIET_BPS:
        return "Ready; there is nothing to carry"
    if own < _QUIET_BPS:
        pinned = scheduler == "consistent"
        return f"Ready; {'no flow is on it (a flow keeps to its link)' if pinned else 'carries nothing now'}"
    words = ("received", "sent") if role == "server" else ("download", "upload")
    shares = [
        f"{value / whole:.0%} of {'what is ' if role == 'server' else 'the '}{word}"
        for value, whole, word in ((link.rx_bps, down, words[0]), (link.tx_bps, up, words[1]))
        if whole >= _QUIET_BPS
    ]
    return f"Carries {' and '.join(shares) or bits(own)}"


def sentence(event: Mapping[str, Any]) -> str:
    """An event of the log as a sentence: its words, with the link's name in place of "link"."""
    text, name = str(event["text"]), event["facts"].get("link", "")
    if name and text.startswith("link "):
        return f"{name}{text[4:]}"
    return text[:1].upper() + text[1:] + (f" ({name})" if name else "")


def because(event: Mapping[str, Any]) -> str:
    """What is left to say of an event: its reason, then its other facts."""
    facts = dict(event["facts"])
    up = facts.pop("links_up", "")
    words = [facts.pop("why", "") or facts.pop("what", "")]
    if up:
        words.append(f"{up} link{'' if up == '1' else 's'} up")
    words += [
        f"{key.replace('_', ' ')} {value}" for key, value in facts.items() if key not in {"link", "session"}
    ]
    return ", ".join(filter(None, words))


def event_mood(event: Mapping[str, Any]) -> str:
    """How an event is marked: good, bad or plain."""
    if event["text"] in _GOOD:
        return "good"
    return "plain" if event["level"] == "info" else "bad"


def clock(at_s: float) -> str:
    """A moment (seconds since 1970) in the reader's clock."""
    return time.strftime("%H:%M:%S", time.localtime(at_s))


def milliseconds(value: float) -> str:
    """A round trip; it is not known before the first answer."""
    if value <= 0:
        return "-"
    return f"{value:.1f} ms" if value < 99.95 else f"{value:.0f} ms"


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %"


def _reason(link: Link) -> str:
    return f": {link.why}" if link.why else ""
