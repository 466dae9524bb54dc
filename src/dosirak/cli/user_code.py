"""What the author's code raised while a command ran it in this process, shown as its traceback.

Serving keeps what user code raises out of its answers and writes it to the log, which here nobody
keeps: `heard` listens to that log instead, and `explained` shows what concerns the author: the
frames of their own files. `DOSIRAK_DEBUG=1` shows every frame, as it does for every failure.
"""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException

from dosirak.cli import render
from dosirak.errors import DosirakError, ServiceError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.handlers import SEE_LOG

_REMEDY = "Correct what the traceback shows. DOSIRAK_DEBUG=1 shows the whole of it."


class Heard(logging.Handler):
    """Keeps the exceptions that were logged; says the rest at once."""

    def __init__(self) -> None:
        super().__init__()
        self.raised: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record (logging calls this)."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.raised.append(error)
        else:
            render.note(record.getMessage())


@contextmanager
def heard() -> Generator[Heard]:
    """Listen to dosirak's own log."""
    handler = Heard()
    logger = logging.getLogger(ROOT_LOGGER)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def explained(error: ServiceError, found: Heard) -> ServiceError:
    """Show the traceback behind an error; return the error without a word of any server."""
    cause = found.raised[-1] if found.raised else error.__cause__
    if cause is not None and os.environ.get("DOSIRAK_DEBUG") != "1":
        _show(cause)
    told = type(error)(
        error.message,
        remedy=_REMEDY if error.remedy == SEE_LOG else error.remedy,
        fields=error.fields,
    )
    told.__cause__ = cause
    return told


def _show(error: BaseException) -> None:
    if isinstance(error, DosirakError):
        return  # Raised by ours about theirs: its message is the explanation.
    told = TracebackException.from_exception(error)
    _trim(told)
    sys.stderr.write("".join(told.format()))


def _trim(told: TracebackException) -> None:
    """Keep the frames of the author's files, in an exception and in those before it."""
    own = [frame for frame in told.stack if _is_authors(frame)]
    told.stack = StackSummary.from_list(own or list(told.stack))
    for before in (told.__cause__, told.__context__):
        if before is not None:
            _trim(before)


def _is_authors(frame: FrameSummary) -> bool:
    path = Path(frame.filename)
    return path.exists() and not any(path.is_relative_to(place) for place in _others())


def _others() -> list[Path]:
    """Return where code lies that the author did not write."""
    paths = sysconfig.get_paths()
    installed = [Path(paths[kind]) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [Path(__file__).parents[1], *installed]
