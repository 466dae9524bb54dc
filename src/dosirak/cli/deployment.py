"""`dosirak deployment`: what is deployed, and everything that can be asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.deployment_options import (
    agreed,
    file_option,
    interruptible,
    note_option,
    over,
    read_file,
    setting_options,
    settings_of,
    tell_build,
    timeout_option,
    wait_for,
    wait_option,
)
from dosirak.cli.options import WholeNumber, confirm, output_option, yes_option
from dosirak.cli.references import completes
from dosirak.cli.render import Column, OutputFormat
from dosirak.errors import DeploymentConflict, DeploymentNotFound, UsageError

if TYPE_CHECKING:
    from dosirak.deployment import Deployment, PlatformClient
    from dosirak.deployment.views import DeploymentView

_NONE = "No deployments. Make one with `dosirak deploy --name NAME`."
_COLUMNS = (
    Column("name", "NAME"),
    Column("status", "STATUS"),
    Column("bundle", "BUNDLE"),
    Column("revision", "REVISION"),
    Column("replicas", "REPLICAS"),
    Column("traffic", "TRAFFIC"),
    Column("url", "URL"),
)
_REVISIONS = (
    Column("number", "REVISION"),
    Column("bundle", "BUNDLE"),
    Column("weight_percent", "WEIGHT", "{} %".format),
    Column("state", "STATE"),
    Column("created_at", "MADE", render.moment),
    Column("created_by", "BY"),
    Column("note", "NOTE"),
)
_EVENTS = (
    Column("at", "WHEN", render.moment),
    Column("kind", "WHAT"),
    Column("message", "MESSAGE"),
    Column("actor", "BY"),
)


def shown(found: Deployment, output_format: OutputFormat) -> None:
    """Print one deployment."""
    data = found.view.model_dump(mode="json")
    render.record(_told(data) if output_format == "table" else data, output_format)


@click.group("deployment")
def command() -> None:
    """Look at deployments and change them: update, scale, roll back."""


@command.command("list")
@output_option
def list_deployments(output_format: OutputFormat) -> None:
    """List the deployments."""
    data = [found.view.model_dump(mode="json") for found in deployment.list()]
    rows = [_row(each) for each in data] if output_format == "table" else data
    render.records(rows, _COLUMNS, output_format, empty=_NONE)


@command.command("get")
@click.argument("name")
@output_option
def get_deployment(name: str, output_format: OutputFormat) -> None:
    """Show a deployment: how it is, where it is reached, who gets the traffic."""
    shown(deployment.get(name), output_format)


@command.command("update")
@click.argument("name")
@click.option(
    "--bundle",
    shell_complete=completes("bundles", files=True),
    help="A bundle in the store, or a project's directory, which is sealed first.",
)
@setting_options
@note_option
@wait_option
@timeout_option
@output_option
def update_deployment(
    name: str,
    bundle: str | None,
    path: Path | None,
    note: str,
    wait: bool,
    timeout_s: float,
    output_format: OutputFormat,
    **options: Any,
) -> None:
    """Give a deployment another bundle, or some other settings; the rest stays.

    No request is lost: replicas of the new revision take over once they are ready, and one that
    does not become ready is given up while the old one serves on.
    """
    written = read_file(path)
    wanted = agreed("--bundle", bundle or "", written.bundle if written else "")
    settings = over(written.settings if written else {}, settings_of(options))
    if not wanted and not settings:
        raise UsageError("Nothing is to be updated.", remedy="Give --bundle, an option or a file.")
    reference = _sealed(wanted) if wanted else None
    found = deployment.get(name, client=deployment.connect())
    if options["secrets"]:  # those of the command line come to those that are there
        before = found.view.configuration.secrets
        settings["secrets"] = list(dict.fromkeys([*before, *settings["secrets"]]))
    before = found.view
    found.update(reference, settings, note=note)
    _tell_unchanged(before, found.view, strategy=bool(settings.get("strategy")), note=bool(note))
    _finished(found, wait, timeout_s, output_format)


@command.command("apply")
@click.argument("name", required=False)
@click.option(
    "--bundle",
    shell_complete=completes("bundles", files=True),
    help="A bundle in the store, or a project's directory; the file may name it too.",
)
@file_option
@note_option
@wait_option
@timeout_option
@output_option
def apply_deployment(
    name: str | None,
    bundle: str | None,
    path: Path | None,
    note: str,
    wait: bool,
    timeout_s: float,
    output_format: OutputFormat,
) -> None:
    """Make a deployment be what a file says, whether there is one or not.

    What the file does not name takes its default. A deployment that is there keeps its bundle where
    none is named.
    """
    if path is None:
        raise UsageError("There is nothing to apply.", remedy="Give a file with -f.")
    written = read_file(path)
    assert written is not None  # noqa: S101 - there is a path
    named = agreed("NAME", name or "", written.name)
    if not named:
        raise UsageError("The deployment has no name.", remedy="Give it, or write `name:`.")
    wanted = agreed("--bundle", bundle or "", written.bundle)
    platform = deployment.connect()
    there = _there(named, platform)
    if written.canary_bundle:
        wanted = _canary(there, wanted, written.canary_bundle)
    if there is None and not wanted:
        raise UsageError("The deployment has no bundle.", remedy="Give --bundle, or write it.")
    reference = _sealed(wanted) if wanted else there.view.bundle if there else ""
    generation = there.view.generation if there else None
    view = platform.apply(named, reference, written.settings, generation=generation, note=note)
    if there is not None:
        strategy = "strategy" in written.settings
        _tell_unchanged(there.view, view, strategy=strategy, note=bool(note))
    _finished(deployment.Deployment(view, platform), wait, timeout_s, output_format)


@command.command("scale")
@click.argument("name")
@click.argument("replicas", required=False, type=WholeNumber(0, 1000))
@click.option("--min", "min_replicas", type=WholeNumber(0, 1000), help="Fewest replicas.")
@click.option("--max", "max_replicas", type=WholeNumber(1, 1000), help="Most replicas.")
@wait_option
@timeout_option
@output_option
def scale_deployment(
    name: str,
    replicas: int | None,
    min_replicas: int | None,
    max_replicas: int | None,
    wait: bool,
    timeout_s: float,
    output_format: OutputFormat,
) -> None:
    """Have REPLICAS of a deployment, within its bounds, or change the bounds."""
    found = deployment.scale(name, replicas, min_replicas=min_replicas, max_replicas=max_replicas)
    _finished(found, wait, timeout_s, output_format)


@command.command("rollback")
@click.argument("name")
@click.option("--to", type=WholeNumber(1), help="The revision; the one before when not given.")
@wait_option
@timeout_option
@output_option
def rollback_deployment(
    name: str, to: int | None, wait: bool, timeout_s: float, output_format: OutputFormat
) -> None:
    """Give the traffic back to an earlier revision: at once where it is still warm."""
    _finished(deployment.rollback(name, to), wait, timeout_s, output_format)


@command.command("weight")
@click.argument("name")
@click.argument("percent", type=WholeNumber(0, 100))
@output_option
def weigh_deployment(name: str, percent: int, output_format: OutputFormat) -> None:
    """Give the coming revision of a canary PERCENT of the requests."""
    shown(deployment.set_weight(name, percent), output_format)


def _verb(verb: str, text: str, *, waits: bool) -> None:
    """Add a command that needs a name and nothing more."""

    def ask(name: str) -> Deployment:
        asked: Deployment = getattr(deployment, verb)(name)
        return asked

    if not waits:

        @command.command(verb, help=text)
        @click.argument("name")
        @output_option
        def at_once(name: str, output_format: OutputFormat) -> None:
            shown(ask(name), output_format)

        return

    @command.command(verb, help=text)
    @click.argument("name")
    @wait_option
    @timeout_option
    @output_option
    def waiting(name: str, wait: bool, timeout_s: float, output_format: OutputFormat) -> None:
        _finished(ask(name), wait, timeout_s, output_format)


_verb("promote", "Let a revision that waits have all the traffic.", waits=True)
_verb("abort", "End a rollout: all the traffic goes back to the revision that had it.", waits=True)
_verb("pause", "Leave traffic and replicas of a rollout as they are.", waits=False)
_verb("resume", "Go on with a paused rollout.", waits=True)
_verb(
    "restart",
    "Run what serves anew, as an update would: for the new value of a secret.",
    waits=True,
)
_verb("start", "Bring a terminated deployment back.", waits=True)


@command.command("terminate")
@click.argument("name")
@yes_option
@wait_option
@timeout_option
@output_option
def terminate_deployment(
    name: str, yes: bool, wait: bool, timeout_s: float, output_format: OutputFormat
) -> None:
    """End a deployment's replicas and keep everything else; `start` brings it back."""
    confirm(f"Terminate {name}? It will answer no requests.", yes=yes)
    _finished(deployment.terminate(name), wait, timeout_s, output_format)


