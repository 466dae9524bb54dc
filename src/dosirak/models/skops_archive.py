"""skops archives on the disk, written and read member by member, never whole in memory.

skops' public `dump` builds the archive in memory, and its `load` holds every member until the last
object is made. The steps inside both take any archive that they can write to or read from, so this
file calls the steps, with an archive on the disk (ADR 0007). Where they do not look as they did
when they were reviewed, the public functions do the same work with more memory.

The bytes are a function of the model: skops names members after memory addresses, so they get
running numbers in the order of writing, which is that of the model's attributes, and no time.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from dosirak.models.archive_bounds import MAX_SCHEMA_BYTES, check_archive
from dosirak.models.library import import_library, optional_library

_EXTRA = "sklearn"
_SCHEMA = "schema.json"
_ARRAY = ".npy"
# Loading audits before it makes anything; a version whose `load` was not read might audit more.
_REVIEWED_FOR_LOADING = ("0.16.",)
# Below it an array's bytes may lie in memory once more; that costs less than asking for pieces.
_STREAMED_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    """What was written, without the arrays.

    Attributes:
        schema: the JSON text that says what each object is.
        members: the names of the files beside it.
    """

    schema: bytes
    members: tuple[str, ...]

    def untrusted_types(self) -> list[str]:
        """Return the names in the archive that skops does not trust by itself."""
        outline = BytesIO()
        with ZipFile(outline, "w") as archive:
            for name in self.members:
                archive.writestr(_member(name), b"")
            archive.writestr(_member(_SCHEMA), self.schema)
        skops = import_library("skops.io", extra=_EXTRA)
        return list(skops.get_untrusted_types(data=outline.getvalue()))


def write_archive(model: Any, path: Path) -> WrittenArchive:
    """Write a model; needs little memory beside it.

    Raises:
        MissingDependency: skops is not installed.
        Exception: skops raises many kinds for what it cannot hold.
    """
    import_library("skops.io", extra=_EXTRA)
    with ZipFile(path, "w", ZIP_STORED) as archive:
        members = _NumberedMembers(archive)
        state = _state_by_steps(model, members) or _state_by_dump(model, members, path)
        _renumber(state, members.numbered)
        schema = json.dumps(state, separators=(",", ":")).encode()
        if len(schema) > MAX_SCHEMA_BYTES:
            raise ValueError(f"its description is longer than {MAX_SCHEMA_BYTES:,} bytes")
        archive.writestr(_member(_SCHEMA), schema)
    return WrittenArchive(schema, tuple(members.numbered.values()))


def read_archive(path: Path, *, trusted: Sequence[str]) -> Any:
    """Make the model in an archive, once all types that it names were found trusted.

    Raises:
        MissingDependency: skops is not installed.
        CorruptContent: it is not as `write_archive` writes it, or an array is not as it says.
        Exception: skops raises many kinds for what is not its own.
    """
    skops = import_library("skops.io", extra=_EXTRA)
    check_archive(path)
    steps = _loading_steps()
    if steps is not None:
        with path.open("rb") as file, ZipFile(file) as archive:
            tree = steps.audited_tree(archive, trusted)
            if tree is not None:
                return steps.construct(tree)
    return skops.load(path, trusted=list(trusted))


class _NumberedMembers:
    """The archive as skops sees it while it saves; it asks for no more than these methods."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self.numbered: dict[str, str] = {}

    def namelist(self) -> Collection[str]:
        """Return what was written, by skops' own names; asked before each array is."""
        return self.numbered.keys()

    def writestr(self, name: str, data: bytes | memoryview) -> None:
        """Write one member under the next number."""
        number = f"{len(self.numbered) + 1}{Path(name).suffix}"
        self.numbered[name] = number
        self._archive.writestr(_member(number), cast(bytes, data))

    def write_array(self, name: str, array: Any) -> None:
        """Write an array under the next number in pieces; the bytes are those of `np.save`."""
        number = f"{len(self.numbered) + 1}{Path(name).suffix}"
        self.numbered[name] = number
        member = _member(number)
        member.file_size = array.nbytes  # so that a long member gets its long header from the start
        numpy = import_library("numpy", extra="numpy")
        with self._archive.open(member, "w") as file:
            numpy.lib.format.write_array(file, array, allow_pickle=False)


