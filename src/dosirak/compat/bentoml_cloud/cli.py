"""`bentoml deploy` and `bentoml deployment`, as BentoCloud's users type them.

Answers are YAML unless JSON is asked for, with the keys of `bentoml deployment get` there.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from dosirak import deployment
from dosirak.compat.bentoml_classic.cli.printing import print_table, print_value
from dosirak.errors import UsageError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_TIMEOUT_S = 3600
_STRATEGIES = ("RollingUpdate", "Recreate", "RampedSlowRollout", "BestEffortControlledRollout")

_output = click.option(
    "-o", "--output", "output", type=click.Choice(["json", "yaml", "table"]), default="yaml"
)
_file = click.option(
    "-f", "--config-file", "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A configuration in YAML.",
)  # fmt: skip
_wait = click.option("--wait/--no-wait", default=True, help="Wait until it is ready.")
_timeout = click.option("--timeout", type=int, default=_TIMEOUT_S, help="Longest time to wait.")
_SETTINGS = (
    click.option("--scaling-min", type=click.IntRange(0), help="Fewest replicas."),
    click.option("--scaling-max", type=click.IntRange(1), help="Most replicas."),
    click.option("--access-authorization", type=bool, help="Whether callers need a token."),
    click.option("--strategy", type=click.Choice(_STRATEGIES), help="How it is updated."),
    click.option("--env", "envs", multiple=True, help="NAME=VALUE; may be repeated."),
    click.option("--secret", "secrets", multiple=True, help="A secret's name; may be repeated."),
    click.option("--cluster", expose_value=False, help="Has no meaning on one machine."),
    click.option("--instance-type", expose_value=False, help="Has no meaning on one machine."),
)


def _setting_options(function: FunctionT) -> FunctionT:
    for option in reversed(_SETTINGS):
        function = option(function)
    return function


@click.command("deploy")
@click.argument("bento", required=False)
@click.option("-n", "--name", help="The deployment's name.")
@_setting_options
@_file
@_wait
@_timeout
def deploy(
    bento: str | None,
    name: str | None,
    config_file: Path | None,
    wait: bool,
    timeout: int,
    **options: Any,
) -> None:
    """Deploy a bento or a project's directory (the current one when none is given)."""
    cloud = _cloud()
    made = cloud.create(bento, name, config_file=config_file, **_arguments(options))
    click.echo(f"Deploying {made.native.bundle} as {made.name!r}.", err=True)
    _finish(made, wait, timeout)


@click.group("deployment")
def deployment_group() -> None:
    """Look at deployments and change them."""


deployment_group.add_command(deploy, "create")


@deployment_group.command("get")
@click.argument("name")
@_output
def get(name: str, output: str) -> None:
    """Show a deployment."""
    _show(_cloud().get(name).to_dict(), output)


@deployment_group.command("list")
@click.option(
    "-o", "--output", "output", type=click.Choice(["json", "yaml", "table"]), default="table"
)
def list_deployments(output: str) -> None:
    """List the deployments."""
    rows = [found.to_dict() for found in _cloud().list()]
    if output == "table":
        columns = [
            (row["name"], row["created_at"], row["bento"], row["status"]["status"]) for row in rows
        ]
        print_table(["Deployment", "created_at", "Bento", "Status"], columns)
    else:
        _show(rows, output)


@deployment_group.command("update")
@click.argument("name", required=False)
@click.option("--bento", help="A bento, or a project's directory.")
@_setting_options
@_file
@_wait
@_timeout
def update(
    name: str | None,
    bento: str | None,
    config_file: Path | None,
    wait: bool,
    timeout: int,
    **options: Any,
) -> None:
    """Give a deployment another bento, or some other settings; the rest stays."""
    found = _cloud().update(name, bento, config_file=config_file, **_arguments(options))
    click.echo(f"Updating {found.name!r}.", err=True)
    _finish(found, wait, timeout)


@deployment_group.command("apply")
@click.argument("name", required=False)
@click.option("--bento", help="A bento, or a project's directory.")
@_file
@_wait
@_timeout
def apply(
    name: str | None, bento: str | None, config_file: Path | None, wait: bool, timeout: int
) -> None:
    """Make a deployment be what a file says, whether there is one or not."""
    found = _cloud().apply(name, bento, config_file=config_file)
    click.echo(f"Applying {found.name!r}.", err=True)
    _finish(found, wait, timeout)


@deployment_group.command("start")
@click.argument("name")
@_wait
@_timeout
def start(name: str, wait: bool, timeout: int) -> None:
    """Bring a terminated deployment back."""
    _finish(_cloud().start(name), wait, timeout)


@deployment_group.command("terminate")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until its replicas have ended.")
def terminate(name: str, wait: bool) -> None:
    """End a deployment's replicas and keep everything else."""
    _cloud().terminate(name, wait=wait)
    click.echo(f"Deployment {name!r} terminated.", err=True)


@deployment_group.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """End a deployment and forget it."""
    _cloud().delete(name)
    click.echo(f"Deployment {name!r} deleted.", err=True)


def _cloud() -> Any:
    """Return the functions behind the commands; by their name, for what they need is an extra."""
    getattr(deployment, "Deployment")  # noqa: B009 - says what is missing
    return import_module("dosirak.compat.bentoml_cloud.deployments")


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in options["envs"]]
    wrong = next((text for text in options["envs"] if "=" not in text), None)
    if wrong is not None:
        raise UsageError(f"{wrong!r} is not NAME=VALUE.", remedy="Write --env NAME=VALUE.")
    return {
        **options,
        "envs": [{"name": name, "value": value} for name, _, value in pairs] or None,
        "secrets": options["secrets"] or None,
    }


def _finish(found: Any, wait: bool, timeout: int) -> None:
    if wait:
        found.wait_until_ready(timeout)
        click.echo(f"Deployment {found.name!r} is ready: {found.native.url}", err=True)


def _show(value: Any, output: str) -> None:
    if output == "table" and isinstance(value, dict):
        print_table(
            ["Deployment", "created_at", "Bento", "Status"],
            [(value["name"], value["created_at"], value["bento"], value["status"]["status"])],
        )
    else:
        print_value(value, output)