@command.command("delete")
@click.argument("name")
@yes_option
@wait_option
@timeout_option
def delete_deployment(name: str, yes: bool, wait: bool, timeout_s: float) -> None:
    """End a deployment and forget it, with its revisions."""
    confirm(f"Delete {name}, with all its revisions?", yes=yes)
    found = deployment.delete(name)
    if not wait:
        render.note(f"{name} is being deleted.")
        return
    with interruptible(name), render.telling(f"{name}: its replicas end") as tell:
        found.wait_until_gone(timeout_s, lambda view: tell(deployment.told_progress(view)))
    render.success(f"Deleted {name}.")


@command.command("history")
@click.argument("name")
@output_option
def show_history(name: str, output_format: OutputFormat) -> None:
    """List a deployment's revisions, the newest first."""
    data = [each.model_dump(mode="json") for each in deployment.history(name)]
    for each in data:
        each["state"] = "active" if each["active"] else "warm" if each["warm"] else ""
    render.records(data, _REVISIONS, output_format)


@command.command("events")
@click.argument("name")
@click.option("--limit", type=WholeNumber(1, 1000), default=50, show_default=True)
@output_option
def show_events(name: str, limit: int, output_format: OutputFormat) -> None:
    """List what happened to a deployment lately, the oldest first."""
    data = [each.model_dump(mode="json") for each in deployment.events(name, limit=limit)]
    render.records(data, _EVENTS, output_format, empty="Nothing has happened.")


