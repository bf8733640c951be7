"""The status server's pages. Imported when somebody asks for the first time: an idle tunnel does not pay for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ratbond.status.access import COOKIE, Access, Asked
from ratbond.status.feed import MAX_FOLLOWERS, Feed, message
from ratbond.status.model import Status
from ratbond.status.text import render

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ratbond.status.metrics import Exporter

WEB: Final = Path(__file__).parent / "web"
_COOKIE_AGE_S: Final = 365 * 86_400
_HEADERS: Final = {
    # The page takes nothing from anywhere but here, and runs nothing that stands in the page itself.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def make_app(status: Callable[[], Status], feed: Feed, access: Access) -> ASGIApp:
    """The dashboard at ``/``, ``/status``, ``/status.txt``, ``/events``, ``/metrics``, ``/healthz``."""

    async def as_json(_: Request) -> Response:
        return JSONResponse(status().to_json())

    async def as_text(_: Request) -> Response:
        return PlainTextResponse(render(status().to_json()))

    async def healthz(_: Request) -> Response:
        up, words = health(status())
        return PlainTextResponse(words + "\n", status_code=200 if up else 503)

    async def events(_: Request) -> Response:
        if feed.followers >= MAX_FOLLOWERS:
            return PlainTextResponse(f"503: {MAX_FOLLOWERS} others are watching already\n", status_code=503)
        return StreamingResponse(_stream(feed), media_type="text/event-stream")

    exporter: list[Exporter] = []

    async def metrics(request: Request) -> Response:
        if not exporter:
            from ratbond.status.metrics import Exporter

            exporter.append(Exporter(status))
        body, content_type = exporter[0].scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    pages = Starlette(
        routes=[
            Route("/status", as_json),
            Route("/status.txt", as_text),
            Route("/events", events),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Mount("/", StaticFiles(directory=WEB, html=True)),
        ]
    )
    return _Guard(pages, access)


def health(status: Status) -> tuple[bool, str]:
    """Whether this end does its work, and why not: a client has a bond; a server answers, whoever is connected."""
    if status.role == "server":
        return True, "ok: listening"
    links = [link for session in status.sessions for link in session.links]
    up = sum(link.state == "up" for link in links)
    if any(session.up for session in status.sessions):
        return True, f"ok: {up} of {len(links)} links up"
    return False, "down: no link is up"


async def _stream(feed: Feed) -> AsyncIterator[str]:
    async with aclosing(feed.follow()) as following:
        async for name, data in following:
            yield message(name, data)


class _Guard:
    """Asks :class:`Access` about every request, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(event: Message) -> None:
            if event["type"] == "http.response.start":
                MutableHeaders(scope=event).update(_HEADERS)
            await send(event)

        await self._answer(scope)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> ASGIApp:
        request = Request(scope)
        asked = Asked(
            source=request.client.host if request.client else "",
            headers=_joined(request.headers),
            token=request.query_params.get("token"),
        )
        refusal = self._access.refusal(asked)
        if refusal:
            return PlainTextResponse(refusal, status_code=403)
        if request.url.path == "/" and asked.token is not None and self._access.knows_token(asked):
            # The token leaves the address bar, where others would see it; the cookie stays.
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(
                COOKIE, self._access.cookie, max_age=_COOKIE_AGE_S, httponly=True, samesite="lax",
                secure=request.url.scheme == "https",
            )  # fmt: skip
            return answer
        return self._app


def _joined(headers: Headers) -> dict[str, str]:
    return {name: ", ".join(headers.getlist(name)) for name in headers}
