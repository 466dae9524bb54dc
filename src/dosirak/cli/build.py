"""`dosirak build`: seal a project."""

from __future__ import annotations

from pathlib import Path

import click

from dosirak import bundles
from dosirak.bundles.report import BuildEvent
from dosirak.cli import render
from dosirak.cli.bundles import bundle_details, bundle_told
from dosirak.cli.options import KeyValue, output_option
from dosirak.cli.render import OutputFormat


@click.command("build")
@click.argument(
    "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), default="."
)
@click.option("--target", metavar="MODULE:CLASS", help="The service, where there are several.")
@click.option("--name", help="The bundle's name; the service's own when not given.")
@click.option("--version", "version", help="The bundle's version; generated when not given.")
@click.option("--label", "labels", multiple=True, type=KeyValue(), help="May be repeated.")
@output_option
def command(
    directory: Path,
    target: str | None,
    name: str | None,
    version: str | None,
    labels: tuple[tuple[str, str], ...],
    output_format: OutputFormat,
) -> None:
    """Seal a project into a bundle.

    DIRECTORY holds the service and, if it has settings, a dosirak.toml or a pyproject.toml with
    [tool.dosirak].
    """
    with render.progress(f"Sealing {directory.resolve().name}"):
        bundle = bundles.build(
            directory,
            target=target,
            name=name,
            version=version,
            labels=dict(labels),
            report=_report,
        )
    details = bundle_details(bundle)
    render.record(bundle_told(details) if output_format == "table" else details, output_format)


def _report(event: BuildEvent) -> None:
    about = f"{event.message} ({event.subject})" if event.subject else event.message
    if event.kind == "warn":
        render.warning(about)
    else:
        render.note(about)
