"""Finding a service in the author's own files: `module:Class`, `file.py`, `file.py:Class`.

The module is imported once, by its real name from its project's root, so that what is served is
what will be sealed. Any object with a `spec` that is a `ServiceSpec` is a service; other ways of
authoring are asked through `spec.front_end`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import shlex
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dosirak.errors import DosirakError, InvalidService, MissingDependency, NotFound
from dosirak.spec.dependencies import services_below
from dosirak.spec.front_end import recognised
from dosirak.spec.service_spec import ServiceSpec

# The libraries that an extra of dosirak installs, by the name of their module.
_EXTRAS = {
    "PIL": "pillow",
    "catboost": "catboost",
    "cloudpickle": "cloudpickle",
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "safetensors": "torch",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "torch": "torch",
    "xgboost": "xgboost",
}


@dataclass(frozen=True, slots=True)
class ImportedService:
    """A service found in a module.

    Attributes:
        spec: its description; `spec.target` is `module:attribute`.
        root: the directory from which `module` is importable.
        candidate: the author's object: a decorated service, a class or an instance.
    """

    spec: ServiceSpec
    root: Path
    candidate: object


def import_target(text: str, *, directory: Path) -> ImportedService:
    """Import the service that `text` names, seen from `directory`. The author's code runs.

    Raises:
        NotFound: no such file, module or attribute (the caller's fault).
        MissingDependency: the module imports a library that is not installed here.
        InvalidService: the module fails to import, or holds no service or several.
    """
    if "\0" in text:
        raise NotFound(f"{text!r} names nothing.", remedy="Write module:Class or file.py:Class.")
    location, _, attribute = text.partition(":")
    if location.endswith(".py"):
        root, module_name = _locate_file((directory / location).resolve())
    else:
        root, module_name = directory.resolve(), location
    module = _import_module(module_name, root)
    if attribute:
        return ImportedService(*_named_service(module, attribute, root))
    return _only_service(module, root)


def service_spec_of(candidate: object, *, target: str) -> ServiceSpec | None:
    """Return the description of `candidate` if it is a service in any front end's eyes."""
    spec = getattr(candidate, "spec", None)
    if isinstance(spec, ServiceSpec):
        # The place it was found is its address, also when it was made in another module.
        return spec if spec.target == target else dataclasses.replace(spec, target=target)
    found = next(recognised(candidate), None)
    return found.spec_of(candidate, target=target) if found else None


def _locate_file(path: Path) -> tuple[Path, str]:
    if not path.is_file():
        files = sorted(file.name for file in path.parent.glob("*.py"))
        near = difflib.get_close_matches(path.name, files, n=3)
        raise NotFound(
            f"There is no file {path}.",
            remedy=f"Did you mean {' or '.join(near)}?" if near else "Check the path.",
        )
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if not all(part.isidentifier() for part in parts):
        raise InvalidService(
            f"{path.name} cannot be imported under the name {'.'.join(parts)!r}.",
            remedy="Rename the file to letters, digits and '_', as Python modules are named.",
        )
    return root, ".".join(parts)


def _import_module(name: str, root: Path) -> ModuleType:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise NotFound(
            f"{name!r} is not a module name.",
            remedy="Write module:Class, file.py or file.py:Class.",
        )
    if str(root) not in sys.path:
        # First, as `python file.py` does: what the author sees is what is served.
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise NotFound(
                f"There is no module {name!r} in {root}.",
                remedy="Run from the project's directory, or give the path of the file.",
            ) from error
        raise _missing_module(name, root, error) from error
    except DosirakError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failure(name, error) from error
    _check_not_shadowed(module, name, root)
    return module


def _missing_module(name: str, root: Path, error: ModuleNotFoundError) -> DosirakError:
    missing = (error.name or "").partition(".")[0]
    if not missing or _is_importable(missing):
        # A part of something that is here: a slip in the author's code, not in the installation.
        return _import_failure(name, error)
    extra = _EXTRAS.get(missing)
    if extra is not None:
        return MissingDependency(
            f"Importing {name!r} needs the library {missing!r}, which is not installed.",
            remedy=f"Install it with: pip install {shlex.quote(f'dosirak[{extra}]')}",
        )
    # A module that the project had, or forgot, may have the name of anybody's package: whether one
    # is meant, and which, only the author knows.
    beside = _beside(root, missing)
    return MissingDependency(
        f"Importing {name!r} needs the module {missing!r}, which is neither in {root} nor installed"
        + (f"; {beside} is outside." if beside else "."),
        remedy=f"Put {beside.name if beside else f'{missing}.py'} into the project, or install the"
        " distribution that brings the module, if it is a library.",
    )


def _beside(root: Path, module: str) -> Path | None:
    """Return where a module stands next to a project rather than in it."""
    file, package = root.parent / f"{module}.py", root.parent / module
    if file.is_file():
        return file
    return package if package != root and (package / "__init__.py").is_file() else None


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _import_failure(name: str, error: Exception | SystemExit) -> InvalidService:
    circle = _circle(error)
    if circle:
        return InvalidService(
            f"Importing {name!r} failed: its modules import each other in a circle:"
            f" {' → '.join(circle)}.",
            remedy="Services may not depend on each other in a circle; move what both need into a"
            " module that imports neither.",
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}, line {error.lineno})"
    return InvalidService(
        f"Importing {name!r} failed: {type(error).__name__}: {error}{place}.",
        remedy="Correct the module; `python -c 'import "
        + name
        + "'` in the project's directory shows the whole traceback.",
    )


