"""Where the code of a live service stands, and which part of it travels.

    spec.target "module:attribute" → the module's file → the project around it → CodeOrigin

With a project around it (the nearest pyproject.toml, dosirak.toml or .git), the project travels, as
it does with `build`. Without one, the module travels with those of its neighbours that it imports.
A module that is still running (a script, or one that seals while it is imported) travels without
its work; see `main_script`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Self

from dosirak.bundles.imports import LocalModules, scan_imports
from dosirak.bundles.installed_modules import PACKAGE_DIRECTORIES, is_installed_module
from dosirak.bundles.main_script import dropped_lines, importable_source
from dosirak.bundles.project import find_project
from dosirak.bundles.report import BuildEvent, Report
from dosirak.errors import InvalidService, NotFound
from dosirak.spec.service_spec import ServiceSpec

_SOURCE_LAYOUT = "src"


@dataclass(frozen=True, slots=True)
class CodeOrigin:
    """The code that is to be sealed.

    Attributes:
        root: the directory whose files travel.
        target: `module:attribute` of the service, or what `build` was asked for; empty when there
            is no code.
        import_root: the directory below `root` from which the module is imported.
        only: names in `root` that travel; None is the whole directory.
        rewritten: paths whose content is replaced by another text.
        is_project: whether `root` holds the author's configuration.
    """

    root: Path
    target: str
    import_root: Path
    only: frozenset[str] | None = None
    rewritten: Mapping[str, str] = field(default_factory=dict[str, str])
    is_project: bool = True

    @classmethod
    def nowhere(cls) -> Self:
        """The origin of a service without code: a model alone."""
        place = Path.cwd()
        return cls(place, "", place, only=frozenset(), is_project=False)

    def import_roots(self) -> tuple[str, ...]:
        """Return the directories, relative to `root`, from which modules are imported."""
        layout = self.root / _SOURCE_LAYOUT
        has_layout = self.only is None and layout.is_dir() and not (layout / "__init__.py").exists()
        places = [self.import_root, self.root, *([layout] if has_layout else [])]
        return tuple(dict.fromkeys(place.relative_to(self.root).as_posix() for place in places))


def origin_of_target(root: Path, target: str) -> CodeOrigin:
    """Find the code that `module:Class`, `file.py` or `file.py:Class` names in a project.

    Raises:
        NotFound: there is no such file.
        InvalidService: the file's name is no module name, or it leaves the project.
    """
    location, _, attribute = target.partition(":")
    if not location.endswith(".py"):
        return CodeOrigin(root, target, root)
    path = (root / location).resolve()
    if not path.is_file():
        raise NotFound(f"There is no file {root / location}.", remedy="Check the path.")
    if not path.is_relative_to(root):
        raise InvalidService(
            f"The file {location} leaves the project.", remedy="Build the project that holds it."
        )
    package = path.parent
    parts = [path.stem]
    while package != root and (package / "__init__.py").is_file():
        parts.insert(0, package.name)
        package = package.parent
    name = _checked_name(".".join(parts), path)
    return CodeOrigin(root, f"{name}:{attribute}" if attribute else name, package)


def origin_of(spec: ServiceSpec, report: Report) -> CodeOrigin:
    """Find the code of a service that lives in this process.

    Raises:
        InvalidService: it was not defined in a file that can be imported (the author's fault).
    """
    module_name, _, attribute = spec.target.partition(":")
    module = sys.modules.get(module_name)
    path = _file_of(module, spec)
    name = _importable_name(module_name, path)
    import_root = _import_root(name, path)
    if import_root.name in PACKAGE_DIRECTORIES:
        raise InvalidService(
            f"The service {spec.name!r} is part of an installed package.",
            remedy="Build it from the directory of its source.",
        )
    project = find_project(import_root)
    root = project or import_root
    rewritten: dict[str, str] = {}
    if module_name == "__main__" or _is_being_imported(module):
        rewritten = _without_its_work(path, attribute, root, report)
    return CodeOrigin(
        root=root,
        target=f"{name}:{attribute}",
        import_root=import_root,
        only=None if project else _neighbours(name, import_root),
        rewritten=rewritten,
        is_project=project is not None,
    )


def _file_of(module: ModuleType | None, spec: ServiceSpec) -> Path:
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    if path is None or path.suffix != ".py" or not path.is_file() or "<locals>" in spec.target:
        raise InvalidService(
            f"The service {spec.name!r} was not defined at the top level of a Python file.",
            remedy="Write its class into a file of its own and import it from there; what is"
            " defined in a notebook or a shell cannot be loaded again.",
        )
    return path


def _importable_name(module_name: str, path: Path) -> str:
    name = module_name
    if module_name == "__main__":
        # `python -m package.module` knows its name; `python file.py` has that of the file.
        spec = sys.modules["__main__"].__spec__
        name = spec.name if spec is not None else path.stem
    return _checked_name(name, path)


def _checked_name(name: str, path: Path) -> str:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidService(
            f"{path.name} cannot be imported under the name {name!r}.",
            remedy="Rename the file to letters, digits and '_', as Python modules are named.",
        )
    return name


def _import_root(name: str, path: Path) -> Path:
    depth = len(name.split(".")) - (0 if path.name == "__init__.py" else 1)
    return path.parents[depth]


def _is_being_imported(module: ModuleType | None) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _without_its_work(path: Path, attribute: str, root: Path, report: Report) -> dict[str, str]:
    source = path.read_text(encoding="utf-8")
    kept = importable_source(source, attribute.partition(".")[0], file_name=path.name)
    if kept == source:
        return {}
    lines = _ranges(dropped_lines(source, kept))
    message = f"Of {path.name} only what the service needs travels; lines {lines} stay behind."
    report(BuildEvent("note", message, path.name))
    return {path.relative_to(root).as_posix(): kept}


def _ranges(numbers: tuple[int, ...]) -> str:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number, number])
    return ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges)


def _neighbours(name: str, import_root: Path) -> frozenset[str]:
    """Return what stands beside a module and is imported by it, itself included."""
    local = scan_imports([name], LocalModules([import_root], is_installed_module)).local
    return frozenset(path.relative_to(import_root).parts[0] for path in local.values())