@command.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows.")
@click.option(
    "--replica",
    default="",
    metavar="ID",
    help="Of which one (`get` shows the ids); one that serves when not given.",
)
@click.option("--lines", type=WholeNumber(0, 100_000), default=200, show_default=True)
def show_logs(name: str, follow: bool, replica: str, lines: int) -> None:
    """Print what a replica said."""
    for line in deployment.logs(name, replica=replica, follow=follow, lines=lines):
        render.line(line)


def _finished(found: Deployment, wait: bool, timeout_s: float, output_format: OutputFormat) -> None:
    if wait:
        wait_for(found, timeout_s)
    shown(found, output_format)


def _tell_unchanged(
    before: DeploymentView, after: DeploymentView, *, strategy: bool, note: bool
) -> None:
    """Say where nothing moves that a person may expect to: there is no new revision."""
    if after.latest_revision != before.latest_revision:
        return
    if after.generation == before.generation:
        told = f"Nothing changed: {after.name} has this bundle and these settings already."
    elif strategy or note:
        told = (
            f"Nothing changed for the replicas of {after.name}: they have this bundle and these"
            " settings already."
        )
        told += " The strategy is that of the next revision." if strategy else ""
    else:
        return
    told += " The note is not kept, for it belongs to a revision." if note else ""
    render.note(told)


def _sealed(wanted: str) -> str:
    with render.progress(f"Sealing {wanted}"):
        return deployment.sealed_reference(wanted, tell_build)


def _there(name: str, platform: PlatformClient) -> Deployment | None:
    try:
        return deployment.get(name, client=platform)
    except DeploymentNotFound:
        return None


def _canary(there: Deployment | None, wanted: str, canary: str) -> str:
    """Return the bundle that comes; the one beside it must be what serves."""
    if there is None:
        render.warning(
            "The first revision has none beside it; apply the file again for the canary."
        )
        return wanted or canary
    if wanted and _sealed(wanted) != there.view.bundle:
        raise DeploymentConflict(
            f"{there.name!r} serves {there.view.bundle}, not {wanted!r}, beside which the canary is"
            " meant to stand.",
            remedy="Apply the file without the canary first, or name the bundle that serves.",
        )
    return canary


def _row(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": data["name"],
        "status": data["status"]["status"],
        "bundle": data["bundle"],
        "revision": data["revision"],
        "replicas": f"{data['replicas']['ready']}/{data['replicas']['wanted']}",
        "traffic": _traffic(data),
        "url": data["endpoint_urls"][0],
    }


def _traffic(data: dict[str, Any]) -> str:
    shares = data["traffic"]
    return ", ".join(f"{share['revision']}: {share['weight_percent']} %" for share in shares) or "–"


def _told(data: dict[str, Any]) -> dict[str, Any]:
    """Return a deployment for a person: what matters, in words."""
    rollout = data["rollout"]
    told = {
        **_row(data),
        "status": " – ".join(filter(None, (data["status"]["status"], data["status"]["reason"]))),
        "replicas": f"{data['replicas']['ready']} of {data['replicas']['wanted']} ready",
        "ids": [_replica(replica) for replica in data["running"]],
        "url": data["endpoint_urls"],
        "rollout": "–" if rollout is None else _rollout(rollout),
        "generation": data["generation"],
        "created": render.moment(data["created_at"]),
        "updated": render.moment(data["updated_at"]),
    }
    if data["warm_until_at"]:
        until = render.moment(data["warm_until_at"])
        told["warm"] = f"revision {data['previous_revision']} until {until}"
    return told


def _replica(replica: dict[str, Any]) -> str:
    return f"{replica['id']} (revision {replica['revision']}, {replica['phase']})"


def _rollout(rollout: dict[str, Any]) -> str:
    words = f"revision {rollout['to_revision']} {rollout['phase']} ({rollout['strategy']})"
    return f"{words}: {rollout['reason']}" if rollout["reason"] else words
