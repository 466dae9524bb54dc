"""ONNX: a ModelProto, or a path to a `.onnx` file, run by ONNX Runtime.

Small models become one file. The weights of larger ones are streamed to a second file beside it,
so that they are never serialised in memory. A model may come with external data of its own only
inside its own folder, with no link on the way: that is checked when saving and again when loading.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, BinaryIO

from dosirak.errors import (
    CorruptContent,
    FieldProblem,
    InvalidInput,
    MissingDependency,
    UsageError,
)
from dosirak.models.features import PARAMETER, taking_rows
from dosirak.models.framework import ModelMethod, SavedFormat
from dosirak.models.library import import_library, library_versions, lineage, pins
from dosirak.models.model_file import checked_file, checked_options, corrupt, reading, writing
from dosirak.payload.annotations import DType, Shape

NAME = "onnx"
_FORMAT = "onnx"
_FILE = "model.onnx"
_WEIGHTS_FILE = "model.onnx.data"
_WHAT = "ONNX"
_INLINE_BYTES = 32 * 1024 * 1024
_SMALL_TENSOR_BYTES = 1024
_PAGE_BYTES = 4096  # ONNX Runtime maps weights that begin on a page
_DEFAULT_PROVIDERS = ["CPUExecutionProvider"]
_ARRAY_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


def detect(model: object) -> bool:
    """Whether it is a ModelProto or the path of a `.onnx` file."""
    return "onnx.ModelProto" in lineage(model) or (
        isinstance(model, Path) and model.suffix == ".onnx"
    )


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Check the model and write it.

    Options: `providers`, the execution providers to use, best first (default: the CPU);
    `external_data_directory`, where a ModelProto's external data lies.

    Raises:
        UsageError: the model is not valid, or its external data lies outside its folder.
    """
    chosen = checked_options(
        options, framework=NAME, known={"providers": list, "external_data_directory": str}
    )
    onnx = import_library("onnx", extra="onnx")
    import_library("onnxruntime", extra="onnx")
    proto, source = _opened(onnx, model, chosen.get("external_data_directory"))
    try:
        _check_external(onnx, proto, source)
    except CorruptContent as error:
        raise UsageError(error.message, remedy=error.remedy) from error
    path = directory / _FILE
    with writing(_WHAT, directory, remedy="Export the model again."):
        _write(onnx, proto, source, path)
        onnx.checker.check_model(str(path))
    return SavedFormat(
        _FORMAT,
        options={"providers": [str(p) for p in chosen.get("providers", _DEFAULT_PROVIDERS)]},
        library_versions=library_versions({"onnx", "onnxruntime", "numpy"}),
    )


def _opened(onnx: Any, model: Any, external: str | None) -> tuple[Any, Path | None]:
    """Return the graph without its external data, and the folder where that lies."""
    if not isinstance(model, Path):
        if not isinstance(model, onnx.ModelProto):
            raise UsageError(
                f"A {type(model).__name__} is no ONNX model.",
                remedy="Give an onnx.ModelProto, or the Path of a file.",
            )
        return model, Path(external) if external is not None else None
    if not model.is_file():
        raise UsageError(f"There is no file {model.name}.", remedy="Give the path of the model.")
    try:
        return onnx.load(str(model), load_external_data=False), model.parent
    except Exception as error:
        raise UsageError(f"{model.name} is no ONNX model.", remedy="Export it again.") from error


def _graphs(proto: Any) -> Iterator[Any]:
    """Every graph in the model, those inside nodes and functions too."""
    pending = [proto.graph, *proto.functions]
    for training in proto.training_info:
        pending += [training.initialization, training.algorithm]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += list(attribute.graphs)


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor in the model, wherever it is."""
    for graph in _graphs(proto):
        yield from getattr(graph, "initializer", ())
        yield from _sparse_parts(getattr(graph, "sparse_initializer", ()))
        for node in graph.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors
                sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                yield from _sparse_parts([*sparse, *attribute.sparse_tensors])


def _sparse_parts(sparse: Iterable[Any]) -> Iterator[Any]:
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def _is_external(onnx: Any, tensor: Any) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _check_external(onnx: Any, proto: Any, source: Path | None) -> None:
    for tensor in _tensors(proto):
        if _is_external(onnx, tensor):
            _external_range(tensor, source)


def _external_range(tensor: Any, source: Path | None) -> tuple[Path, int, int]:
    """Return the file, offset and length of a tensor's external data.

    Raises:
        CorruptContent: it would lie outside the model's folder, behind a link, or is not there.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if source is None:
        raise corrupt(_WHAT, "its external data has no folder (give external_data_directory)")
    path = _inside(source, location)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError as error:
        raise corrupt(_WHAT, "a range of its external data is no number") from error
    size = path.stat().st_size
    length = size - offset if length < 0 else length
    if offset < 0 or length < 0 or offset + length > size:
        raise corrupt(_WHAT, "a range of its external data does not fit in its file")
    return path, offset, length


