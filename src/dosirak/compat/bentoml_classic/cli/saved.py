"""`list`, `get` and `delete`: what is saved below `$BENTOML_HOME`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dosirak.compat.bentoml_classic.bundle.description import Description
from dosirak.compat.bentoml_classic.bundle.repository import Repository
from dosirak.compat.bentoml_classic.cli.labels import label_query
from dosirak.compat.bentoml_classic.cli.printing import (
    age,
    output_option,
    print_table,
    print_value,
)
from dosirak.compat.bentoml_classic.exceptions import CLIException
from dosirak.compat.bentoml_classic.metadata import bento_metadata
from dosirak.errors import NotFound

_labels_option = click.option("--labels", help="Only those whose labels fit, such as stage=prod.")
_limit_option = click.option("--limit", type=click.IntRange(0), help="At most so many.")
_ascending_option = click.option("--ascending-order", is_flag=True, help="The oldest first.")


@click.command("list")
@_limit_option
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many.")
@_labels_option
@click.option(
    "--order-by", type=click.Choice(["created_at", "name"]), default="created_at", show_default=True
)
@_ascending_option
@output_option("table")
def list_saved(
    limit: int | None,
    offset: int,
    labels: str | None,
    order_by: str,
    ascending_order: bool,
    output: str,
) -> None:
    """List the saved services."""
    found = _selected(None, labels, ascending=ascending_order, by_name=order_by == "name")
    _print_all(found[offset:][:limit], output)


@click.command()
@click.argument("bento")
@_limit_option
@_ascending_option
@click.option("--print-location", is_flag=True, help="Print the directory and nothing else.")
@_labels_option
@output_option(None)
def get(
    bento: str,
    limit: int | None,
    ascending_order: bool,
    print_location: bool,
    labels: str | None,
    output: str | None,
) -> None:
    """Show the saved service NAME:VERSION, or the versions of NAME."""
    repository = Repository.from_environment()
    if ":" not in bento and not print_location:
        found = _selected(bento, labels, ascending=ascending_order)
        _print_all(found[:limit], output or "table")
        return
    description = repository.find(bento)
    if print_location:
        click.echo(str(description.directory))
    elif output in ("table", "wide"):
        _print_all([description], output)
    else:
        print_value(bento_metadata(description), output or "json")


@click.command()
@click.argument("delete_targets", required=False)
@click.option("--all", "everything", is_flag=True, help="Delete every saved service.")
@_labels_option
@click.option("-y", "--yes", "--assume-yes", "yes", is_flag=True, help="Do not ask.")
def delete(delete_targets: str | None, everything: bool, labels: str | None, yes: bool) -> None:
    """Delete saved services: NAME:VERSION, or NAME for each version of it; commas between several.

    Each one is asked about, unless --yes is given.
    """
    if not delete_targets and not everything and not labels:
        raise CLIException("Nothing to delete was named.", remedy="Give NAME:VERSION or --all.")
    names: list[str | None] = [None]
    if delete_targets:
        names = [part.strip() for part in delete_targets.split(",")]
    repository = Repository.from_environment()
    for description in _to_delete(repository, names, labels):
        tag = f"{description.name}:{description.version}"
        if yes or click.confirm(f"Delete {tag}?"):
            repository.delete(description)
            click.echo(f"Deleted {tag}.")


def _to_delete(
    repository: Repository, names: Sequence[str | None], labels: str | None
) -> list[Description]:
    fits = label_query(labels)
    found: dict[str, Description] = {}
    for name in names:
        saved = _meant(repository, name)
        if not saved and name is not None:
            saved = [repository.find(name)]  # which says what was perhaps meant
        found.update({str(item.directory): item for item in saved if fits(item.labels)})
    return list(found.values())


def _meant(repository: Repository, name: str | None) -> list[Description]:
    """Return what NAME:VERSION or NAME means; to delete, no version is anybody's guess."""
    if name is None or ":" not in name:
        return repository.descriptions(name)
    service, _, version = name.partition(":")
    versions = [item.version for item in repository.descriptions(service)]
    if version not in versions:
        known = f"Name one of its versions ({', '.join(versions[:5])}), or NAME alone for all."
        raise NotFound(
            f"There is no saved service {name}.",
            remedy=known if versions else "See: bentoml list",
        )
    return [repository.find(name)]


def _selected(
    name: str | None, labels: str | None, *, ascending: bool, by_name: bool = False
) -> list[Description]:
    fits = label_query(labels)
    found = [item for item in Repository.from_environment().descriptions(name) if fits(item.labels)]
    if by_name:
        found.sort(key=lambda item: (item.name, item.created_at), reverse=not ascending)
    elif ascending:
        found.reverse()
    return found


def _print_all(descriptions: Sequence[Description], output: str) -> None:
    if output in ("json", "yaml"):
        print_value([bento_metadata(item) for item in descriptions], output)
        return
    wide = output == "wide"
    headers = ["BENTO_SERVICE", "CREATED_AT" if wide else "AGE", "APIS", "ARTIFACTS", "LABELS"]
    print_table(
        [*headers, "URI"] if wide else headers, [_row(item, wide=wide) for item in descriptions]
    )


def _row(item: Description, *, wide: bool) -> list[str]:
    apis = (f"{api['name']}<{api['input_type']}:{api['output_type']}>" for api in item.apis)
    artifacts = (f"{found['name']}<{found['artifact_type']}>" for found in item.artifacts)
    labels = (f"{key}:{value}" for key, value in item.labels.items())
    row = [
        f"{item.name}:{item.version}",
        item.created_at[:16] if wide else age(item.created_at),
        ", ".join(apis),
        ", ".join(artifacts),
        ", ".join(labels),
    ]
    return [*row, str(item.directory)] if wide else row
