"""`run`, `info` and `open-api-spec`: one saved service, in this process."""

from __future__ import annotations

import click

from dosirak.compat.bentoml_classic.bundle.loading import load_from_dir
from dosirak.compat.bentoml_classic.bundle.repository import Repository, resolve
from dosirak.compat.bentoml_classic.cli.printing import print_value
from dosirak.compat.bentoml_classic.metadata import service_metadata
from dosirak.compat.bentoml_classic.open_api import open_api_document


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("bento")
@click.argument("api_name")
@click.argument("run_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, bento: str, api_name: str, run_args: tuple[str, ...]) -> None:
    """Call an api of a saved service without a server.

    Give the input as --input VALUE... or --input-file FILE..., with --format csv for a table;
    several named inputs as --input-NAME or --input-file-NAME. --max-batch-size joins at most so
    many inputs in one call; -o str prints results as Python does.
    """
    description = resolve(bento, Repository.from_environment())
    api = load_from_dir(description.directory).get_inference_api(api_name)
    code, lines = api.handle_cli(run_args)
    for line in lines:
        click.echo(line)
    ctx.exit(code)


@click.command()
@click.argument("bento")
def info(bento: str) -> None:
    """Show what a saved service is, as JSON."""
    print_value(service_metadata(resolve(bento, Repository.from_environment())), "json")


@click.command("open-api-spec")
@click.argument("bento")
def open_api_spec(bento: str) -> None:
    """Show a saved service's OpenAPI description."""
    description = resolve(bento, Repository.from_environment())
    print_value(open_api_document(load_from_dir(description.directory)), "json")
