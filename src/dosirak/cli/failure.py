"""What a person sees when a command fails, and the exit code that a script sees.

Every ending passes through `main`: an error that dosirak raises on purpose becomes one line and a
remedy (as JSON when the output is JSON), with the exit code of its class; anything else becomes one
line that says where the traceback was written. `DOSIRAK_DEBUG=1` shows tracebacks instead.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import click

from dosirak.cli import render
from dosirak.cli.app import command
from dosirak.cli.render import Failure
from dosirak.errors import DosirakError, StorageFull
from dosirak.settings import Settings

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_STANDARD_ERROR = 2
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `dosirak` with `arguments` (the process's own when None) and exit."""
    _open_standard_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run `dosirak` and return its exit code; never raises."""
    output = sys.stdout
    try:
        # Outside of standalone mode click returns the code of an early exit (--help), else the
        # command's own result, which is None.
        result: object = command.main(list(arguments), "dosirak", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_standard_output()
        return EXIT_BROKEN_PIPE
    except click.exceptions.NoArgsIsHelpError as error:
        # Not an error to explain, but the explanation itself; on stderr, for nothing was done.
        error.show()
        return error.exit_code
    except SystemExit as error:
        return _exit_code(error, pacified=sys.stdout is not output)
    except Exception as error:
        exit_code = _report(error, as_json=wants_json(arguments))
        _give_up_unwritable_output()
        return exit_code
    return result if isinstance(result, int) else 0


def _give_up_unwritable_output() -> None:
    # What a full disk refused is still in the buffer; Python would meet the same error at its end
    # and exit with a code of its own.
    try:
        sys.stdout.flush()
    except OSError:
        _forget_standard_output()


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for JSON; read from the words, for they may not parse."""
    words = [*arguments, ""]
    return any(
        word in {"-ojson", "-o=json", "--output=json"}
        or (word in {"-o", "--output"} and following == "json")
        for word, following in pairwise(words)
    )


def describe(error: Exception) -> Failure:
    """Say what an error means to the person at the keyboard."""
    if isinstance(error, DosirakError):
        fields = tuple((problem.field, problem.reason) for problem in error.fields)
        return Failure(error.exit_code, error.code, error.message, error.remedy, fields)
    if isinstance(error, click.ClickException):
        return Failure(error.exit_code, "usage", _sentence(error), _usage_remedy(error))
    if isinstance(error, OSError) and error.errno in _FULL:
        return _full(error)
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    return Failure(EXIT_UNEXPECTED, "unexpected", f"Something unexpected failed: {summary}")


def _exit_code(error: SystemExit, *, pacified: bool) -> int:
    # click, when it meets a broken pipe before we do, replaces stdout and exits with 1.
    if pacified:
        return EXIT_BROKEN_PIPE
    return error.code if isinstance(error.code, int) else EXIT_UNEXPECTED


def _full(error: OSError) -> Failure:
    full = StorageFull("", remedy="")
    where = f" to {error.filename}" if error.filename else ""
    return Failure(
        full.exit_code,
        full.code,
        f"Nothing more could be written{where}: {os.strerror(error.errno or 0)}.",
        "Free some space and run it again.",
    )


def _open_standard_streams() -> None:
    """Make sure that descriptors 0 to 2 are open: a socket that took one would be written to.

    A shell closes them with `>&-`, some supervisors by default.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, null)


def _report(error: Exception, *, as_json: bool) -> int:
    failure = describe(error)
    if os.environ.get("DOSIRAK_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    elif failure.code == "unexpected":
        failure = failure._replace(remedy=_keep_traceback(error))
    render.failure(failure, as_json=as_json)
    return failure.exit_code


def _sentence(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    return message if message.endswith((".", "?", "!")) else f"{message}."


def _usage_remedy(error: click.ClickException) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"See '{error.ctx.command_path} --help'."
    return ""


def _keep_traceback(error: Exception) -> str:
    text = "".join(traceback.format_exception(error))
    directory = Settings.from_environment().home / "logs"
    path = directory / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Private: a traceback may hold what the person gave to the command.
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
    except OSError:
        return "Run it again with DOSIRAK_DEBUG=1 to see the traceback."
    return f"The traceback is in {path}."


def _forget_standard_output() -> None:
    # Python flushes stdout once more at exit and would complain about the same thing.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
