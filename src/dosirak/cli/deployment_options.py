"""What the commands that deploy have in common: the options of settings, and waiting."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dosirak import deployment
from dosirak.bundles.report import BuildEvent
from dosirak.cli import render
from dosirak.cli.options import KeyValue, Seconds, WholeNumber
from dosirak.errors import InvalidConfiguration

if TYPE_CHECKING:
    from dosirak.deployment import Deployment
    from dosirak.deployment.configuration_file import WrittenConfiguration

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_STRATEGIES = ("rolling", "recreate", "canary", "blue_green")
_SETTINGS = (
    click.option(
        "--env", "environment", multiple=True, type=KeyValue(), help="A variable of the replicas."
    ),
    click.option(
        "--secret", "secrets", multiple=True, metavar="NAME",
        help="A secret that becomes a variable of this name; see `dosirak secrets`.",
    ),
    click.option("--replicas", type=WholeNumber(1, 1000), help="Both --min and --max."),
    click.option("--min", "min_replicas", type=WholeNumber(0, 1000), help="Fewest replicas."),
    click.option("--max", "max_replicas", type=WholeNumber(1, 1000), help="Most replicas."),
    click.option(
        "--strategy", type=click.Choice(_STRATEGIES), help="How traffic moves to a new revision."
    ),
    click.option(
        "--access", type=click.Choice(["public", "token"]), help="Whether callers need a token."
    ),
    click.option("--port", type=WholeNumber(1, 65535), help="A port of its own."),
    click.option("--host", "hosts", multiple=True, help="A host name that means it."),
    click.option("--label", "labels", multiple=True, type=KeyValue(), help="May be repeated."),
)  # fmt: skip


def setting_options(function: FunctionT) -> FunctionT:
    """Add the options of settings, and the file that holds them."""
    for option in reversed(_SETTINGS):
        function = option(function)
    return file_option(function)


file_option = click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A configuration in YAML or JSON, with dosirak's names or BentoCloud's.",
)
note_option = click.option("--note", default="", help="What is to be remembered of the change.")
wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until it has come true."
)
timeout_option = click.option(
    "--timeout-s",
    type=Seconds(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Longest time to wait.",
)


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the options of a command line give."""
    settings: dict[str, Any] = {
        name: options[name] for name in ("strategy", "access", "port") if options[name] is not None
    }
    for name, key in (("environment", "environment"), ("labels", "labels")):
        if options[name]:
            settings[key] = dict(options[name])
    for name in ("secrets", "hosts"):
        if options[name]:
            settings[name] = list(options[name])
    both = options["replicas"]
    bounds = {
        "min_replicas": options["min_replicas"] if options["min_replicas"] is not None else both,
        "max_replicas": options["max_replicas"] if options["max_replicas"] is not None else both,
    }
    scaling = {name: count for name, count in bounds.items() if count is not None}
    if scaling:
        settings["scaling"] = scaling
    return settings


def over(written: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's settings with those of the command line over them; lists add up."""
    settings = dict(written)
    for name, value in given.items():
        before = settings.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            settings[name] = {**before, **value}
        elif isinstance(before, list | tuple) and isinstance(value, list):
            settings[name] = list(dict.fromkeys([*before, *value]))
        else:
            settings[name] = value
    return settings


def read_file(path: Path | None) -> WrittenConfiguration | None:
    """Read a configuration file, and warn of what has no meaning here."""
    if path is None:
        return None
    written = deployment.read_configuration_file(path)
    for text in written.warnings:
        render.warning(text)
    return written


def agreed(option: str, given: str, written: str) -> str:
    """Return what the command line or the file says, which must not contradict each other."""
    if given and written and given != written:
        raise InvalidConfiguration(
            f"The command line says {given!r} for {option}, the file {written!r}.",
            remedy="Say it in one place.",
        )
    return given or written


def tell_build(event: BuildEvent) -> None:
    """Say what happens while a directory is sealed."""
    about = f"{event.message} ({event.subject})" if event.subject else event.message
    if event.kind == "warn":
        render.warning(about)
    else:
        render.note(about)


def wait_for(found: Deployment, timeout_s: float) -> None:
    """Wait until what was asked has come true, and show how far it is.

    A person who interrupts this stops waiting, nothing else.
    """
    with interruptible(found.name), render.telling(f"{found.name}: asked") as tell:
        found.wait(timeout_s, lambda view: tell(deployment.told_progress(view)))


@contextmanager
def interruptible(name: str) -> Generator[None]:
    """Say, where a person stops waiting, that the work goes on."""
    try:
        yield
    except KeyboardInterrupt:
        render.note(f"It goes on; `dosirak deployment get {name}` shows how far it is.")
        raise
