"""What all of Envoy's resources are made of: typed values, durations, files of a version.

A resource is a mapping as Envoy's JSON has it. A file holds those of one kind with the version of
the table that changed it last; Envoy says the same word back once it follows them.
"""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]
Document = dict[str, Any]

_TYPES = "type.googleapis.com/"
METADATA = "dosirak"


def typed(kind: str, /, **fields: Any) -> Resource:
    """Return a value that says of which type it is."""
    return {"@type": f"{_TYPES}{kind}", **fields}


def extension(name: str, kind: str, /, **fields: Any) -> Resource:
    """Return a named extension of Envoy with its configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def seconds(value: float) -> str:
    """Return a duration as Envoy reads it."""
    return f"{value:.3f}s"


def header(name: str, value: str) -> Resource:
    """Return a header that is set whatever was there."""
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def literal(text: str) -> str:
    """Return text that Envoy's formats leave as it is."""
    return text.replace("%", "%%")


def metadata(**said: str) -> Resource:
    """Return what a resource says of itself: logs, headers and answers are made from it."""
    return {"filter_metadata": {METADATA: {name: text for name, text in said.items() if text}}}


def watched(path: str) -> Resource:
    """Return where a resource comes from: a file that is replaced by renaming."""
    return {"resource_api_version": "V3", "path_config_source": {"path": path}}
