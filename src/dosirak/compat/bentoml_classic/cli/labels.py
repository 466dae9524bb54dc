"""Label queries: `stage=prod, team!=search, region in (eu, us), owner Exists`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from dosirak.compat.bentoml_classic.exceptions import CLIException

Labels = Mapping[str, str]
Condition = Callable[[Labels], bool]

_SET = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)", re.IGNORECASE)
_PRESENCE = re.compile(r"(?P<key>\S+)\s+(?P<op>exists|doesnotexist)", re.IGNORECASE)
_EQUALITY = re.compile(r"(?P<key>[^\s=!]+)\s*(?P<op>!?=)\s*(?P<value>\S*)")


def label_query(text: str | None) -> Condition:
    """Return a condition on labels; every part of the query must hold.

    Raises:
        CLIException: the query cannot be read (the caller's fault).
    """
    # Commas inside parentheses belong to a set.
    parts = re.split(r",(?![^(]*\))", text) if text else []
    conditions = [_condition(part.strip()) for part in parts]
    return lambda labels: all(condition(labels) for condition in conditions)


def _condition(part: str) -> Condition:
    if found := _SET.fullmatch(part):
        values = {value.strip() for value in found["values"].split(",")}
        wanted = found["op"].lower() == "in"
        return lambda labels: (labels.get(found["key"]) in values) is wanted
    if found := _PRESENCE.fullmatch(part):
        wanted = found["op"].lower() == "exists"
        return lambda labels: (found["key"] in labels) is wanted
    if found := _EQUALITY.fullmatch(part):
        wanted = found["op"] == "="
        return lambda labels: (labels.get(found["key"]) == found["value"]) is wanted
    raise CLIException(
        f"The label query {part!r} cannot be read.",
        remedy="Write KEY=VALUE, KEY!=VALUE, KEY in (A, B), KEY notin (A, B), KEY Exists or"
        " KEY DoesNotExist, separated by commas.",
    )
