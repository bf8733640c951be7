"""From the picture to the lines of a screen: what is shown where, and how much of it fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.text import Text

from ratbond.status.text import bits, duration
from ratbond.status.top import detail, table
from ratbond.status.top.chart import Pen
from ratbond.status.top.picture import Link, Picture, natural
from ratbond.status.top.words import (
    because,
    clock,
    directions,
    doing,
    event_mood,
    mood,
    sentence,
    verdict,
)

SORTS: Final = ("name", "rate", "round trip", "loss")
_MARK: Final = {"good": "+", "bad": "!", "plain": "·"}
_WIDE: Final = 110  # columns from which both directions stand side by side
_TALL: Final = 30  # rows from which the totals are charts and not lines
_LABEL: Final = 27  # before a chart: what it is, and how much now
_LEAST_EVENTS: Final = 3


@dataclass(slots=True)
class Choices:
    """What the user has chosen with the keys."""

    sort: int = 0
    paused: bool = False
    help: bool = False
    opened: bool = False  # the details of the selected link
    inside: bool = False  # a server's client is entered: the arrows move among its links
    link: str = ""  # selected, by name
    session: int | None = None  # a server's client, selected
    colours: dict[tuple[int, str], int] = field(default_factory=dict)

    def colour(self, link: Link) -> str:
        """One that the link keeps for as long as the program runs."""
        key = (link.session, link.name)
        taken = sum(session == link.session for session, _ in self.colours)
        return table.COLOURS[self.colours.setdefault(key, taken % len(table.COLOURS))]


def current(picture: Picture, choices: Choices) -> Mapping[str, Any] | None:
    """The session that the screen is about: the chosen one, or the first that is up."""
    sessions = picture.status["sessions"] if picture.status else []
    for session in sessions:
        if session["id"] == choices.session:
            return session  # type: ignore[no-any-return]
    return next((s for s in sessions if s["up"]), sessions[0] if sessions else None)


def ordered(links: list[Link], sort: int) -> list[Link]:
    """Links in the order that was asked for."""
    keys = {
        "rate": lambda k: -(k.rx_bps + k.tx_bps),
        "round trip": lambda k: k.rtt_ms or float("inf"),
        "loss": lambda k: -k.loss,
    }
    key = keys.get(SORTS[sort])
    return sorted(links, key=key) if key else links


def ordered_sessions(sessions: Sequence[Mapping[str, Any]], sort: int) -> list[Mapping[str, Any]]:
    """A server's clients in the order that was asked for; what is not a client's figure sorts by name."""
    by_name = sorted(sessions, key=lambda s: natural(client_name(s)))
    if SORTS[sort] == "rate":
        return sorted(by_name, key=lambda s: -(s["rates"]["tx_bps"] + s["rates"]["rx_bps"]))
    return by_name


def client_name(session: Mapping[str, Any]) -> str:
    """A client's name where it has one, else where it comes from."""
    remote = session["links"][0]["remote"] if session["links"] else f"session {session['id']}"
    return str(session.get("client") or remote)


def screen(picture: Picture, choices: Choices, pen: Pen, width: int, height: int | None = None) -> list[Text]:
    """The whole screen, no line longer than ``width`` and no more of them than ``height``; None: all there is."""
    status = picture.status
    if status is None:
        return [Text(picture.lost or "Asking ratbond …")]
    lines = _header(status, picture, choices, width)
    session = current(picture, choices)
    if session is None:
        lines.append(Text("No client has connected yet", table.MOODS["warn"]))
    else:
        links = ordered(picture.links(session), choices.sort)
        selected = next((link for link in links if link.name == choices.link), None)
        room = None if height is None else height - len(lines) - 1
        if choices.help:
            lines += _help()
        elif choices.opened and selected:
            about = doing(selected, links, status["scheduler"], status["role"])
            lines += detail.show(
                picture, selected, choices.colour(selected), about, status["role"], pen, width, room
            )
        else:
            lines += _overview(picture, choices, session, links, pen, width, room)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    if height is None:
        return lines
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    return [*lines, _footer(choices, width)]


def _header(status: Mapping[str, Any], picture: Picture, choices: Choices, width: int) -> list[Text]:
    towards = (
        f"client of {status['address']}" if status["role"] == "client" else f"server at {status['address']}"
    )
    sealed = "not encrypted" if status["encryption"] == "none" else status["encryption"].partition(",")[0]
    words = [
        f"ratbond {status['version']}",
        towards,
        f"tunnel {status['tunnel_id']}",
        sealed,
        status["scheduler"],
    ]
    right = "PAUSED" if choices.paused else duration(status["uptime_s"])
    room = max(width - len(right) - 3, 0)
    while len(words) > 1 and len(" · ".join(words)) > room:
        words.pop()
    title = Text(f" {' · '.join(words)[:room].ljust(room)} {right} ", style="reverse bold")
    lines = [title]
    if picture.lost:
        lines.append(Text(f"No news: {picture.lost}; trying again", "bold red"))
    lines += [Text(f"! {warning}", "yellow") for warning in status["warnings"]]
    return lines