def _circle(error: Exception | SystemExit) -> list[str]:
    """Return the modules from one that is being imported back to it, if that is what failed."""
    if not isinstance(error, ImportError):
        return []
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    importing = [
        str(frame.f_globals.get("__name__"))
        for frame in frames
        if frame.f_code.co_name == "<module>"
    ]
    if error.name not in importing or isinstance(error, ModuleNotFoundError):
        return []
    return [*importing[importing.index(error.name) :], error.name]


def _check_not_shadowed(module: ModuleType, name: str, root: Path) -> None:
    wanted = root.joinpath(*name.split("."))
    exists = wanted.with_suffix(".py").is_file() or (wanted / "__init__.py").is_file()
    found = Path(module.__file__).resolve() if module.__file__ else None
    if exists and found is not None and not found.is_relative_to(root):
        raise InvalidService(
            f"{name!r} was imported from {found}, not from {root}.",
            remedy="Rename the file: an installed or already imported module has the same name.",
        )


def _named_service(
    module: ModuleType, attribute: str, root: Path
) -> tuple[ServiceSpec, Path, object]:
    candidate: object = module
    for part in attribute.split("."):
        if not hasattr(candidate, part):
            names = [name for name, _, _ in _services(module)]
            known = f" It has: {', '.join(names)}." if names else ""
            raise NotFound(
                f"The module {module.__name__!r} has no {attribute!r}.{known}",
                remedy="Name one of the module's services.",
            )
        candidate = getattr(candidate, part)
    spec = service_spec_of(candidate, target=f"{module.__name__}:{attribute}")
    if spec is None:
        raise InvalidService(
            f"{module.__name__}:{attribute} is not a service.",
            remedy="Decorate the class or function with @dosirak.service.",
        )
    return spec, root, candidate


def _only_service(module: ModuleType, root: Path) -> ImportedService:
    found = list(_services(module))
    below = {one.name for _, _, spec in found for one in services_below(spec)}
    # What others of the module depend on is served with them.
    services = [one for one in found if one[2].name not in below]
    if not services:
        raise InvalidService(
            f"The module {module.__name__!r} defines no service.",
            remedy="Decorate a class or function with @dosirak.service.",
        )
    if len(services) > 1:
        names = ", ".join(name for name, _, _ in services)
        raise InvalidService(
            f"The module {module.__name__!r} defines several services: {names}.",
            remedy=f"Name one, for instance {module.__name__}:{services[0][0]}.",
        )
    _, candidate, spec = services[0]
    return ImportedService(spec, root, candidate)


def _services(module: ModuleType) -> Iterator[tuple[str, object, ServiceSpec]]:
    seen: set[int] = set()
    for name, candidate in vars(module).items():
        defined_here = getattr(candidate, "__module__", None) == module.__name__
        if name.startswith("_") or not defined_here or id(candidate) in seen:
            continue
        spec = service_spec_of(candidate, target=f"{module.__name__}:{name}")
        if spec is not None:
            seen.add(id(candidate))
            yield name, candidate, spec
