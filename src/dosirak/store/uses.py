"""What is in use beyond the store: references that an owner, such as the platform, asks to keep.

    uses/<owner>.json    {"bundles": {"iris:1": ["my-first"]}}

An owner writes all that it uses at once, in one step. A reference that is in use is not deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dosirak.errors import CorruptContent
from dosirak.naming import Reference, check_name
from dosirak.store.durability import make_directories, replace_file
from dosirak.store.entry import Kind
from dosirak.store.layout import Layout

Uses = dict[Kind, dict[str, list[str]]]


def write_uses(
    layout: Layout, owner: str, uses: Mapping[Kind, Mapping[str, Sequence[str]]]
) -> None:
    """Say what an owner uses from now on, and for whom; what it said before is forgotten."""
    make_directories(layout.uses)
    path = layout.uses / f"{check_name(owner)}.json"
    content = msgspec.json.encode(uses, order="sorted")
    if not path.exists() or path.read_bytes() != content:
        replace_file(path, content, scratch=layout.uses)


def users_of(layout: Layout, kind: Kind, reference: Reference) -> list[str]:
    """Return who uses a reference: `platform: my-first`.

    Raises:
        CorruptContent: what an owner wrote cannot be read.
    """
    if not layout.uses.is_dir():
        return []
    found: list[str] = []
    for path in sorted(layout.uses.glob("*.json")):
        try:
            uses = msgspec.json.decode(path.read_bytes(), type=Uses)
        except msgspec.DecodeError as error:
            raise CorruptContent(
                f"What is in use cannot be read: {path}.",
                remedy="Delete that file if what wrote it is gone, or have it write it again.",
            ) from error
        users = uses.get(kind, {}).get(str(reference), [])
        found += [f"{path.stem}: {user}" for user in users]
    return found
