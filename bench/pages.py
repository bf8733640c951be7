"""Pages of docs/ that people and a benchmark write together: figures stand between two markers, words around them."""

from __future__ import annotations

_END = "<!-- end of figures -->"


def insert(page: str, figures: str, command: str) -> str:
    """Put what `command` has written between the page's markers; a page without a word in it gets them.

    Raises:
        ValueError: the page has words, and no markers.
    """
    begin = f"<!-- figures: written by {command} -->"
    if not page.strip():
        page = f"{begin}\n{_END}\n"
    head, found, rest = page.partition(begin)
    _, end, tail = rest.partition(_END)
    if not found or not end:
        raise ValueError(f"the page lacks '{begin}' or '{_END}'")
    return f"{head}{begin}\n\n{figures}\n{_END}{tail}"
