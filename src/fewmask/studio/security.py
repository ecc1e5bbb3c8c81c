"""Who may speak to the studio: this machine's browser with the token, and pages of the studio itself."""

import hmac
import ipaddress
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fewmask.errors import ConfigError

LARGEST_BODY = 48 << 20
"""Bytes of a request; a picture of the largest size a browser sends, and a mask."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def new_token() -> str:
    """Long enough that nobody guesses it."""
    return secrets.token_urlsafe(32)


def check_address(host: str, token: str | None) -> None:
    """Refuse to be seen from other machines unless a token of one's own is given.

    Raises:
        ConfigError: ``host`` is not this machine alone and there is no token, or a short one.
    """
    if host in LOOPBACK:
        return
    if token is None:
        raise ConfigError(f"--host {host} lets other machines in; give --token, at least 16 characters, as well")
    if len(token) < 16:
        raise ConfigError("--token is too short to keep others out; give at least 16 characters")


class Gate:
    """Lets through what comes from the studio's own page, and nothing else.

    Every request must name a host of ours (a foreign name that resolves here is refused: DNS rebinding) and carry the
    token's cookie, which only a visit to ``/?token=...`` sets. What changes anything must come from a page of this very
    origin and be JSON or a picture, which no foreign form can send.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        """``hosts`` are names besides addresses and this machine's own, e.g. of ``--host``."""
        self._app, self._token, self._hosts = app, token, {*LOOPBACK, *hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is None:
            await self._app(scope, _bounded(receive), _with_headers(send))
        else:
            await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _refused(403, "this host is not the studio's; use the address it printed")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and scope["method"] == "GET" and given:
            if not self._matches(given[0]):
                return _refused(403, "wrong token; use the address that the studio printed at its start")
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie_name(host), self._token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._matches(_cookie(headers, cookie_name(host))):
            return _refused(401, "no token; open the address that the studio printed at its start")
        if scope["method"] in ("GET", "HEAD"):
            return None
        return self._refusal_of_write(headers, host)

    def _refusal_of_write(self, headers: Headers, host: str) -> Response | None:
        if headers.get("origin") not in (f"http://{host}", f"https://{host}"):
            return _refused(403, "the request does not come from a page of the studio")
        if headers.get("content-type", "").partition(";")[0].strip() not in ("application/json", "image/png"):
            return _refused(415, "only JSON and PNG are taken")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > LARGEST_BODY:
            return _refused(413, f"more than {LARGEST_BODY >> 20} MiB are not taken")
        return None

    def _is_ours(self, host: str) -> bool:
        """Names are ours if we know them; addresses cannot be rebound."""
        name = urlsplit(f"//{host}").hostname if host else None
        if name is None:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self._hosts <= set(LOOPBACK)  # only where other machines were let in

    def _matches(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())


def cookie_name(host: str) -> str:
    """Cookies do not tell ports apart, so that two studios need two names."""
    return f"fewmask-studio-{host.rpartition(':')[2] if ':' in host else '80'}"


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _bounded(receive: Receive) -> Receive:
    """A body that says no length, or a false one, ends at the limit all the same."""
    seen = 0

    async def receiving() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LARGEST_BODY:
            return {"type": "http.disconnect"}
        return message

    return receiving
