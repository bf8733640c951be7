"""What a benchmark writes into a page of docs/, and what it leaves alone."""

import pages
import pytest


def test_only_what_stands_between_the_markers_is_written() -> None:
    begin, end = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
    once = pages.insert(f"before\n{begin}\nold\n{end}\nafter\n", "new\n", "make bench")
    assert once == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"
    assert pages.insert(once, "new\n", "make bench") == once


def test_a_page_that_is_not_there_yet_gets_its_markers() -> None:
    assert pages.insert("", "new", "make bench") == (
        "<!-- figures: written by make bench -->\n\nnew\n<!-- end of figures -->\n"
    )


def test_a_page_with_words_and_no_markers_keeps_them() -> None:
    with pytest.raises(ValueError, match="lacks"):
        pages.insert("somebody's words", "new", "make bench")
