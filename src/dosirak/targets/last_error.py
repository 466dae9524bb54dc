"""The last error that a replica told of, out of the end of its output: one bounded sentence.

    lines of JSON │ `error: …` of the command │ a traceback's last line ─▶ what people are told

The rest stays in the log. Standard library only: the supervisor of each replica has this.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

_MOST_CHARACTERS = 300
_COMMAND_SAYS = "error: "
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception)(?:: .*)?")
_GRAVE = ("error", "critical")


def last_error(output: str) -> str:
    """Return the message of the last error in some lines; empty where there is none."""
    for line in reversed(output.splitlines()):
        message = _message(line.strip())
        if message:
            return sentence(message)
    return ""


def sentence(text: str) -> str:
    """Return a text as one line with a period at its end, and no longer than people read."""
    line = " ".join(text.split())
    if len(line) >= _MOST_CHARACTERS:
        return f"{line[: _MOST_CHARACTERS - 1].rstrip()}…"
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def _message(line: str) -> str:
    if line.startswith(_COMMAND_SAYS):
        return line.removeprefix(_COMMAND_SAYS)
    if line.startswith("{"):
        return _logged(line)
    return line if _RAISED.fullmatch(line) else ""


def _logged(line: str) -> str:
    try:
        read: object = json.loads(line)
    except ValueError:
        return ""
    values = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    return str(values.get("message", "")) if values.get("level") in _GRAVE else ""
