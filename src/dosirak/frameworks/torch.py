"""PyTorch: a module or a dictionary of tensors as safetensors, TorchScript, exported programs.

A module's weights go to safetensors and its class is recorded as `module:qualname` with the
constructor's arguments; loading imports the class, which must be an `nn.Module`. Weights are
written from where they lie and mapped, not read, so memory is not needed twice.

TorchScript and exported programs are programs: their files hold code (and an exported program holds
Python pickles) that runs on loading. Their manifests say so.
"""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dosirak.errors import (
    FieldProblem,
    InvalidInput,
    MissingDependency,
    ResultError,
    UntrustedContent,
    UsageError,
)
from dosirak.models.features import PARAMETER, row_method
from dosirak.models.framework import ModelMethod, SavedFormat, framework
from dosirak.models.library import (
    import_library,
    imported_object,
    library_versions,
    lineage,
    pins,
)
from dosirak.models.model_file import (
    checked_file,
    checked_options,
    corrupt,
    reading,
    survives_json,
    writing,
)
from dosirak.models.tensor_layout import check_tensors, ready_to_write, shards, storage_plan

NAME = "torch"
_SAFETENSORS, _TORCHSCRIPT, _PROGRAM = "safetensors", "torchscript", "pt2"
_SCRIPT_FILE, _PROGRAM_FILE = "model.pt", "model.pt2"
_OTHER_FORMS = (
    "save torch.jit.script(model), or pass allow_pickle=True to pickle it, if you accept that"
    " pickle runs code."
)


def detect(model: object) -> bool:
    """Whether it is a module, a program made from one, or a dictionary of tensors."""
    known = {"torch.Module", "torch.ExportedProgram"}
    return not lineage(model).isdisjoint(known) or _is_tensors(model)


