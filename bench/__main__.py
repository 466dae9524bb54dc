"""Run the subjects named on the command line, or all of them, and print what they measure."""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys

import bench
import dosirak


def main(names: list[str]) -> None:
    """Print the machine, then a line for each figure."""
    known = sorted(found.name for found in pkgutil.iter_modules(bench.__path__))
    subjects = [name for name in known if not name.startswith("_")]
    print(
        f"dosirak {dosirak.__version__} · Python {platform.python_version()} ·"
        f" {platform.system()} {platform.release()} {platform.machine()} · {os.cpu_count()} cores"
    )
    for name in names or subjects:
        for label, value, unit in importlib.import_module(f"bench.{name}").measure():
            print(f"{name:16} {label:44} {value:12,.1f} {unit}")


if __name__ == "__main__":
    main(sys.argv[1:])
