"""How urgent a request is, as it says itself: the `Priority` header of RFC 9218. Pure.

    Priority: u=1, i ─▶ 1          no header, nonsense, u=9 ─▶ 3, the default

The header is a dictionary of structured fields (RFC 8941), read strictly: what is not one says
nothing. It never fails a request, because a proxy may have written it.
"""

from __future__ import annotations

import re

PRIORITY_HEADER = "priority"
MOST_URGENT = 0
DEFAULT_URGENCY = 3
LEAST_URGENT = 7

_KEY = r"[a-z*][a-z0-9_.*-]*"
_BARE = (
    r"(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}"
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    r"|[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*"
    r"|:[A-Za-z0-9+/=]*:|\?[01])"
)
_PARAMETERS = rf"(?:; *{_KEY}(?:={_BARE})?)*"
_ITEM = rf"{_BARE}{_PARAMETERS}"
_LIST = rf"\( *(?:{_ITEM}(?: +{_ITEM})* *)?\){_PARAMETERS}"
_MEMBER = re.compile(
    rf"(?P<key>{_KEY})(?:=(?:(?P<bare>{_BARE}){_PARAMETERS}|{_LIST})|{_PARAMETERS})"
)
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_CLASSES = {str(urgency): urgency for urgency in range(MOST_URGENT, LEAST_URGENT + 1)}


def urgency_of(field: str) -> int:
    """Return what the value of a `Priority` header says, 0 (most urgent) to 7."""
    field = field.strip(" ")
    said: str | None = None
    at = 0
    while (member := _MEMBER.match(field, at)) is not None:
        if member["key"] == "u":
            said = member["bare"]  # The last one counts.
        if member.end() == len(field):
            return _CLASSES.get(said or "", DEFAULT_URGENCY)
        comma = _COMMA.match(field, member.end())
        if comma is None:
            break
        at = comma.end()
    return DEFAULT_URGENCY