def _is_tensors(model: object) -> bool:
    return (
        isinstance(model, dict)
        and len(model) > 0
        and all(isinstance(name, str) for name in model)
        and all("torch.Tensor" in lineage(value) for value in model.values())
    )


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Write the model in the form that fits its type.

    Options: `constructor`, the keyword arguments that make the module's class again.

    Raises:
        UsageError: the class or its arguments cannot make this module again.
        UntrustedContent: an exported program, or a class that cannot be imported, without
            `allow_pickle`.
    """
    chosen = checked_options(options, framework=NAME, known={"constructor": dict})
    kinds = lineage(model)
    if "constructor" in chosen and ("torch.Module" not in kinds or "torch.ScriptModule" in kinds):
        raise UsageError(
            "Only a module is made again by its constructor.", remedy="Leave the option out."
        )
    if "torch.ScriptModule" in kinds:
        return _save_script(model, directory)
    if "torch.ExportedProgram" in kinds:
        return _save_program(model, directory, chosen)
    if "torch.Module" in kinds:
        return _save_module(getattr(model, "_orig_mod", model), directory, chosen)
    if not _is_tensors(model):
        raise UsageError(
            f"A {type(model).__name__} is nothing of torch's.",
            remedy="Save a module, a script, an exported program or a state dict.",
        )
    return _save_tensors(model, directory, {"form": "tensors"})


def _save_script(model: Any, directory: Path) -> SavedFormat:
    torch = import_library("torch", extra="torch")
    with writing("TorchScript", directory, remedy="Script or trace the module again."):
        torch.jit.save(model, str(directory / _SCRIPT_FILE))
    return SavedFormat(_TORCHSCRIPT, pickle=True, library_versions=_versions())


def _save_program(model: Any, directory: Path, chosen: Mapping[str, Any]) -> SavedFormat:
    if chosen.get("allow_pickle") is not True:
        raise UntrustedContent(
            "An exported program's file holds pickles, which run code when they are loaded.",
            remedy="Pass allow_pickle=True if you accept that, or save the module itself.",
        )
    torch = import_library("torch", extra="torch")
    with writing("an exported program", directory, remedy="Export the module again."):
        torch.export.save(model, directory / _PROGRAM_FILE)
    return SavedFormat(_PROGRAM, pickle=True, library_versions=_versions())


def _save_module(model: Any, directory: Path, chosen: Mapping[str, Any]) -> SavedFormat:
    try:
        kind = _importable_class(model)
        arguments = chosen.get("constructor", {})
        _check_constructor(model, arguments)
    except UsageError:
        if chosen.get("allow_pickle") is not True:
            raise
        return framework("pickle").save(model, directory, options={"allow_pickle": True})
    state = model.state_dict()
    kept = {"form": "module", "class": kind, "constructor": arguments}
    kept["unsaved_types"] = {
        name: str(buffer.dtype).removeprefix("torch.")
        for name, buffer in model.named_buffers()
        if name not in state
    }
    return _save_tensors(state, directory, kept)


def _importable_class(model: Any) -> str:
    kind = type(model)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise UsageError(
            f"The class {kind.__qualname__} cannot be imported when the model is loaded.",
            remedy=f"Move it to a module of its own, {_OTHER_FORMS}",
        )
    if imported_object(name) is not kind:
        raise UsageError(
            f"Importing {name} gives another class than the model's.",
            remedy=f"Give the class a name of its own at the top of a module, {_OTHER_FORMS}",
        )
    return name


def _check_constructor(model: Any, arguments: dict[str, Any]) -> None:
    """Make the class again without memory (on the meta device) and compare what it holds."""
    if not survives_json(arguments):
        raise UsageError(
            "The constructor's arguments must be JSON values.",
            remedy=f"Give text, numbers, booleans, lists and dictionaries only, {_OTHER_FORMS}",
        )
    torch = import_library("torch", extra="torch")
    kind = type(model)
    remedy = (
        f"Pass options={{'constructor': {{…}}}} with the arguments it was made with, {_OTHER_FORMS}"
    )
    try:
        inspect.signature(kind).bind(**arguments)
        with torch.device("meta"):
            made = kind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"{kind.__qualname__} cannot be made again: {error}.", remedy=remedy
        ) from error
    except (RuntimeError, NotImplementedError):
        return  # a constructor that reads values cannot run without memory; loading will tell
    if _shapes(made) != _shapes(model):
        raise UsageError(
            f"{kind.__qualname__} made with these arguments holds other weights.", remedy=remedy
        )


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(t, "shape", ())) for name, t in module.state_dict().items()}


def _save_tensors(tensors: Mapping[str, Any], directory: Path, kept: dict[str, Any]) -> SavedFormat:
    library = import_library("safetensors.torch", extra="torch")
    check_tensors(tensors)
    aliases, in_place, to_copy = storage_plan(tensors)
    files: list[str] = []
    with writing("safetensors", directory, remedy="Convert the tensors to dense, ordinary types."):
        for shard in [in_place, *shards(tensors, to_copy)]:
            files.append(f"model-{len(files) + 1:05}.safetensors")
            # Inline, so that one shard's copies are gone before the next one's are made.
            library.save_file(
                {n: ready_to_write(tensors[n], copy=shard is not in_place) for n in shard},
                directory / files[-1],
            )
    return SavedFormat(
        _SAFETENSORS,
        options={**kept, "aliases": aliases, "files": files},
        library_versions=_versions("safetensors", "numpy"),
    )


def _versions(*others: str) -> dict[str, str]:
    return library_versions({"torch", "numpy", *others})


def load(directory: Path, saved: SavedFormat) -> Any:
    """Read the model back, in evaluation mode; an exported program as the module it holds.

    Raises:
        CorruptContent: the files are not in the format, or do not fit the class.
        MissingDependency: the module's class cannot be imported.
        UntrustedContent: the manifest does not say that the format holds code.
    """
    if saved.format == "pickle":
        return framework("pickle").load(directory, saved)
    if saved.format == _SAFETENSORS:
        return _load_safetensors(directory, saved.options)
    if saved.format not in (_TORCHSCRIPT, _PROGRAM):
        raise corrupt("PyTorch", f"{saved.format!r} is no format of PyTorch")
    if not saved.pickle:
        raise UntrustedContent(
            "The model's record does not say that loading its file runs code.",
            remedy="Save the model again; do not load this file.",
        )
    return _load_script(directory) if saved.format == _TORCHSCRIPT else _load_program(directory)


def _load_script(directory: Path) -> Any:
    torch = import_library("torch", extra="torch")
    path = checked_file(directory, _SCRIPT_FILE, what="TorchScript", magic=b"PK\x03\x04")
    with reading("TorchScript"):
        return torch.jit.load(str(path), map_location="cpu").eval()


def _load_program(directory: Path) -> Any:
    torch = import_library("torch", extra="torch")
    what = "exported program"
    path = checked_file(directory, _PROGRAM_FILE, what=what, magic=b"PK\x03\x04")
    with reading(what):
        with zipfile.ZipFile(path) as archive:
            members = [name.partition("/")[2] for name in archive.namelist()]
        if "archive_format" not in members:  # else PyTorch would try an older, looser format
            raise corrupt(what, "it is another kind of archive")
        return torch.export.load(path).module()


def _load_safetensors(directory: Path, options: Mapping[str, Any]) -> Any:
    what = "safetensors"
    form, files, aliases = (options.get(name) for name in ("form", "files", "aliases"))
    if not isinstance(files, list) or not isinstance(aliases, dict):
        raise corrupt(what, "its record does not list its files")
    tensors = _mapped(directory, [str(file) for file in files])
    with reading(what):
        shared = {alias: tensors[str(name)] for alias, name in aliases.items()}
    if form == "module":
        return _load_module(tensors, shared, options)
    return {**tensors, **shared}


def _mapped(directory: Path, files: list[str]) -> dict[str, Any]:
    """Map every file's tensors: private to this process, read from the disk when touched."""
    safetensors = import_library("safetensors", extra="torch")
    tensors: dict[str, Any] = {}
    for file in files:
        path = checked_file(directory, Path(file).name, what="safetensors")
        with reading("safetensors"), safetensors.safe_open(path, framework="pt") as opened:
            tensors.update({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    return tensors


def _load_module(
    tensors: dict[str, Any], shared: dict[str, Any], options: Mapping[str, Any]
) -> Any:
    torch = import_library("torch", extra="torch")
    name = str(options.get("class"))
    kind = imported_object(name)
    if kind is None:
        raise MissingDependency(
            f"The model's class {name} cannot be imported.",
            remedy="Install the distribution, or add the file, that defines it.",
        )
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise corrupt("PyTorch", f"{name} is no torch.nn.Module")
    with reading("safetensors"):
        with _without_initial_values(torch):
            module = kind(**options.get("constructor", {}))
        # Assigning keeps the mapped tensors and their types; copying would need them twice.
        module.load_state_dict({**tensors, **shared}, strict=True, assign=True)
        _tie(module, options["aliases"])
        _set_types(torch, module, options.get("unsaved_types", {}))
        return module.eval()


def _without_initial_values(torch: Any) -> Any:
    """A context in which parameters get memory but no random values: all are about to be replaced.

    Only parameters, every one of which a state dict holds; anything else is initialised as usual.
    """

    class WithoutInitialValues(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            target = named.get("tensor", args[0] if args else None)
            initialises = getattr(function, "__module__", "") == "torch.nn.init"
            if initialises and isinstance(target, torch.nn.Parameter):
                return target
            return function(*args, **named)

    return WithoutInitialValues()


def _set_types(torch: Any, module: Any, types: Mapping[str, str]) -> None:
    """Give buffers that are made, not saved, the types they had (a module cast to half has none
    in its constructor)."""
    buffers = dict(module.named_buffers())
    for name, kind in types.items():
        if name in buffers:
            buffers[name].data = buffers[name].data.to(getattr(torch, kind))


def _tie(module: Any, aliases: Mapping[str, str]) -> None:
    """Make names that were one parameter one parameter again."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for alias, name in aliases.items():
        if alias in parameters and name in parameters:
            owner, _, attribute = alias.rpartition(".")
            setattr(module.get_submodule(owner), attribute, parameters[name])


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer `predict`, arrays in and out; a dictionary of tensors cannot be called."""
    if _is_tensors(model):
        return ()
    numpy = import_library("numpy", extra="torch")
    return (row_method("predict", numpy.ndarray, numpy.ndarray),)


def call(model: Any, method: str, value: Any) -> Any:
    """Run the module on one array without recording gradients.

    Raises:
        InvalidInput: the module refuses the array's shape.
        ResultError: the module returns something that is no single tensor.
    """
    if method != "predict" or not methods(model):
        raise UsageError(f"The model has no method {method!r}.", remedy="Write a service for it.")
    torch = import_library("torch", extra="torch")
    module = model if "torch.Module" in lineage(model) else model.module()
    batch = _input_tensor(torch, module, value)
    with torch.no_grad(), _evaluating(module):
        try:
            result = module(batch)
        except (RuntimeError, IndexError, ValueError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise InvalidInput(
                f"The model cannot take an array of shape {tuple(batch.shape)}.",
                remedy="Send rows shaped as those the model was trained on.",
                fields=[FieldProblem(PARAMETER, "has a shape that the model refuses")],
            ) from error
    return _output_array(torch, result)


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    """Evaluation mode for one call, leaving a module that is being trained as it was."""
    exported = "torch.GraphModule" in lineage(module)  # its mode is part of its graph
    training = [] if exported else [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _input_tensor(torch: Any, module: Any, value: Any) -> Any:
    numpy = import_library("numpy", extra="torch")
    array = numpy.ascontiguousarray(value)
    if array.dtype.kind not in "biuf":
        raise InvalidInput(
            "The model takes numbers.",
            remedy="Send an array of numbers.",
            fields=[FieldProblem(PARAMETER, "must hold numbers")],
        )
    first = next(iter(module.parameters()), None)
    device = "cpu" if first is None else first.device
    return torch.tensor(array, dtype=_input_type(torch, module, array), device=device)


def _input_type(torch: Any, module: Any, array: Any) -> Any:
    """The type of the model's weights; whole numbers stay so where they look up embeddings."""
    if array.dtype.kind in "biu" and _looks_up(module):
        return torch.int64
    floating = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(floating, torch.float32)


def _looks_up(module: Any) -> bool:
    """Whether the first layer with weights is an embedding, or an exported graph says integers."""
    if "torch.GraphModule" in lineage(module):
        inputs = (node for node in module.graph.nodes if node.op == "placeholder")
        examples = (node.meta.get("val") for node in inputs)
        return any(not example.dtype.is_floating_point for example in examples)
    for layer in module.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            name = str(getattr(layer, "original_name", type(layer).__name__))
            return name.startswith("Embedding")
    return False


def _output_array(torch: Any, result: Any) -> Any:
    if isinstance(result, tuple | list):
        items: list[Any] = list(result)
        result = items[0] if len(items) == 1 else None
    if not isinstance(result, torch.Tensor):
        raise ResultError(
            "The model returns something other than one tensor.",
            remedy="Write a service that calls it and names its results.",
        )
    plain: Any = result.detach().to("cpu")
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return PyTorch, and safetensors where it is used."""
    return pins(saved.library_versions)
