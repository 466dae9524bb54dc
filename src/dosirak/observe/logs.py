"""The log of what happens beside requests: errors of user code, workers that end, refusals.

Configured once, by the program that owns the process; libraries only ask for a logger.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import msgspec

ROOT_LOGGER = "dosirak"
# What these have to say (spans that cannot be sent) would be text between lines of JSON.
_GUESTS = ("opentelemetry",)
# What these say of a body that cannot be read, its sender is told; anybody could fill the log.
_SILENT = ("python_multipart",)


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with the traceback as one field."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        moment = datetime.fromtimestamp(record.created, UTC)
        values: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", "")
        if request_id:
            values["request_id"] = request_id
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(values).decode()


def configure_logging(style: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Send dosirak's own log to the standard error output of this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if style == "json"
        else logging.Formatter("%(asctime)s  %(levelname)s  %(message)s", datefmt="%H:%M:%S")
    )
    for name, least in ((ROOT_LOGGER, level), *((name, logging.WARNING) for name in _GUESTS)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least)
        logger.propagate = False
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
