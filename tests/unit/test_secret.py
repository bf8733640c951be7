"""The shared secret: keys as they are, passphrases stretched as docs/wire.md says."""

from __future__ import annotations

from ratbond.secret import generate, is_key, link_key


def test_a_generated_key_is_a_key_and_never_the_same() -> None:
    first, second = generate(), generate()
    assert is_key(first)
    assert first != second
    assert link_key(first) == first


def test_a_key_may_be_in_capitals() -> None:
    assert link_key("AB" * 32) == "ab" * 32


def test_a_passphrase_is_stretched_to_a_key_that_is_always_the_same() -> None:
    key = link_key("correct horse battery staple")
    assert is_key(key)
    assert key == link_key("correct horse battery staple") != link_key("correct horse battery stapler")
    assert not is_key("correct horse battery staple")
