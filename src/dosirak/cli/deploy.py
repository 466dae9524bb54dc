"""`dosirak deploy`: a bundle or a project under a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.deployment import shown
from dosirak.cli.deployment_options import (
    agreed,
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
from dosirak.cli.options import output_option
from dosirak.cli.references import completes
from dosirak.cli.render import OutputFormat
from dosirak.errors import AlreadyExists, DeploymentNotFound, UsageError
from dosirak.naming import check_name

# A project has a service's module, or a file that names one.
_PROJECT_SUFFIXES = (".py", ".toml", ".yaml", ".yml")


@click.command("deploy")
@click.argument("bundle", required=False, shell_complete=completes("bundles", files=True))
@click.option("--name", "-n", help="The deployment's name; the file may name it too.")
@setting_options
@note_option
@wait_option
@timeout_option
@output_option
def command(
    bundle: str | None,
    name: str | None,
    path: Path | None,
    note: str,
    wait: bool,
    timeout_s: float,
    output_format: OutputFormat,
    **options: Any,
) -> None:
    """Deploy a bundle or a project under a name.

    BUNDLE is a bundle in the store (iris or iris:VERSION) or a project's directory, which is sealed
    first; the current directory when not given. A build that fails deploys nothing. The platform
    of this machine is started if it does not run.

    \b
    dosirak deploy --name my-first
    dosirak deploy iris:latest --name iris --replicas 2 --env LOG_LEVEL=debug
    """
    written = read_file(path)
    named = agreed("--name", name or "", written.name if written else "")
    if not named:
        raise UsageError("The deployment has no name.", remedy="Give it one with --name.")
    check_name(named)
    wanted = agreed("the bundle", bundle or "", written.bundle if written else "")
    if not wanted:
        wanted = _here(named)
    if written and written.canary_bundle:
        render.warning(
            "The first revision has none beside it: the canary comes with `dosirak deployment"
            f" apply -f {path}` once this one serves."
        )
    _check_new(named)
    settings = over(written.settings if written else {}, settings_of(options))
    with render.progress(f"Sealing {wanted}"):
        reference = deployment.sealed_reference(wanted, tell_build)
    found = deployment.create(named, reference, settings, note=note)
    if wait:
        wait_for(found, timeout_s)
        render.success(f"{named} serves {found.bundle} at {found.url}")
    else:
        render.note(f"{named} is on its way; `dosirak deployment get {named}` shows how far.")
    shown(found, output_format)


def _here(name: str) -> str:
    """Return the current directory, which is the project where none is named."""
    files = Path().iterdir()
    if not any(file.suffix in _PROJECT_SUFFIXES for file in files):
        raise UsageError(
            "There is no project in the current directory.",
            remedy=f"Name its directory, or a bundle: `dosirak deploy DIR --name {name}`.",
        )
    return "."


def _check_new(name: str) -> None:
    """Say that a name is taken before anything is sealed for it."""
    try:
        deployment.get(name, client=deployment.connect())
    except DeploymentNotFound:
        return
    raise AlreadyExists(
        f"There is a deployment {name!r}.",
        remedy=f"Change it with `dosirak deployment update {name}` or `apply`, or choose another"
        " name.",
    )
