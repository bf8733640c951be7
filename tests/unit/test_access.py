"""Who gets to see the status."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from ratbond.errors import UsageError
from ratbond.status.access import Access, is_public
from ratbond.status.app import make_app
from ratbond.status.feed import Feed

from .test_status_http import STATUS

PUBLIC = "8.8.8.8"
TOKEN = "correcthorsebattery"
PAGES = ("/", "/status", "/status.txt", "/events", "/metrics", "/healthz", "/main.js", "/nothing")


def fetch(
    path: str, source: str = "192.168.1.7", token: str | None = TOKEN, headers: dict[str, str] | None = None
) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(lambda: STATUS, Feed(), Access(token)), client=(source, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://ratbond") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


@pytest.mark.parametrize("source", [PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "testclient"])
@pytest.mark.parametrize("path", PAGES)
def test_a_public_address_is_refused_with_the_reason(source: str, path: str) -> None:
    for token in (None, TOKEN):
        response = fetch(path, source, token)
        assert response.status_code == 403
        assert source in response.text
        assert "private" in response.text
        assert "wan1" not in response.text
        assert ("token" in response.text) == (token is not None)


@pytest.mark.parametrize(
    "source", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "fe80::1%eth0", "fd00::1"]
)
def test_a_private_address_is_not(source: str) -> None:
    assert not is_public(source)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_proxy_on_a_private_address_lets_nobody_in(header: str) -> None:
    response = fetch("/status", "127.0.0.1", None, {header: "for=8.8.8.8"})
    assert response.status_code == 403
    assert "proxy" in response.text


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN}"}]
)
def test_a_program_shows_the_token_as_a_bearer(headers: dict[str, str]) -> None:
    assert fetch("/metrics", PUBLIC, headers=headers).status_code == 200


def test_a_person_shows_it_once_and_keeps_a_cookie_that_is_not_the_token() -> None:
    first = fetch(f"/?token={TOKEN}", PUBLIC)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    pair = cookie.partition(";")[0]
    assert fetch("/status", PUBLIC, headers={"Cookie": f"other=1; {pair}"}).status_code == 200
    assert fetch("/status", PUBLIC, "anothertokenaltogether", {"Cookie": pair}).status_code == 403
    assert fetch("/status", PUBLIC, None, {"Cookie": pair}).status_code == 403


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/status?token=wrong", {}), ("/status?token=", {}), (f"/status?token={TOKEN}x", {}), ("/status?token=ü%ff", {}),
        ("/status", {"Authorization": "Bearer wrong"}), ("/status", {"Authorization": TOKEN}),
        ("/status", {"Authorization": f"Basic {TOKEN}"}), ("/status", {"Cookie": "ratbond="}),
        ("/status", {"Cookie": f"ratbond={TOKEN}"}), ("/status", {"Cookie": 'ratbond="\\\\; ;;=,'}),
    ],
)  # fmt: skip
def test_a_wrong_token_is_none(path: str, headers: dict[str, str]) -> None:
    assert fetch(path, PUBLIC, headers=headers).status_code == 403
    assert fetch(path, PUBLIC, None, headers).status_code == 403


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/events"])  # a stream has no end
def test_no_answer_lets_a_page_load_or_run_anything_from_elsewhere(path: str) -> None:
    for source in ("127.0.0.1", PUBLIC):
        headers = fetch(path, source).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_a_file_beside_the_pages_is_not_served() -> None:
    for path in ("/../model.py", "/%2e%2e/model.py", "/..%2fmodel.py", "//etc/passwd"):
        assert fetch(path).status_code == 404


def test_a_token_is_read_from_a_private_file_and_must_be_long() -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from ratbond.config import ServerConfig, merge

    with TemporaryDirectory() as directory:
        file = Path(directory) / "token"
        config = merge(ServerConfig, {"http_token_file": file}, {})
        for mode, text, told in (
            (0o644, TOKEN, "chmod 600"),
            (0o600, "short", "at least 16"),
            (0o600, "with spaces in between", "letters and digits"),
        ):
            file.write_text(text)
            file.chmod(mode)
            with pytest.raises(UsageError, match=told) as error:
                config.http_token()
            assert "--http-token-file" in str(error.value)
            assert text not in str(error.value)
        file.write_text(f"{TOKEN}\n")
        assert config.http_token() == TOKEN