def _inside(source: Path, location: str) -> Path:
    """Follow a relative location below `source`, refusing links and ways out."""
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if not parts or location.startswith("/") or windows.drive or "\\" in location or ".." in parts:
        raise corrupt(_WHAT, "its external data lies outside its folder")
    path = source
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise corrupt(_WHAT, "its external data is behind a link")
    if not path.exists() or not stat.S_ISREG(path.lstat().st_mode):
        raise corrupt(_WHAT, "its external data is missing")
    return path


def _write(onnx: Any, proto: Any, source: Path | None, path: Path) -> None:
    sizes = [_size_bytes(onnx, tensor, source) for tensor in _tensors(proto)]
    if any(_is_external(onnx, tensor) for tensor in _tensors(proto)) or sum(sizes) > _INLINE_BYTES:
        proto = _outlined(onnx, proto, source, path.with_name(_WEIGHTS_FILE))
    with path.open("wb") as file:
        file.write(proto.SerializeToString(deterministic=True))


def _size_bytes(onnx: Any, tensor: Any, source: Path | None) -> int:
    return _external_range(tensor, source)[2] if _is_external(onnx, tensor) else tensor.ByteSize()


def _outlined(onnx: Any, proto: Any, source: Path | None, weights: Path) -> Any:
    """Copy the model, with its large initializers in `weights` and every other tensor inline.

    The original is left as it is: it belongs to the caller.
    """
    outlined = _copied(proto, onnx.ModelProto(), leaving="graph")
    outlined.graph.CopyFrom(_copied(proto.graph, onnx.GraphProto(), leaving="initializer"))
    for tensor in _tensors(outlined):
        _inline(onnx, tensor, source)
    with weights.open("wb") as file:
        for tensor in proto.graph.initializer:
            kept = outlined.graph.initializer.add()
            if tensor.data_type == onnx.TensorProto.STRING or _size_bytes(onnx, tensor, source) <= (
                _SMALL_TENSOR_BYTES
            ):
                kept.CopyFrom(tensor)
                _inline(onnx, kept, source)
            else:
                _move(onnx, tensor, source, kept, file)
    return outlined


def _copied(message: Any, empty: Any, *, leaving: str) -> Any:
    for field, value in message.ListFields():
        if field.name == leaving:
            continue
        if isinstance(value, int | float | str | bytes):
            setattr(empty, field.name, value)
        elif hasattr(value, "CopyFrom"):
            getattr(empty, field.name).CopyFrom(value)
        else:
            getattr(empty, field.name).extend(value)
    return empty


def _inline(onnx: Any, tensor: Any, source: Path | None) -> None:
    if not _is_external(onnx, tensor):
        return
    path, offset, length = _external_range(tensor, source)
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def _move(onnx: Any, tensor: Any, source: Path | None, kept: Any, file: BinaryIO) -> None:
    """Write one tensor's bytes to the weights file and leave its description in `kept`."""
    file.seek(-file.tell() % _PAGE_BYTES, os.SEEK_CUR)
    offset = file.tell()
    if _is_external(onnx, tensor):
        _copy_range(*_external_range(tensor, source), file)
    else:
        file.write(tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes())
    kept.name, kept.data_type, kept.doc_string = tensor.name, tensor.data_type, tensor.doc_string
    kept.dims.extend(tensor.dims)
    kept.data_location = onnx.TensorProto.EXTERNAL
    places = {"location": _WEIGHTS_FILE, "offset": offset, "length": file.tell() - offset}
    for key, value in places.items():
        kept.external_data.add(key=key, value=str(value))


def _copy_range(path: Path, offset: int, length: int, target: BinaryIO) -> None:
    with path.open("rb") as file:
        file.seek(offset)
        while length > 0:
            block = file.read(min(length, 1 << 20))
            length -= len(block)
            target.write(block)


def load(directory: Path, saved: SavedFormat) -> Any:
    """Open an ONNX Runtime session.

    Raises:
        CorruptContent: the file is no ONNX model, or wants data from elsewhere.
        MissingDependency: this ONNX Runtime has none of the model's execution providers.
    """
    onnx = import_library("onnx", extra="onnx")
    runtime = import_library("onnxruntime", extra="onnx")
    path = checked_file(directory, _FILE, what=_WHAT)
    with reading(_WHAT):
        proto = onnx.load(str(path), load_external_data=False)
        _check_external(onnx, proto, directory)
    del proto
    with reading(_WHAT):
        return _session(runtime, str(path), saved.options.get("providers", _DEFAULT_PROVIDERS))