def _member(name: str) -> ZipInfo:
    info = ZipInfo(name)  # its default time is the first of 1980
    info.external_attr = 0o644 << 16
    return info


def _state_by_steps(model: Any, members: _NumberedMembers) -> dict[str, Any] | None:
    """Describe a model and write its arrays as they are met; None where skops looks different."""
    utils = optional_library("skops.io._utils")
    if not (
        _takes(utils, "SaveContext", "zip_file", "protocol", "memo")
        and _takes(utils, "get_state", "value", "save_context")
    ):
        return None
    _stream_arrays(utils)
    context: Any = cast(Any, utils).SaveContext(zip_file=members)
    state: dict[str, Any] = cast(Any, utils).get_state(model, context)
    version: str = import_library("skops", extra=_EXTRA).__version__
    return {**state, "protocol": context.protocol, "_skops_version": version}


def _stream_arrays(utils: Any) -> None:
    """Teach skops' dispatch by type to write a large array of one of our archives in pieces.

    skops would make the array's file in memory first. For every other archive, and for what is
    not a plain large array, the function that was registered before does what it did.
    """
    numpy = import_library("numpy", extra="numpy")
    by_type: Any = getattr(utils, "_get_state", None)
    if not all(hasattr(by_type, name) for name in ("register", "dispatch")):
        return
    before: Any = by_type.dispatch(numpy.ndarray)
    if isinstance(before, _StreamedArrays) or not _is_function_of(before, "obj", "save_context"):
        return
    by_type.register(numpy.ndarray, _StreamedArrays(before, numpy.ndarray))


@dataclass(frozen=True, slots=True)
class _StreamedArrays:
    """What skops calls for an array: the function it had, but for large arrays of our archives."""

    before: Any
    array_type: type

    def __call__(self, obj: Any, save_context: Any) -> dict[str, Any]:
        members = save_context.zip_file
        if (
            type(obj) is not self.array_type
            or not isinstance(members, _NumberedMembers)
            or obj.nbytes < _STREAMED_BYTES
            or obj.dtype.hasobject
        ):
            return self.before(obj, save_context)
        name = f"{save_context.memoize(obj)}{_ARRAY}"
        if name not in members.namelist():
            members.write_array(name, obj)
        return {
            "__class__": "ndarray",
            "__module__": "numpy",
            "__loader__": "NdArrayNode",
            "type": "numpy",
            "file": name,
        }


def _is_function_of(function: Any, *parameters: str) -> bool:
    return tuple(inspect.signature(function).parameters) == parameters


def _state_by_dump(model: Any, members: _NumberedMembers, path: Path) -> dict[str, Any]:
    """Have skops write an archive of its own, and take over its members in their order."""
    dumped = path.with_name(f"{path.name}.dump")
    try:
        import_library("skops.io", extra=_EXTRA).dump(model, dumped)
        with ZipFile(dumped) as original:
            for name in original.namelist():
                if name != _SCHEMA:
                    members.writestr(name, original.read(name))
            return json.loads(original.read(_SCHEMA))
    finally:
        dumped.unlink(missing_ok=True)


def _takes(module: Any | None, name: str, *parameters: str) -> bool:
    """Whether a module has a callable of this name with these parameters."""
    found = getattr(module, name, None)
    return callable(found) and _is_function_of(found, *parameters)


def _renumber(schema: dict[str, Any], members: dict[str, str]) -> None:
    """Replace addresses by running numbers, in place."""
    numbers: dict[int, int] = {}
    done: set[int] = set()
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if id(node) in done:  # a description that two places share
            continue
        done.add(id(node))
        if isinstance(node, dict):
            _renumber_node(cast(dict[str, Any], node), numbers, members)
        children: Any = cast(Any, node).values() if isinstance(node, dict) else node
        pending.extend(child for child in children if isinstance(child, dict | list | tuple))


