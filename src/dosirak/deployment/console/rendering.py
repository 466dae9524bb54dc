"""Templates to answers: everything escaped, and a content policy that runs no script but ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dosirak.deployment.console import figures
from dosirak.deployment.console.assets import asset_url
from dosirak.deployment.console.sessions import session_name

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

_SHORT = 72


@cache
def environment() -> Environment:
    """Return the templates."""
    made = Environment(
        loader=PackageLoader("dosirak.deployment.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": _ago,
        "rate": figures.rate_text,
        "milliseconds": figures.milliseconds_text,
        "size": figures.size_text,
        "pretty": _pretty,
        "asset": asset_url,
    }
    return made


def page(
    request: Request, template: str, shown: Mapping[str, Any], *, status_code: int = 200
) -> Response:
    """Render a page or a part of one."""
    headers = request.headers
    values = {
        "path": request.scope["path"],
        "has_session": bool(session_name(request.scope["scheme"], headers.get("cookie", ""))),
        **shown,
    }
    return Response(
        environment().get_template(template).render(values),
        status_code=status_code,
        media_type="text/html; charset=utf-8",
        headers={"content-security-policy": POLICY, "vary": "hx-request"},
    )


def _ago(at: datetime) -> Markup:
    """Write a time that the page goes on writing as time passes."""
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), figures.moment_text(at), figures.ago_text(at, datetime.now(UTC))
    )


def _pretty(value: Any) -> str:
    short = json.dumps(value, ensure_ascii=False, default=_plain)
    if len(short) <= _SHORT:
        return short
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