def _session(runtime: Any, model: str | bytes, wanted: list[str]) -> Any:
    available = runtime.get_available_providers()
    providers = [name for name in wanted if name in available]
    if not providers:
        raise MissingDependency(
            f"This ONNX Runtime has none of the providers {', '.join(wanted)}.",
            remedy=f"Install one that has them, or save the model for: {', '.join(available)}.",
        )
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings about a graph are for its maker
    return runtime.InferenceSession(model, options, providers=providers)


def _runnable(model: Any) -> Any:
    """A session for a model that was not loaded by this module (its examples are recorded)."""
    if "onnxruntime.InferenceSession" in lineage(model):
        return model
    runtime = import_library("onnxruntime", extra="onnx")
    graph = str(model) if isinstance(model, Path) else model.SerializeToString()
    return _session(runtime, graph, _DEFAULT_PROVIDERS)


def _outputs(session: Any) -> dict[str, str]:
    """Method name → output name: the first is `predict`, others are called by their own names."""
    names: dict[str, str] = {}
    for output in session.get_outputs():
        own = "".join(c if c.isalnum() and c.isascii() else "_" for c in output.name)
        method = "predict" if not names else own.strip("_")
        if method.isidentifier() and method not in names:
            names[method] = output.name
    return names


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer one method for each output; one array in, or a dictionary when there are several."""
    numpy = import_library("numpy", extra="onnx")
    session = _runnable(model)
    inputs = session.get_inputs()
    kinds = {output.name: output.type for output in session.get_outputs()}
    one = len(inputs) == 1
    input_hint = _input_hint(inputs[0], numpy) if one else dict[str, numpy.ndarray]
    batchable = one and bool(inputs[0].shape) and not isinstance(inputs[0].shape[0], int)
    return tuple(
        ModelMethod(
            method,
            PARAMETER,
            input_hint,
            numpy.ndarray if kinds[output].startswith("tensor") else list[dict[str, float]],
            batchable=batchable,
        )
        for method, output in _outputs(session).items()
    )


def _input_hint(expected: Any, numpy: Any) -> Any:
    """The array that the graph declares; a dimension with a name may have any length."""
    sizes = [size if isinstance(size, int) else None for size in expected.shape]
    hint = Annotated[numpy.ndarray, Shape(*sizes)] if sizes else numpy.ndarray
    kind = _ARRAY_TYPES.get(expected.type, "object")
    return hint if kind == "object" else Annotated[hint, DType(kind)]


def call(model: Any, method: str, value: Any) -> Any:
    """Run the session for one output.

    Raises:
        InvalidInput: an input is missing, or has another shape or type than the graph's.
    """
    session = _runnable(model)
    outputs = _outputs(session)
    if method not in outputs:
        raise UsageError(
            f"The model has no method {method!r}.", remedy=f"Use one of: {', '.join(outputs)}."
        )
    feed = _feed(session.get_inputs(), value)
    with taking_rows(*_run_errors()):
        (result,) = session.run([outputs[method]], feed)
    if isinstance(result, list):  # a sequence of maps: label → score, for each row
        return [{str(key): float(score) for key, score in row.items()} for row in result]
    return result


def _run_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises when the values, not the graph, are at fault."""
    state = import_library("onnxruntime.capi.onnxruntime_pybind11_state", extra="onnx")
    return state.InvalidArgument, state.Fail, state.RuntimeException


def _feed(inputs: list[Any], value: Any) -> dict[str, Any]:
    if len(inputs) == 1 and not isinstance(value, dict):
        value = {inputs[0].name: value}
    wanted = {item.name for item in inputs}
    if not isinstance(value, dict) or set(value) != wanted:
        raise InvalidInput(
            "The model takes several inputs by name.",
            remedy=f"Send an object with: {', '.join(sorted(wanted))}.",
            fields=[FieldProblem(PARAMETER, f"must hold {', '.join(sorted(wanted))}")],
        )
    return {item.name: _input_array(item, value[item.name]) for item in inputs}


def _input_array(expected: Any, value: Any) -> Any:
    numpy = import_library("numpy", extra="onnx")
    kind = _ARRAY_TYPES.get(expected.type)
    if kind is None:
        raise UsageError(
            f"An input of type {expected.type} cannot be sent.",
            remedy="Write a service that makes it.",
        )
    try:
        array = numpy.ascontiguousarray(value, dtype=kind)
    except (TypeError, ValueError) as error:
        raise _unfit(expected, f"must hold {expected.type[7:-1]} values") from error
    fixed = [size if isinstance(size, int) else None for size in expected.shape]
    matches = len(fixed) == array.ndim and all(
        size in (None, found) for size, found in zip(fixed, array.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if size is None else str(size) for size in fixed)
        raise _unfit(expected, f"must have the shape ({wanted})")
    return array


def _unfit(expected: Any, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The input {expected.name!r} {reason}.",
        remedy="Send an array that fits the model's input.",
        fields=[FieldProblem(PARAMETER, reason)],
    )


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return ONNX (to check the file) and ONNX Runtime (to run it)."""
    return pins(saved.library_versions)
