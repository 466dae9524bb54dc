"""Which source files a service needs: its own module, and the project's modules it imports.

A service defined in the running script, or in a module that is still being imported, brings only
the statements it needs: importing the saved copy must not train and save again.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dosirak.bundles.distributions import InstalledDistributions
from dosirak.bundles.imports import ImportScan, LocalModules, scan_imports
from dosirak.bundles.installed_modules import is_installed_module
from dosirak.bundles.main_script import importable_source
from dosirak.compat.bentoml_classic.exceptions import InvalidArgument

# What a saved service finds installed; run from a source tree they would look like its own modules.
_OURS = frozenset({"dosirak", "bentoml"})


@dataclass(frozen=True, slots=True)
class ServiceCode:
    """The source of a service.

    Attributes:
        module_name: the dotted name under which the saved module is imported.
        class_name: the service's class in it.
        files: each file's path below the code directory, and its content.
        requirements: exact versions of the distributions that the files import.
    """

    module_name: str
    class_name: str
    files: dict[str, bytes]
    requirements: tuple[str, ...]

    @property
    def module_file(self) -> str:
        """The path of the service's own module below the code directory."""
        path = self.module_name.replace(".", "/")
        return f"{path}/__init__.py" if f"{path}/__init__.py" in self.files else f"{path}.py"


def collect_code(service_class: type) -> ServiceCode:
    """Read the source of a service's class.

    Raises:
        InvalidArgument: the class was not defined in a file (the author's fault).
        InvalidService: a module is not valid Python, or the class is not at the top level of it.
    """
    module, path = _module_of(service_class)
    name = _import_name(module, path)
    source = path.read_bytes()
    if module.__name__ == "__main__" or _is_being_imported(module):
        text = source.decode("utf-8")
        source = importable_source(text, service_class.__name__, file_name=path.name).encode()
    with tempfile.TemporaryDirectory() as scratch:
        # What travels is what is scanned: imports that only training needs stay behind.
        own = Path(scratch) / _relative(name, path)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(source)
        roots = [Path(scratch), _root_of(name, path), *_import_roots()]
        scan = scan_imports([name], _ProjectModules(roots, is_installed_module))
        files = {_relative(found, file): file.read_bytes() for found, file in _files(scan)}
    return ServiceCode(name, service_class.__name__, files, tuple(_requirements(scan)))


class _ProjectModules(LocalModules):
    """The project's own modules; never ours, nor any that is installed."""

    def find(self, name: str) -> Path | None:
        """Return the file of a module of the project."""
        top_level = name.partition(".")[0]
        if top_level in _OURS or is_installed_module(top_level):
            return None
        return super().find(name)


def _module_of(service_class: type) -> tuple[ModuleType, Path]:
    module = sys.modules.get(service_class.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None or not Path(file).is_file():
        raise InvalidArgument(
            f"{service_class.__name__} was not defined in a file.",
            remedy="Define the service in a .py file; a bundle carries its source.",
        )
    return module, Path(file).resolve()


def _import_name(module: ModuleType, path: Path) -> str:
    """Return the name to import the saved module by; a script goes by its file's name."""
    if module.__name__ != "__main__":
        return module.__name__
    # `python -m package.module` knows the real name.
    spec = getattr(module, "__spec__", None)
    name = spec.name if spec is not None else path.stem
    name = name.removesuffix(".__main__")
    if not all(part.isidentifier() for part in name.split(".")) or is_installed_module(name):
        # What runs as a script need not have a name that can be imported.
        name = "".join(char if char.isalnum() else "_" for char in path.stem) + "_service"
        return name if name[0].isalpha() else f"_{name}"
    return name


def _is_being_imported(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _relative(name: str, path: Path) -> str:
    folder = name.replace(".", "/")
    return f"{folder}/__init__.py" if path.name == "__init__.py" else f"{folder}.py"


def _root_of(name: str, path: Path) -> Path:
    depth = name.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _import_roots() -> Iterator[Path]:
    installed = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    for entry in sys.path:
        directory = Path(entry).resolve()
        if directory.is_dir() and str(directory) not in installed:
            yield directory


def _files(scan: ImportScan) -> Iterator[tuple[str, Path]]:
    return ((name, path) for name, path in sorted(scan.local.items()) if path.is_file())


def _requirements(scan: ImportScan) -> Iterator[str]:
    installed = InstalledDistributions()
    names = {
        name
        for found in scan.external.values()
        if found.top_level not in sys.stdlib_module_names and found.top_level not in _OURS
        for name in installed.providing(found.name)
    }
    for name in sorted(names):
        if (distribution := installed.get(name)) is not None:
            yield distribution.pin
