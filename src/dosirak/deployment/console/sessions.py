"""Sessions of people in a browser: a cookie that stands for the token they came with.

    POST /login {token} ─▶ session in memory ─▶ cookie ─▶ each request: cookie → Authorization
                                             └▶ key ─▶ each change: the header of our own holds it

A browser sends a cookie to every port of a host, so a deployment that is opened beside the console
may see it. The key stays with the console's origin: a cookie alone changes nothing.

The token itself is asked about at every request, so one that is revoked or expires ends its
sessions at once. Nothing is written down: a restart of the control plane asks for the token again.
A session ends an hour after the last page that was opened, and 12 hours after it began.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dosirak.deployment.api.guard import OWN_HEADER, error_answer, request_id_of
from dosirak.errors import Forbidden

IDLE_S = 3600.0
LONGEST_S = 12 * 3600.0
_MOST_SESSIONS = 1000
_COOKIE = "dosirak-console"
# What pages ask for by themselves does not keep a session that nobody uses.
_BY_ITSELF = ("/fragments/", "/live", "/traffic")
# Whoever has lost a key must be able to come in anew.
_DOORS = ("/login", "/logout")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Session:
    """One person's way in.

    Attributes:
        key: what the page's own scripts send along with a change.
        used_at: when a person last did something.
    """

    token: str
    key: str
    began_at: float
    used_at: float


class Sessions:
    """The sessions of one control plane.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def begin(self, token: str) -> tuple[str, str]:
        """Begin a session for the holder of a token; return what its cookie holds, and its key."""
        name, key, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._drop_ended(now)
            if len(self._sessions) >= _MOST_SESSIONS:
                oldest = min(self._sessions, key=lambda key: self._sessions[key].used_at)
                del self._sessions[oldest]
            self._sessions[_digest(name)] = Session(token, key, now, now)
        return name, key

    def find(self, name: str, *, used: bool) -> Session | None:
        """Return a session that goes on; `used` says that a person did something."""
        key, now = _digest(name), self._clock()
        with self._lock:
            self._drop_ended(now)
            session = self._sessions.get(key)
            if session is not None and used:
                self._sessions[key] = replace(session, used_at=now)
        return session

    def end(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(name), None)

    def _drop_ended(self, now: float) -> None:
        self._sessions = {
            key: session
            for key, session in self._sessions.items()
            if now - session.used_at < IDLE_S and now - session.began_at < LONGEST_S
        }


class SessionDoor:
    """Lets a request with the cookie of a session pass as one with its token."""

    def __init__(self, application: ASGIApp, sessions: Sessions) -> None:
        self._application = application
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session = self._session_of(scope, headers)
        if session is not None:
            if scope["method"] not in _SAFE_METHODS and not _means_it(session, headers):
                await _unmeant(request_id_of(scope))(scope, receive, send)
                return
            bearer = (b"authorization", f"Bearer {session.token}".encode())
            scope = {**scope, "headers": [*scope["headers"], bearer]}
        await self._application(scope, receive, send)

    def _session_of(self, scope: Scope, headers: Headers) -> Session | None:
        if "authorization" in headers or scope["path"] in _DOORS:
            return None
        name = session_name(scope["scheme"], headers.get("cookie", ""))
        used = not str(scope["path"]).startswith(_BY_ITSELF)
        return self._sessions.find(name, used=used) if name else None


def session_name(scheme: str, cookies: str) -> str:
    """Return what the cookie of a session holds; empty when there is none."""
    try:
        found = SimpleCookie(cookies).get(cookie_name(scheme))
    except CookieError:
        return ""
    return found.value if found else ""


def cookie_name(scheme: str) -> str:
    """Return the cookie's name: browsers hold `__Host-` to TLS, the whole host and no domain."""
    return f"__Host-{_COOKIE}" if scheme == "https" else _COOKIE


def cookie_text(scheme: str, name: str) -> str:
    """Return the header that sets a session's cookie; an empty name takes it away."""
    parts = [f"{cookie_name(scheme)}={name}", "Path=/", "HttpOnly", "SameSite=Strict"]
    parts.append(f"Max-Age={LONGEST_S:.0f}" if name else "Max-Age=0")
    return "; ".join([*parts, "Secure"] if scheme == "https" else parts)


def _means_it(session: Session, headers: Headers) -> bool:
    said = headers.get(OWN_HEADER, "").encode("utf-8", "replace")
    return secrets.compare_digest(said, session.key.encode())


def _unmeant(request_id: str) -> ASGIApp:
    return error_answer(
        Forbidden(
            f"A session changes something with its key in {OWN_HEADER} alone.",
            remedy="Log in again, or send a token: Authorization: Bearer <token>.",
        ),
        request_id,
    )


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