def _renumber_node(node: dict[str, Any], numbers: dict[int, int], members: dict[str, str]) -> None:
    address, file = node.get("__id__"), node.get("file")
    cached: Any = node.get("_stop_words_id")
    if isinstance(cached, dict) and "content" in cached:
        cached["content"] = "0"  # text vectorizers keep the address of a list they have checked
    if node.get("__loader__") == "JsonNode":
        node.pop("__id__", None)  # whether two equal numbers are one object is chance
    elif isinstance(address, int):
        node["__id__"] = numbers.setdefault(address, len(numbers) + 1)
    if isinstance(file, str) and isinstance(node.get("__loader__"), str):
        node["file"] = members[file]


@dataclass(frozen=True, slots=True)
class _LoadingSteps:
    """The steps of skops' `load`, and the two kinds of node that hold most of a model."""

    utils: Any
    audit: Any
    protocol: int
    array_node: type
    tree_node: type

    def audited_tree(self, archive: ZipFile, trusted: Sequence[str]) -> Any | None:
        """Return the description of the objects, its arrays still in the archive.

        None when an array is asked for by something else than an array's node, or the file is of
        an older skops: then skops must read it by itself.
        """
        members = _DelayedArrays(archive)
        schema, context = self.utils.read_schema(members)
        if context.protocol != self.protocol:
            return None
        tree = self.audit.get_tree(schema, context, trusted=trusted)
        self.audit.audit_tree(tree, trusted=trusted)
        context.memo.clear()
        arrays = [node for node in self._nodes(tree) if self._is_delayed(node)]
        if len(arrays) != members.delayed:
            return None
        for node in arrays:
            node.buffer = _ArrayFile(archive, node.buffer.getvalue().decode())
        return tree

    def construct(self, tree: Any) -> Any:
        """Make the objects; a decision tree copies its arrays, so each lets go of them at once."""
        for node in [node for node in self._nodes(tree) if type(node) is self.tree_node]:
            node.construct()
            node.attrs = node.args = None
            node.children = {}
        return tree.construct()

    def _is_delayed(self, node: Any) -> bool:
        return type(node) is self.array_node and node.type == "numpy"

    def _nodes(self, tree: Any) -> Iterator[Any]:
        seen: set[int] = set()
        pending: list[Any] = [tree]
        while pending:
            node: Any = pending.pop()
            if isinstance(node, list | dict):
                values: Any = cast(Any, node).values() if isinstance(node, dict) else node
                pending.extend(values)
            elif isinstance(node, self.audit.Node) and id(node) not in seen:
                seen.add(id(node))
                pending.extend(node.children.values())
                yield node


def _loading_steps() -> _LoadingSteps | None:
    version: str = import_library("skops", extra=_EXTRA).__version__
    utils, audit = optional_library("skops.io._utils"), optional_library("skops.io._audit")
    numpy, trees = optional_library("skops.io._numpy"), optional_library("skops.io._sklearn")
    if not (
        version.startswith(_REVIEWED_FOR_LOADING)
        and _takes(utils, "read_schema", "zip_file")
        and _takes(audit, "get_tree", "state", "load_context", "trusted")
        and _takes(audit, "audit_tree", "tree", "trusted")
        and _takes(trees, "TreeNode", "state", "load_context", "trusted")
        and _takes(numpy, "NdArrayNode", "state", "load_context", "trusted")
    ):
        return None
    protocol: int = cast(Any, audit).PROTOCOL
    return _LoadingSteps(
        utils, audit, protocol, cast(Any, numpy).NdArrayNode, cast(Any, trees).TreeNode
    )


class _DelayedArrays:
    """The archive as skops sees it while it describes: for an array it gets the array's name."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self.delayed = 0

    def read(self, name: str) -> bytes:
        """Return a member's content, or of an array its name."""
        if not name.endswith(_ARRAY):
            return self._archive.read(name)
        self.delayed += 1
        return self._archive.getinfo(name).filename.encode()


class _ArrayFile:
    """A member of the archive as a file that opens when it is first read."""

    def __init__(self, archive: ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name

    @cached_property
    def _file(self) -> IO[bytes]:
        return self._archive.open(self._name)

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)
