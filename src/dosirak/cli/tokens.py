"""`dosirak tokens`: who may ask the platform, or call a deployment that wants tokens."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.options import output_option
from dosirak.cli.render import Column, OutputFormat


def _moment_or_never(at: Any) -> str:
    return render.moment(at) if at else "never"


_COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("scopes", "SCOPES", ", ".join),
    Column("state", "STATE"),
    Column("created_at", "MADE", render.moment),
    Column("expires_at", "EXPIRES", _moment_or_never),
    Column("last_used_at", "USED", _moment_or_never),
)


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"]:
        return "revoked"
    expires_at = row["expires_at"] and datetime.fromisoformat(row["expires_at"])
    return "expired" if expires_at and expires_at <= datetime.now(UTC) else "valid"


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Duration(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - since click 8.5
    """A time such as `90s`, `12h`, `30d`, in seconds; None for `never`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Read the number and its unit."""
        if isinstance(value, float):
            return value
        if value == "never":
            return None
        found = re.fullmatch(r"(\d+)([smhdw])", str(value).strip(), re.ASCII)
        if found is None or int(found.group(1)) == 0:
            self.fail(f"{value!r} is not a time such as 90s, 12h or 30d, nor never.", param, ctx)
        return float(int(found.group(1)) * _UNITS_S[found.group(2)])


@click.group("tokens")
def command() -> None:
    """Create and revoke tokens of the platform."""


@command.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="What it allows: infer:NAME, deploy:read:NAME, deploy:write:NAME (* for every deployment),"
    " secrets:write, audit:read, admin. May be repeated.",
)
@click.option(
    "--expires-in", type=Duration(), default="90d", show_default=True, help="12h, 30d, or never."
)
@output_option
def create_token(
    name: str, scopes: tuple[str, ...], expires_in: float | None, output_format: OutputFormat
) -> None:
    """Create a token. It is shown this once; only its hash is kept."""
    body = {"name": name, "scopes": list(scopes), "expires_in_s": expires_in}
    with deployment.connect() as client:
        made = client.ask("POST", "/tokens", body)
    if output_format != "table":
        render.record(made, output_format)
        return
    render.line(made["token"])
    render.note(f"Token {made['id']} ({name}). Keep it now: it is not shown again.")


@command.command("list")
@output_option
def list_tokens(output_format: OutputFormat) -> None:
    """List the tokens, without their text."""
    with deployment.connect(start=False) as client:
        rows = client.ask("GET", "/tokens")
    for row in rows:
        row["state"] = _state(row)
    render.records(rows, _COLUMNS, output_format, empty="No tokens.")


@command.command("revoke")
@click.argument("token", metavar="ID_OR_NAME")
def revoke_token(token: str) -> None:
    """Revoke a token by its id or its name; whoever holds it is refused from now on."""
    with deployment.connect() as client:
        revoked = client.ask("DELETE", f"/tokens/{token}")
    if revoked["already"]:
        render.note(f"{revoked['id']} ({revoked['name']}) was revoked already.")
        return
    render.success(f"Revoked {revoked['id']} ({revoked['name']}).")
