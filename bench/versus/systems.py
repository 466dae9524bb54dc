"""The servers: what each needs, how it is started, where it answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from environments import output_of, python_with

APPS = Path(__file__).parent / "apps"


@dataclass(frozen=True)
class System:
    """One server.

    `requirements` empty: it runs in the interpreter of the benchmark. `command` and `path` are
    filled in with the workload, the port and the number of workers. `lacks` are the apps that it
    cannot do, `forms` those whose body it takes as the file of a form.
    """

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    lacks: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    package: str = ""

    def python(self) -> Path:
        """Return the interpreter, making its environment the first time."""
        if not self.requirements:
            return Path(sys.executable)
        return python_with(self.name, self.requirements)

    def version(self) -> str:
        """Return what is installed."""
        package = self.package or self.name
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return output_of(self.python(), "-c", code, cwd=APPS).strip()

    def arguments(self, workload: str, port: int, workers: int) -> list[str]:
        """Return the command line."""
        python = self.python()
        values = {
            "bin": python.parent, "workload": workload, "port": port, "apps": APPS,
            "workers": workers,
        }  # fmt: skip
        first, *rest = (part.format(**values) for part in self.command)
        return [str(python) if first == "python" else first, *rest]


_MODELS = ("numpy", "scikit-learn")
_OPTIONS = ("--port", "{port}", "--workers", "{workers}", "--access-log", "json")
SYSTEMS = {
    system.name: system
    for system in (
        System(
            "dosirak",
            (),
            ("python", "-m", "dosirak", "serve", "{apps}/dosirak_app.py:App", *_OPTIONS),
            "/{workload}",
        ),
        # The same design without a single feature: what the features cost is what lies between.
        System(
            "prototype",
            (),
            ("python", "{apps}/prototype_app.py", "{workload}", "{port}"),
            "/{workload}",
            lacks=("cpu", "slow", "tensor"),
            package="uvloop",
        ),
        System(
            "mosec",
            ("mosec", *_MODELS),
            ("python", "mosec_app.py", "{workload}", "{port}", "{workers}"),
            "/inference",
        ),
        System(
            "litserve",
            ("litserve", "python-multipart", *_MODELS),
            ("python", "litserve_app.py", "{workload}", "{port}", "{workers}"),
            "/predict",
            forms=("tensor",),
        ),
        System(
            "bentoml",
            ("bentoml", *_MODELS),
            ("{bin}/bentoml", "serve", "bentoml_app:App", "--port", "{port}"),
            "/{workload}",
            forms=("tensor",),
        ),
        System(
            "fastapi",
            ("fastapi", "uvicorn[standard]", *_MODELS),
            (
                "{bin}/uvicorn", "fastapi_app:app", "--port", "{port}", "--workers", "{workers}",
                "--log-level", "error", "--no-access-log",
            ),
            "/{workload}",
            # It has no batching.
            lacks=("iris_batched", "slow"),
        ),
    )
}  # fmt: skip