def _overview(
    picture: Picture, choices: Choices, session: Mapping[str, Any], links: list[Link], pen: Pen, width: int, room: int | None
) -> list[Text]:  # fmt: skip
    status = picture.status or {}
    is_client = status["role"] == "client"
    feeling = table.MOODS[mood(session, links)]
    lines = [] if is_client else _clients(picture, choices, session, width, room)
    lines.append(Text.assemble(("● ", feeling), (verdict(session, links, picture.events), f"bold {feeling}")))
    rows = _chart_rows(width, None if room is None else room - len(lines), len(links))
    lines += _totals(picture, choices, session, links, pen, width, rows)
    left = None if room is None else room - len(lines) - _LEAST_EVENTS
    lines += _links(picture, choices, links, pen, width, left)
    lines += _events(picture, None if room is None else room - len(lines) - 1)
    return lines


def _chart_rows(width: int, room: int | None, links: int) -> int:
    """How high the totals' charts are: what the rest does not need; one line each on a small screen."""
    if room is None or room < _TALL - 2:
        return 1
    spare = room - 2 * links - 10
    return max(1, min(8, spare // 2 if width >= _WIDE else spare // 3))


def _totals(
    picture: Picture, choices: Choices, session: Mapping[str, Any], links: list[Link], pen: Pen, width: int, rows: int
) -> list[Text]:  # fmt: skip
    beside = width >= _WIDE
    each = (width - 2) // 2 if beside else width
    by_name = sorted(links, key=lambda link: natural(link.name))
    blocks = []
    for arrow, (figure, name) in zip("↓↑", directions(str((picture.status or {})["role"])), strict=True):
        now = sum(getattr(link, figure) for link in links)
        chart_width = each - _LABEL
        past = picture.total(session["id"], figure)[-chart_width:]
        most = max((value or 0.0 for value in past), default=0.0)
        layers = [(picture.column(session["id"], k.name, figure), choices.colour(k)) for k in by_name]
        chart = pen.stack(layers, chart_width, rows, max(most, 100_000))
        labels = [(f"{arrow} {name}", "bold"), (f"{bits(now)}", "bold"), (f"peak {bits(most)}", "dim")]
        labels += [("", "")] * (rows - len(labels))
        if rows == 1:
            labels = [(f"{arrow} {name:<11} {bits(now):>12}", "bold")]
        blocks.append(
            [
                Text(text.ljust(_LABEL), style) + line
                for (text, style), line in zip(labels, chart, strict=True)
            ]
        )
    if not beside:
        return [line for block in blocks for line in block]
    return [left + Text("  ") + right for left, right in zip(*blocks, strict=True)]


def _links(
    picture: Picture, choices: Choices, links: list[Link], pen: Pen, width: int, room: int | None
) -> list[Text]:
    if not links:
        return [Text("There is no link", "yellow")]
    status = picture.status or {}
    role = str(status["role"])
    name_width = min(max(len(link.name) for link in links) + 2, max(width - 62, 10))
    columns = table.fit(table.link_columns(role), width - name_width)
    lines = [Text(), table.head("  LINK", name_width, columns)]
    each = 2 if room is None or room >= 2 * len(links) + len(lines) else 1
    shown = links if room is None else _window(links, choices.link, max((room - len(lines)) // each, 1))
    most = {f: _most(picture, links, f, width // 2) for f in ("rx_bps", "tx_bps")}
    for link in shown:
        name = Text.assemble(
            ("> " if link.name == choices.link else "  "), (link.name, f"bold {choices.colour(link)}")
        )
        lines.append(table.line(name, name_width, columns, link))
        if each == 2:
            about = doing(link, links, status["scheduler"], role)
            lines.append(_under(picture, choices, link, about, pen, width, most))
    if len(shown) < len(links):
        lines[0] = Text(f"{len(shown)} of {len(links)} links; the arrows move", "dim")
    return lines


def _under(
    picture: Picture, choices: Choices, link: Link, about: str, pen: Pen, width: int, most: Mapping[str, float]
) -> Text:  # fmt: skip
    """The line below a link: its recent past where it works, else why it does not."""
    if link.state != "up":
        return Text(f"    {about}", table.MOODS["warn"])
    each = (width - 8) // 2
    under = Text()
    for arrow, (figure, _) in zip("↓↑", directions(str((picture.status or {})["role"])), strict=True):
        values = picture.column(link.session, link.name, figure)
        under.append(f"  {arrow} ", "dim")
        under.append_text(pen.spark(values, each, max(most[figure], 100_000), choices.colour(link)))
    return under


def _clients(
    picture: Picture, choices: Choices, session: Mapping[str, Any], width: int, room: int | None
) -> list[Text]:
    status = picture.status or {}
    sessions = ordered_sessions(status["sessions"], choices.sort)
    up = sum(s["up"] for s in sessions)
    known = len(status.get("clients", ())) or len(sessions)
    name_width = min(max(len(client_name(s)) for s in sessions) + 2, max(width - 56, 12))
    columns: list[table.Column[Mapping[str, Any]]] = table.fit(
        (
            table.Column("STATE", 6, lambda s: "up" if s["up"] else "down", lambda s: "green" if s["up"] else "red", left=True),
            table.Column("LINKS", 6, lambda s: f"{sum(k['state'] == 'up' for k in s['links'])}/{len(s['links'])}"),
            table.Column("TO IT", 12, lambda s: bits(s["rates"]["tx_bps"])),
            table.Column("FROM IT", 12, lambda s: bits(s["rates"]["rx_bps"])),
            table.Column("UP FOR", 12, lambda s: duration(s["uptime_s"]) if s["up"] else "-"),
        ),
        width - name_width,
    )  # fmt: skip
    most = len(sessions) if room is None else max(min(len(sessions), room // 3), 1)
    names = [client_name(s) for s in sessions]
    lines = [
        Text(f"{up} of {known} client{'' if known == 1 else 's'} connected", "bold"),
        table.head("  CLIENT", name_width, columns),
    ]
    shown = _window(list(zip(names, sessions, strict=True)), client_name(session), most, key=0)
    for name, s in shown:
        chosen = s["id"] == session["id"]
        mark = "  " if not chosen else "- " if choices.inside else "> "
        lines.append(table.line(Text(f"{mark}{name}", "bold" if chosen else ""), name_width, columns, s))
    return [*lines, Text()]


def _events(picture: Picture, room: int | None) -> list[Text]:
    count = 10 if room is None else room
    if count < 1:
        return []
    lines = [Text(), Text("EVENTS", "bold")] if count > _LEAST_EVENTS else []
    for event in list(reversed(picture.events))[: count - len(lines) + 1]:
        how = event_mood(event)
        why = because(event)
        lines.append(
            Text.assemble(
                (f"{clock(event['at_s'])} ", "dim"), (f"{_MARK[how]} {sentence(event)}", table.MOODS[how]),
                (f": {why}" if why else "", ""),
            )
        )  # fmt: skip
    return lines


def _footer(choices: Choices, width: int) -> Text:
    keys = [
        ("q", "quit"),
        ("p", "go on" if choices.paused else "pause"),
        ("s", f"sort: {SORTS[choices.sort]}"),
    ]
    keys += [("↑↓", "select"), ("Enter", "details")] if not choices.opened else [("Esc", "back")]
    line = Text()
    for key, word in [*keys, ("?", "help")]:
        line.append(f" {key} ", "reverse")
        line.append(f" {word}  ")
    line.truncate(width, overflow="ellipsis")
    return line


def _help() -> list[Text]:
    return [
        Text(line)
        for line in (
            "",
            "q         quit",
            "p, space  hold the picture; the stream goes on",
            "s         next order: name, rate, round trip, loss",
            "↑ ↓, j k  select a link; at a server: a client",
            "Enter     the link's details; at a server first the client's links",
            "Esc       back",
            "",
            "Directions are this end's: what a client receives is its download; a server",
            "says to and from the client. In sparklines a column is a second; those of all",
            "links have one scale. AGAIN/s: what had to be sent again, each second. QUEUE:",
            "what waits here for the link. LOSS: share sent again in the last few seconds.",
        )
    ]


def _most(picture: Picture, links: Sequence[Link], figure: str, last: int) -> float:
    past = (picture.column(link.session, link.name, figure)[-last:] for link in links)
    return max((value or 0.0 for column in past for value in column), default=0.0)


def _window(rows: list[Any], selected: str, size: int, key: int | None = None) -> list[Any]:
    """As many rows as fit, the selected one among them."""
    names = [row.name if key is None else row[key] for row in rows]
    at = names.index(selected) if selected in names else 0
    first = max(0, min(at - size // 2, len(rows) - size))
    return rows[first : first + size]
