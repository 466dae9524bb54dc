"""`dosirak serve`: a target over HTTP, until a signal comes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, get_args

import click
from click.core import ParameterSource

from dosirak.cli import render
from dosirak.cli.grouped_help import GroupedCommand
from dosirak.cli.options import ByteSize, Seconds, WholeNumber
from dosirak.cli.references import completes
from dosirak.errors import InvalidConfiguration, UsageError
from dosirak.observe.access_log import LogStyle
from dosirak.observe.inference_log import InferenceLogFormat, InferenceLogPlan
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.serve import Event, Reloaded, Reloading, Serving, Stopping, log_style, serve
from dosirak.serving.task_plan import TaskPlan
from dosirak.serving.webhooks import WebhookPlan
from dosirak.serving.worker_shares import StartMode

_logger = logging.getLogger(f"{ROOT_LOGGER}.serving")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class _ServeCommand(GroupedCommand):
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "Service": ("workers", "max_outstanding", "timeout_s", "start_timeout_s"),
        "Network": (
            "host", "port", "unix_socket", "allowed_hosts", "token_file", "access_file", "fronts",
            "http2",
        ),
        "TLS": ("tls_certificate", "tls_key", "tls_client_ca"),
        "Workers": (
            "worker_start", "worker_threads", "pin_cpus", "worker_memory_limit",
            "worker_memory_hard_limit", "hang_grace_s", "quarantine_after", "quarantine_s",
        ),
        "Limits of requests": (
            "max_body", "max_head", "max_headers", "head_timeout_s", "body_grace_s", "body_pace",
            "send_timeout_s",
        ),
        "Tasks": (
            "task_store", "task_max_waiting", "task_result_s", "task_waiting_s", "task_lease_s",
            "task_webhook_allow", "task_webhook_secret_file",
        ),
        "Logs": (
            "access_log", "inference_log", "inference_log_rate", "inference_log_redact",
            "inference_log_format", "inference_log_max_file",
        ),
        "Reloading and stopping": (
            "reload", "watch", "admin_token_file", "drain_delay_s", "drain_timeout_s",
        ),
    }  # fmt: skip


@click.command("serve", cls=_ServeCommand)
@click.argument("target", shell_complete=completes("bundles", "models", files=True))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=WholeNumber(0, 65535),
    default=3000,
    show_default=True,
    envvar="DOSIRAK_PORT",
    show_envvar=True,
    help="0 takes a free one.",
)
@click.option(
    "--unix-socket",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Listen on this Unix socket in place of --host and --port, for a proxy of the same user.",
)
@click.option(
    "--fronts",
    type=WholeNumber(1, 64),
    default=1,
    show_default=True,
    help="Processes that accept connections on the port; more when one core of them is busy.",
)
@click.option(
    "--workers",
    type=WholeNumber(1, 1024),
    help="Processes that load the models; what the service asks for when not given.",
)
@click.option(
    "--token-file",
    type=_FILE,
    help="A file with the bearer token that callers must send; or set DOSIRAK_TOKEN.",
)
@click.option(
    "--access-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A JSON file with SHA-256 hashes of the tokens that callers may have, followed as it"
    " changes; without it nobody may call.",
)
@click.option(
    "--tls-certificate",
    type=_FILE,
    help="A PEM file with the server's certificate: it then speaks HTTPS.",
)
@click.option("--tls-key", type=_FILE, help="A PEM file with its key, if in a file of its own.")
@click.option(
    "--tls-client-ca",
    type=_FILE,
    help="A PEM file of authorities: clients need a certificate of one of them.",
)
@click.option(
    "--http2",
    is_flag=True,
    help="Speak HTTP/2, too: with TLS to clients that choose it, without to those that begin so.",
)
@click.option(
    "--admin-token-file",
    type=_FILE,
    help="A file with the token for POST /admin/reload; or set DOSIRAK_ADMIN_TOKEN.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Reload when a newer version of what has no fixed one is saved.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="For development: reload when the service's own files change, too.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which callers reach this server. May be repeated.",
)
@click.option(
    "--max-body",
    type=ByteSize(),
    default="100MiB",
    show_default=True,
    help="Largest request body.",
)
@click.option(
    "--max-head",
    type=ByteSize(),
    default="64KiB",
    show_default=True,
    help="Largest target and headers of a request together.",
)
@click.option(
    "--max-headers",
    type=WholeNumber(1),
    default=200,
    show_default=True,
    help="Most headers of a request.",
)
@click.option(
    "--max-outstanding",
    type=WholeNumber(1),
    default=1024,
    show_default=True,
    help="Calls being answered or waiting; more are refused with 429.",
)
@click.option(
    "--timeout-s",
    type=Seconds(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Longest time for a call whose api says nothing else.",
)
@click.option(
    "--start-timeout-s",
    type=Seconds(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Longest time for workers to become ready.",
)
@click.option(
    "--head-timeout-s",
    type=Seconds(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Longest time for the head of a request to arrive.",
)
@click.option(
    "--body-grace-s",
    type=Seconds(0),
    default=10.0,
    show_default=True,
    help="Time for a body before it must arrive at --body-pace.",
)
@click.option(
    "--body-pace",
    type=ByteSize(),
    default="1KiB",
    show_default=True,
    help="Slowest pace of a body after that, in a second.",
)
@click.option(
    "--send-timeout-s",
    type=Seconds(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Longest time for a client to take a piece of a stream.",
)
@click.option(
    "--hang-grace-s",
    type=Seconds(0),
    default=5.0,
    show_default=True,
    help="How long a handler may run on after its deadline before its worker is ended.",
)
@click.option(
    "--drain-delay-s",
    type=Seconds(0),
    default=0.0,
    show_default=True,
    help="After a signal, how long to say 'not ready' and still accept connections: time for a"
    " load balancer to notice.",
)
@click.option(
    "--drain-timeout-s",
    type=Seconds(0),
    default=30.0,
    show_default=True,
    help="Longest time for requests in progress after a signal (and --drain-delay-s) or a reload.",
)
@click.option(
    "--worker-memory-limit",
    type=ByteSize(),
    help="Replace a worker that holds more than this, such as 2GiB.",
)
@click.option(
    "--worker-memory-hard-limit",
    type=ByteSize(),
    help="End a worker that holds more; half as much again as the other limit when not given.",
)
@click.option(
    "--worker-start",
    type=click.Choice(list(get_args(StartMode))),
    default="auto",
    show_default=True,
    help="Fork workers from a process that has imported the service, or spawn each anew; auto forks"
    " several where it is safe.",
)
@click.option(
    "--worker-threads",
    type=WholeNumber(1, 1024),
    help="Threads of the numerical libraries in each worker; its share of the CPUs when not given.",
)
@click.option("--pin-cpus", is_flag=True, help="Give each worker CPUs of its own.")
@click.option(
    "--quarantine-after",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    metavar="WORKERS",
    help="Refuse an input that ended as many workers; 0 refuses none.",
)
@click.option(
    "--quarantine-s",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="How long it is refused.",
)
@click.option(
    "--access-log",
    type=click.Choice(list(get_args(LogStyle))),
    default="auto",
    show_default=True,
    help="Text on a terminal, JSON elsewhere, unless it is said.",
)
@click.option(
    "--inference-log",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for a log of inputs and outputs. It keeps what callers send: none when not"
    " given.",
)
@click.option(
    "--inference-log-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="The share of requests that it keeps.",
)
@click.option(
    "--inference-log-redact",
    multiple=True,
    metavar="FIELD",
    help="A field of inputs and outputs whose values it leaves out. May be repeated.",
)
@click.option(
    "--inference-log-format",
    type=click.Choice(list(get_args(InferenceLogFormat))),
    default="jsonl",
    show_default=True,
    help="JSON lines, or Parquet, which needs pyarrow.",
)
@click.option(
    "--inference-log-max-file",
    type=ByteSize(),
    default="64MiB",
    show_default=True,
    help="The size at which it begins another file.",
)
@click.option(
    "--task-store",
    envvar="DOSIRAK_TASK_STORE",
    show_envvar=True,
    metavar="URL",
    default="",
    help="A Redis that servers share for tasks, such as redis://HOST:6379/0; SQLite in DOSIRAK_HOME"
    " when not given. One with a password belongs into the variable.",
)
@click.option(
    "--task-max-waiting",
    type=WholeNumber(1),
    default=10_000,
    show_default=True,
    help="Tasks not done; more are refused with 429.",
)
@click.option(
    "--task-result-s",
    type=Seconds(0, min_open=True),
    default=86_400.0,
    show_default=True,
    help="How long a finished task can be asked for.",
)
@click.option(
    "--task-waiting-s",
    type=Seconds(0, min_open=True),
    default=604_800.0,
    show_default=True,
    help="How long a task may wait to be begun; then it has failed.",
)
@click.option(
    "--task-lease-s",
    type=Seconds(0, min_open=True),
    default=30.0,
    show_default=True,
    help="With Redis, how long the tasks of a server that says nothing more are left to it.",
)
@click.option(
    "--task-webhook-allow",
    multiple=True,
    metavar="URL",
    help="An address under which tasks may name webhooks, such as https://example.com/hooks/. May"
    " be repeated; none is allowed when not given.",
)
@click.option(
    "--task-webhook-secret-file",
    type=_FILE,
    help="A file with the secret that signs webhooks; or set DOSIRAK_WEBHOOK_SECRET.",
)
@click.pass_context
def command(
    context: click.Context,
    target: str,
    host: str,
    port: int,
    unix_socket: Path | None,
    fronts: int,
    workers: int | None,
    token_file: Path | None,
    access_file: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    http2: bool,
    admin_token_file: Path | None,
    watch: bool,
    reload: bool,
    allowed_hosts: tuple[str, ...],
    max_body: int,
    max_head: int,
    max_headers: int,
    max_outstanding: int,
    timeout_s: float,
    head_timeout_s: float,
    body_grace_s: float,
    body_pace: int,
    send_timeout_s: float,
    hang_grace_s: float,
    start_timeout_s: float,
    drain_delay_s: float,
    drain_timeout_s: float,
    worker_memory_limit: int | None,
    worker_memory_hard_limit: int | None,
    worker_start: StartMode,
    worker_threads: int | None,
    pin_cpus: bool,
    quarantine_after: int,
    quarantine_s: float,
    access_log: LogStyle,
    inference_log: Path | None,
    inference_log_rate: float,
    inference_log_redact: tuple[str, ...],
    inference_log_format: InferenceLogFormat,
    inference_log_max_file: int,
    task_store: str,
    task_max_waiting: int,
    task_result_s: float,
    task_waiting_s: float,
    task_lease_s: float,
    task_webhook_allow: tuple[str, ...],
    task_webhook_secret_file: Path | None,
) -> None:
    """Serve a service over HTTP.

    Listens on this machine only, unless --host says otherwise; others can then call it, so a token
    is required. The page at / lets you try each api.

    \b
    dosirak serve service.py
    dosirak serve service.py --reload
    dosirak serve iris:latest --port 8080 --workers 2 --watch
    """
    kept = None
    if inference_log is None:
        _refuse_without_log(context)
    else:
        kept = InferenceLogPlan(
            str(inference_log.absolute()),
            inference_log_rate,
            inference_log_redact,
            inference_log_format,
            inference_log_max_file,
        )
    secret = read_token(task_webhook_secret_file, "DOSIRAK_WEBHOOK_SECRET")
    tasks = TaskPlan(
        task_store,
        task_max_waiting,
        task_result_s,
        task_waiting_s,
        task_lease_s,
        WebhookPlan(task_webhook_allow, secret or ""),
    )
    context.exit(
        serve(
            target,
            host=host,
            port=port,
            unix_socket=unix_socket,
            fronts=fronts,
            workers=workers,
            token=read_token(token_file),
            access_file=access_file,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            http2=http2,
            admin_token=read_token(admin_token_file, "DOSIRAK_ADMIN_TOKEN"),
            watch=watch,
            reload=reload,
            allowed_hosts=allowed_hosts,
            max_body_bytes=max_body,
            max_head_bytes=max_head,
            max_headers=max_headers,
            max_outstanding=max_outstanding,
            timeout_s=timeout_s,
            head_timeout_s=head_timeout_s,
            body_grace_s=body_grace_s,
            body_bytes_per_s=body_pace,
            send_timeout_s=send_timeout_s,
            hang_grace_s=hang_grace_s,
            start_timeout_s=start_timeout_s,
            drain_delay_s=drain_delay_s,
            drain_timeout_s=drain_timeout_s,
            worker_memory_limit_bytes=worker_memory_limit,
            worker_memory_hard_limit_bytes=worker_memory_hard_limit,
            worker_start=worker_start,
            worker_threads=worker_threads,
            pin_cpus=pin_cpus,
            quarantine_after=quarantine_after,
            quarantine_s=quarantine_s,
            access_log=access_log,
            inference_log=kept,
            tasks=tasks,
            report=_log if log_style(access_log) == "json" else _report,
        )
    )


def _refuse_without_log(context: click.Context) -> None:
    """Refuse options that act on nothing; one that was to leave something out, above all.

    Raises:
        UsageError: there are.
    """
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and (option.name or "").startswith("inference_log_"):
            raise UsageError(
                f"{option.opts[0]} acts on nothing: there is no inference log.",
                remedy="Name its directory with --inference-log, or leave the option out.",
            )


def read_token(token_file: Path | None, variable: str = "DOSIRAK_TOKEN") -> str | None:
    """Return a bearer token from a file, else from the environment; never from the command line.

    Arguments can be read by every user of the machine, files and environments cannot.

    Raises:
        InvalidConfiguration: the file cannot be read or holds no token.
    """
    if token_file is None:
        return os.environ.get(variable) or None
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            f"The token file {token_file} cannot be read.", remedy="Check its path and permissions."
        ) from error
    if not token or len(token.split()) != 1:
        raise InvalidConfiguration(
            f"The token file {token_file} holds no token.",
            remedy="Write the token into it, on one line and without spaces.",
        )
    return token


def _report(event: Event) -> None:
    match event:
        case Serving():
            render.success(_told(event))
            watched = f" · follows {', '.join(event.watched)}" if event.watched else ""
            count = _workers(len(event.workers))
            render.note(f"{', '.join(event.routes)} · {count}{watched} · Ctrl-C stops it")
        case Reloaded() if event.outcome == "swapped":
            render.success(_told(event))
        case Reloaded() if event.outcome == "refused":
            render.warning(_told(event))
        case Stopping():
            render.note(f"{_told(event)} Once more to stop now.")
        case _:
            render.note(_told(event))


def _log(event: Event) -> None:
    """Say it among the lines of a log that programs read."""
    refused = isinstance(event, Reloaded) and event.outcome == "refused"
    _logger.log(logging.WARNING if refused else logging.INFO, "%s", _told(event))


def _told(event: Event) -> str:
    match event:
        case Stopping():
            return f"{event.signal}: finishing the requests in progress."
        case Reloading():
            return f"{event.reason} …"
        case Serving():
            return f"{event.service} is served at {event.url}"
        case Reloaded():
            return _told_of_reload(event)


def _told_of_reload(event: Reloaded) -> str:
    match event.outcome:
        case "swapped":
            changes = ", ".join(event.changes)
            return f"Reloaded in {event.took_s:.1f} s: {changes} · {event.revision}"
        case "unchanged":
            return f"Nothing has changed: {event.revision} serves on."
        case "refused":
            return f"Not reloaded, {event.revision} serves on: {event.error}"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
