"""`dosirak platform`: the control plane of this machine, whose deployments serve on without it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.options import WholeNumber, output_option
from dosirak.cli.render import OutputFormat
from dosirak.errors import UsageError
from dosirak.settings import Settings
from dosirak.store import default_store

if TYPE_CHECKING:
    from dosirak.deployment import PlatformPaths

_LOOK_EVERY_S = 0.2


class _PemFile(click.Path):  # pyright: ignore[reportMissingTypeArgument] - since click 8.5
    """A file that is there; an empty word, which would be the present folder, names none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False, resolve_path=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the path."""
        if value == "":
            self.fail("It names no file; --no-tls switches TLS off.", param, ctx)
        return super().convert(value, param, ctx)


@click.group("platform")
def command() -> None:
    """Start, stop and look at the control plane.

    It is started by itself when something is deployed. Deployments serve on while it is stopped.
    """


@command.command("start")
@click.option("--host", help="Where callers reach the deployments [default: 127.0.0.1].")
@click.option("--port", type=WholeNumber(1, 65535), help="Likewise [default: 8800].")
@click.option("--control-host", help="Where the API and the console are [default: 127.0.0.1].")
@click.option("--control-port", type=WholeNumber(1, 65535), help="Likewise [default: 8801].")
@click.option(
    "--require-tokens/--no-require-tokens",
    default=None,
    help="Want a token from everybody, this machine's users included.",
)
@click.option(
    "--tls-certificate", type=_PemFile(), help="For the deployments' listener; a PEM file."
)
@click.option("--tls-key", type=_PemFile(), help="The certificate's key.")
@click.option("--no-tls", is_flag=True, help="Have the listener speak plain HTTP again.")
@click.option("--database-url", help="A PostgreSQL database instead of the embedded one.")
@click.option("--router-threads", type=WholeNumber(1, 256), help="Of Envoy [default: 1].")
@output_option
def start_platform(output_format: OutputFormat, **options: Any) -> None:
    """Start the control plane; what runs is adopted, what ought to run is started.

    Options are kept for later starts.
    """
    paths = _paths()
    given = settings_given(options)
    before = deployment.PlatformSettings.read(paths.root)
    with render.progress("Starting the control plane"):
        record = deployment.start_control_plane(paths, before.changed(given) if given else None)
    render.success(f"The control plane is at {record.url}")
    _show(paths, output_format)


@command.command("stop")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="End the router and the replicas too; the next start brings them back.",
)
def stop_platform(everything: bool) -> None:
    """Stop the control plane; deployments serve on as they are."""
    with render.progress("Stopping the control plane"):
        stopped = deployment.stop_control_plane(_paths())
    if everything:
        with render.progress("Ending the replicas"):
            count = _local_platform().stop_everything(_paths())
        told = "1 replica" if count == 1 else f"{count} replicas"
        render.success(f"Everything is stopped: the control plane, the router, {told}.")
    elif stopped:
        render.success("The control plane is stopped; the deployments serve on.")
    else:
        render.note("It does not run.")


@command.command("status")
@output_option
def show_status(output_format: OutputFormat) -> None:
    """Say whether the control plane runs, and where."""
    _show(_paths(), output_format)


@command.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows.")
@click.option("--lines", type=WholeNumber(0, 100_000), default=200, show_default=True)
def show_logs(follow: bool, lines: int) -> None:
    """Print what the control plane said."""
    path = _paths().control_log
    if not path.exists():
        render.note("The control plane has said nothing yet.")
        return
    with path.open(encoding="utf-8", errors="replace") as log:
        for line in log.readlines()[-lines:] if lines else ():
            render.line(line.rstrip("\n"))
        for line in _growing(log) if follow else ():
            render.line(line)


@command.command("run", hidden=True)
def run_platform() -> None:
    """Be the control plane, until a signal comes."""
    _local_platform().run(_paths(), default_store())


def settings_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a command line gives; those that it does not name stay.

    Raises:
        UsageError: it wants TLS and wants none.
    """
    given = {
        name: value for name, value in options.items() if name != "no_tls" and value is not None
    }
    if not options["no_tls"]:
        return given
    tls = ("tls_certificate", "tls_key")
    if any(name in given for name in tls):
        raise UsageError(
            "--no-tls contradicts --tls-certificate and --tls-key.", remedy="Give one of them."
        )
    return given | dict.fromkeys(tls)


def _growing(log: IO[str]) -> Iterator[str]:
    begun = ""
    while True:
        begun += log.readline()
        if begun.endswith("\n"):
            yield begun.rstrip("\n")
            begun = ""
        else:
            time.sleep(_LOOK_EVERY_S)


def _local_platform() -> Any:
    """Return what puts the platform together; imported by its name, for it needs an extra."""
    _paths()  # says what is missing
    return import_module("dosirak.targets.local_platform")


def _paths() -> PlatformPaths:
    return deployment.PlatformPaths(Settings.from_environment().home)


def _show(paths: PlatformPaths, output_format: OutputFormat) -> None:
    status = deployment.control_plane_status(paths)
    row: dict[str, Any] = {"running": status.running, "home": str(paths.home)}
    if status.record is not None:
        row |= {"url": status.record.url, "pid": status.record.pid}
        with deployment.connect(status.record.url) as client:
            row |= client.ask("GET", "/platform")
    render.record(row, output_format)
