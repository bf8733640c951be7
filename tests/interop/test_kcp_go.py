"""Our KCP against kcp-go v5, over loopback; losses are the peer's own, by its seed.

kcppeer dial  <-- UDP, -loss P in each direction -->  kcp_echo
"""

from typing import Any

import pytest

from .conftest import Dial, Server

FEC = ("-data", "10", "-parity", "3")
WRONG_KEY_PATIENCE = "2s"


def assert_all_came_back(report: dict[str, Any]) -> None:
    assert report["came_back"] == report["sent"] > 0
    assert report["wrong"] == 0


@pytest.mark.parametrize("loss", ["0", "0.1", "0.3"])
@pytest.mark.parametrize(("ours", "theirs"), [((), ()), (("--aes", "s"), ("-crypt", "aes", "-secret", "s"))])
def test_a_stream_comes_back_whole(
    echo: Server, dial: Dial, loss: str, ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    report = dial(echo(*ours), "-count", "1000", "-loss", loss, *theirs)
    assert_all_came_back(report)
    assert (report["datagrams_lost"] > 0) == (loss != "0")


@pytest.mark.parametrize("loss", ["0", "0.1"])
@pytest.mark.parametrize("size", ["1", "40", "1336"])
def test_messages_keep_their_boundaries(echo: Server, dial: Dial, size: str, loss: str) -> None:
    report = dial(echo("--message"), "-stream=false", "-count", "1000", "-size", size, "-loss", loss)
    assert_all_came_back(report)


@pytest.mark.parametrize("loss", ["0", "0.1"])
def test_a_peer_that_sends_forward_error_correction_is_read(echo: Server, dial: Dial, loss: str) -> None:
    assert_all_came_back(dial(echo(), "-count", "1000", "-loss", loss, *FEC))


def test_small_windows_stop_nobody(echo: Server, dial: Dial) -> None:
    report = dial(echo(), "-count", "1000", "-sndwnd", "8", "-rcvwnd", "8", "-loss", "0.1", "-timeout", "60s")
    assert_all_came_back(report)


def test_a_congestion_window_and_slow_intervals_stop_nobody(echo: Server, dial: Dial) -> None:
    report = dial(echo(), "-count", "500", "-nodelay", "0", "-interval", "40", "-resend", "0", "-nc", "0")
    assert_all_came_back(report)


def test_a_second_conversation_replaces_the_first(echo: Server, dial: Dial) -> None:
    address = echo()
    assert_all_came_back(dial(address, "-count", "100", "-conv", "660"))
    assert_all_came_back(dial(address, "-count", "100", "-conv", "661"))
    assert_all_came_back(dial(address, "-count", "100", "-conv", "660"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("--aes", "right"), ("-crypt", "aes", "-secret", "wrong")),
        (("--aes", "right"), ()),
        ((), ("-crypt", "aes", "-secret", "wrong")),
        ((), ("-crypt", "nil")),
    ],
    ids=["another secret", "plain to a secret", "a secret to plain", "no header"],
)
def test_the_wrong_key_gets_no_answer_and_does_no_harm(
    echo: Server, dial: Dial, ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    address = echo(*ours)
    report = dial(address, "-count", "10", "-timeout", WRONG_KEY_PATIENCE, *theirs)
    assert report["came_back"] == 0

    right = ("-crypt", "aes", "-secret", "right") if ours else ()
    assert_all_came_back(dial(address, "-count", "10", *right))
