"""Which modules are imported, read from source alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosirak.bundles.imports import ImportScan, LocalModules, scan_imports
from dosirak.errors import InvalidService


def scanned(root: Path, *modules: str) -> ImportScan:
    return scan_imports(modules or ("service",), LocalModules([root, root / "src"], _foreign))


def _foreign(name: str) -> bool:
    return name in {"docker", "sys", "os"}


def write(root: Path, path: str, text: str = "") -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_imports_are_followed_through_local_modules(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "from my_lib import preprocessing\nimport numpy as np\n")
    write(tmp_path, "my_lib/__init__.py")
    write(tmp_path, "my_lib/preprocessing.py", "import pandas.api.types\nfrom . import common\n")
    write(tmp_path, "my_lib/common.py", "from ..my_lib import nothing\nimport scipy\n")
    scan = scanned(tmp_path)
    assert set(scan.local) == {"service", "my_lib", "my_lib.preprocessing", "my_lib.common"}
    assert {found.top_level for found in scan.external.values()} == {"numpy", "pandas", "scipy"}


def test_imports_inside_functions_and_by_literal_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        "service.py",
        "import importlib\n"
        "def f():\n    import lazy_one\n"
        "def g():\n    return importlib.import_module('lazy_two.sub')\n"
        "def h(name):\n    return importlib.import_module(name), __import__('lazy_three')\n",
    )
    tops = {found.top_level for found in scanned(tmp_path).external.values()}
    assert tops == {"importlib", "lazy_one", "lazy_two", "lazy_three"}


def test_a_relative_literal_is_resolved(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py")
    write(
        tmp_path,
        "pkg/service.py",
        "from importlib import import_module\nimport_module('.plugin', __package__)\n",
    )
    write(tmp_path, "pkg/plugin.py", "import found_through_plugin\n")
    scan = scanned(tmp_path, "pkg.service")
    assert "found_through_plugin" in scan.external


def test_type_checking_imports_do_not_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        "service.py",
        "import typing\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import only_types\nelse:\n    import at_run_time\n"
        "if typing.TYPE_CHECKING:\n    import also_only_types\n",
    )
    tops = {found.top_level for found in scanned(tmp_path).external.values()}
    assert tops == {"typing", "at_run_time"}


def test_guarded_imports_are_optional_unless_needed_elsewhere(tmp_path: Path) -> None:
    write(
        tmp_path,
        "service.py",
        "try:\n    import fast\nexcept ImportError:\n    import slow\n"
        "try:\n    import both\nexcept (ImportError, ValueError):\n    both = None\n"
        "import both\n",
    )
    external = scanned(tmp_path).external
    assert external["fast"].optional
    assert not external["slow"].optional
    assert not external["both"].optional
    assert external["slow"].place == "service.py:4"


def test_namespace_packages_and_a_src_directory_are_local(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import space.one\nfrom my_pkg.deep import thing\n")
    write(tmp_path, "space/one.py", "import a\n")
    write(tmp_path, "src/my_pkg/__init__.py", "import b\n")
    write(tmp_path, "src/my_pkg/deep.py", "import c\n")
    scan = scanned(tmp_path)
    assert set(scan.local) == {"service", "space", "space.one", "my_pkg", "my_pkg.deep"}
    assert set(scan.external) == {"a", "b", "c"}


def test_a_bare_directory_does_not_hide_an_installed_package(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import docker\n")
    write(tmp_path, "docker/build.py")
    scan = scanned(tmp_path)
    assert set(scan.local) == {"service"}
    assert set(scan.external) == {"docker"}


def test_circular_imports_end(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import other\n")
    write(tmp_path, "other.py", "import service\nimport numpy\n")
    assert set(scanned(tmp_path).external) == {"numpy"}


def test_a_broken_module_is_named(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import other\n")
    write(tmp_path, "other.py", "def\n")
    with pytest.raises(InvalidService, match=r"other\.py is not valid Python"):
        scanned(tmp_path)
