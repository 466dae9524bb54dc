"""Importing a bundle's own modules without touching anybody else's.

    ImportScope(roots) ── inside `with scope:` ──▶ import "service" → the bundle's service.py

Three promises. A bundle's modules never stand in for an installed package or the standard library:
a bundle that tries is refused before any of its code runs. Bundles with equal module names live in
one process without mixing: each scope keeps its own modules, and its modules' `import` statements
find their own siblings also later, inside functions. No byte code is read or written, so that what
runs is the source that was verified.

Outside `with scope`, a scope's modules stay visible in `sys.modules` only under names that nobody
else holds or could import; `offer` lets those be found that were not imported yet. A lazy
`importlib.import_module("sibling")` in a second bundle with equal names is the one thing that
cannot be told apart; `import sibling` can.
"""

from __future__ import annotations

import builtins
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, cast

from dosirak.bundles.installed_modules import is_installed_module
from dosirak.errors import InvalidService

# Names that many projects use for what is not part of a service. When an installed package has the
# same name it wins, as it would at the end of an ordinary path, and nobody is refused.
_INCIDENTAL = frozenset(
    {"benchmarks", "conftest", "docs", "examples", "scripts", "setup", "test", "tests", "tools"}
)

# Swapping modules concerns the whole process, as `sys.modules` does.
_PROCESS = threading.RLock()


def check_no_shadowing(roots: Iterable[Path]) -> None:
    """Refuse directories whose modules have the name of an installed package or standard module.

    A directory without `__init__.py` is never refused, because Python prefers any package to it.

    Raises:
        InvalidService: one of them has (the author's fault).
    """
    for root in roots:
        for name, is_regular in sorted(_names_in(root)):
            if is_regular and name not in _INCIDENTAL and is_installed_module(name):
                raise InvalidService(
                    f"The module {name!r} has the name of an installed package or a standard"
                    " module.",
                    remedy="Rename the module or exclude it; a bundle never shadows what is"
                    " installed.",
                )


