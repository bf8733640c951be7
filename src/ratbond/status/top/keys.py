"""What a key does: pure changes of :class:`Choices`. Reading the keyboard is the terminal's."""

from __future__ import annotations

from typing import Final

from ratbond.status.top.picture import Picture
from ratbond.status.top.view import SORTS, Choices, current, ordered, ordered_sessions

_NAMED: Final = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down", "\r": "enter",
    "\n": "enter", "\x1b[C": "enter", "\x1bOC": "enter", "\x1b": "back", "\x7f": "back", "\x1b[D": "back", "\x1bOD": "back", " ": "p",
    "\x03": "q", "\x04": "q", "Q": "q", "h": "?",
}  # fmt: skip


def split(typed: str) -> list[str]:
    """The keys in what a terminal sent at once: an arrow is three characters long."""
    keys, rest = [], typed
    while rest:
        size = 3 if rest[:2] in {"\x1b[", "\x1bO"} else 1
        keys.append(rest[:size])
        rest = rest[size:]
    return [_NAMED.get(key, key) for key in keys]


def press(key: str, choices: Choices, picture: Picture) -> bool:
    """Does what the key says; False when the program is to end."""
    match key:
        case "q":
            return False
        case "p":
            choices.paused = not choices.paused
        case "s":
            choices.sort = (choices.sort + 1) % len(SORTS)
        case "?":
            choices.help = not choices.help
        case "up" | "down":
            _move(1 if key == "down" else -1, choices, picture)
        case "enter":
            _enter(choices, picture)
        case "back":
            _back(choices)
    return True


def _at_clients(choices: Choices, picture: Picture) -> bool:
    """Whether the arrows move among a server's clients."""
    return picture.status is not None and picture.status["role"] == "server" and not choices.inside


def _move(step: int, choices: Choices, picture: Picture) -> None:
    session = current(picture, choices)
    if session is None or picture.status is None:
        return
    if _at_clients(choices, picture):
        numbers = [s["id"] for s in ordered_sessions(picture.status["sessions"], choices.sort)]
        choices.session = numbers[(numbers.index(session["id"]) + step) % len(numbers)]
        return
    names = [link.name for link in ordered(picture.links(session), choices.sort)]
    if names:
        at = names.index(choices.link) + step if choices.link in names else 0 if step > 0 else -1
        choices.link = names[at % len(names)]


def _enter(choices: Choices, picture: Picture) -> None:
    session = current(picture, choices)
    if session is None:
        return
    names = [link.name for link in ordered(picture.links(session), choices.sort)]
    if choices.link not in names and names:
        choices.link = names[0]
    if _at_clients(choices, picture):
        choices.session, choices.inside = session["id"], True
    else:
        choices.opened = True


def _back(choices: Choices) -> None:
    if choices.help:
        choices.help = False
    elif choices.opened:
        choices.opened = False
    elif choices.inside:
        choices.inside, choices.link = False, ""
    else:
        choices.link = ""