class ImportScope:
    """One bundle's modules. Use it as a context manager around everything that imports them."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._names: frozenset[str] = frozenset()
        self._modules: dict[str, ModuleType] = {}
        self._displaced: dict[str, ModuleType] = {}
        self._depth = 0
        self._installed = False
        self._finder = _ScopeFinder(self)
        self._offered = _OfferedFinder(self)
        self._builtins = {**vars(builtins), "__import__": self._import}

    def open(self) -> Self:
        """Read which names the scope holds.

        Raises:
            InvalidService: one of them would shadow an installed package or a standard module.
        """
        check_no_shadowing(self._roots)
        names = {name for root in self._roots for name, _ in _names_in(root)}
        self._names = frozenset(name for name in names if not is_installed_module(name))
        return self

    def holds(self, module: str) -> bool:
        """Whether a dotted name is the scope's."""
        return module.partition(".")[0] in self._names

    def install(self) -> None:
        """Keep the modules importable by everybody in this process until `close`.

        For a process that serves one bundle: what is unpickled there, or looked up by name, finds
        the bundle's own modules as it would in the author's project.
        """
        with _PROCESS:
            self._installed = True
            with self:
                sys.meta_path.insert(0, self._finder)
                self._displaced = {}

    def offer(self) -> None:
        """Let the modules be found by name, behind all that is installed, until `close`.

        For what looks a module up in a handler: `importlib.import_module`, `importlib.resources`,
        unpickling. A name that several scopes offer is found in none of them.
        """
        with _PROCESS:
            sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_forgotten(finder)]
            sys.meta_path.append(self._offered)

    def __enter__(self) -> Self:
        _PROCESS.acquire()
        self._depth += 1
        if self._depth == 1:
            mine, self._displaced = self._take_out()
            self._modules |= mine
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self._finder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._depth -= 1
            if self._depth == 0:
                sys.meta_path.remove(self._finder)
                self._modules, _ = self._take_out()
                sys.modules.update(self._displaced)
                self._publish()
        finally:
            _PROCESS.release()

    def close(self) -> None:
        """Take the scope's modules out of `sys.modules`."""
        with _PROCESS:
            _, others = self._take_out()
            sys.modules.update(others)
            if self._installed:
                sys.meta_path.remove(self._finder)
            if self._offered in sys.meta_path:
                sys.meta_path.remove(self._offered)
            self._modules, self._installed = {}, False

    def find(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Find one module below the scope's roots."""
        if not self.holds(name):
            return None
        places = (str(root) for root in self._roots) if path is None else path
        specs = (self._finder_of(place).find_spec(name) for place in places)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None:
            spec.loader_state = self._finder  # tells the scope's own modules from others'
        return spec

    def _take_out(self) -> tuple[dict[str, ModuleType], dict[str, ModuleType]]:
        """Take every module with a name of the scope's; tell its own from others'."""
        mine: dict[str, ModuleType] = {}
        others: dict[str, ModuleType] = {}
        for name in [name for name in sys.modules if self.holds(name)]:
            module = sys.modules.pop(name)
            (mine if self._is_mine(module) else others)[name] = module
        return mine, others

    def _is_mine(self, module: ModuleType) -> bool:
        spec = getattr(module, "__spec__", None)
        return spec is not None and spec.loader_state is self._finder

    def _publish(self) -> None:
        # A package is never half mine and half theirs, and nobody's own files are hidden.
        taken = {name.partition(".")[0] for name in self._displaced}
        free = {
            name
            for name in self._names - taken
            if self._installed or PathFinder.find_spec(name) is None
        }
        for name, module in self._modules.items():
            if name.partition(".")[0] in free:
                sys.modules[name] = module

    def _finder_of(self, directory: str) -> FileFinder:
        def source_loader(name: str, path: str) -> SourceFileLoader:
            return _VerifiedSourceLoader(name, path, self._builtins)

        return FileFinder(
            directory,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (cast("type[SourceFileLoader]", source_loader), SOURCE_SUFFIXES),
        )

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the name that Python gives it
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`import` as the scope's own modules see it."""
        if level == 0 and not self.holds(name):
            return builtins.__import__(name, globals, locals, fromlist, level)
        return self._already_imported(name, fromlist or (), level) or self._import_now(
            name, globals, locals, fromlist, level
        )

    def _already_imported(
        self, name: str, fromlist: Sequence[str], level: int
    ) -> ModuleType | None:
        """Answer an import inside a handler without taking the process's lock."""
        found = self._modules.get(name) if level == 0 and self._depth == 0 else None
        if found is None or not all(hasattr(found, part) for part in fromlist):
            return None
        return found if fromlist else self._modules.get(name.partition(".")[0])

    def _import_now(self, *arguments: Any) -> ModuleType:
        with self:
            return builtins.__import__(*arguments)


class _ScopeFinder(MetaPathFinder):
    def __init__(self, scope: ImportScope) -> None:
        self._scope = scope

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self._scope.find(fullname, path)


class _OfferedFinder(MetaPathFinder):
    """Stands last on the way of an import; does not keep a scope that nobody uses any more."""

    def __init__(self, scope: ImportScope) -> None:
        self._scope = weakref.ref(scope)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        scope = self.scope
        if scope is None or not scope.holds(fullname):
            return None
        rivals = [finder for finder in sys.meta_path if _offers(finder, fullname)]
        return scope.find(fullname, path) if len(rivals) == 1 else None

    @property
    def scope(self) -> ImportScope | None:
        return self._scope()


def _offers(finder: object, name: str) -> bool:
    scope = finder.scope if isinstance(finder, _OfferedFinder) else None
    return scope is not None and scope.holds(name)


def _is_forgotten(finder: object) -> bool:
    return isinstance(finder, _OfferedFinder) and finder.scope is None


class _VerifiedSourceLoader(SourceFileLoader):
    """Runs the source itself: a byte-code file beside it was never verified."""

    def __init__(self, name: str, path: str, scope_builtins: Mapping[str, Any]) -> None:
        super().__init__(name, path)
        self._scope_builtins = scope_builtins

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError("byte code is not used in a bundle")

    def exec_module(self, module: ModuleType) -> None:
        # Functions of the module import through these also after the scope was left.
        vars(module)["__builtins__"] = self._scope_builtins
        super().exec_module(module)


def _names_in(root: Path) -> Iterator[tuple[str, bool]]:
    """Yield each top-level name below a root, and whether it is more than a bare directory."""
    suffixes = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)
    for entry in root.iterdir():
        if entry.is_dir():
            is_package = (entry / "__init__.py").is_file()
            if entry.name.isidentifier() and (is_package or any(entry.rglob("*.py"))):
                yield entry.name, is_package
            continue
        suffix = next((suffix for suffix in suffixes if entry.name.endswith(suffix)), None)
        if suffix is not None and (name := entry.name.removesuffix(suffix)).isidentifier():
            yield name, True
