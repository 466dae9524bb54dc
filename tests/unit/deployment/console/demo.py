"""A console to look at in a browser: `python -m tests.unit.deployment.console.demo [PORT]`."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from tests.unit.deployment.console.seeded import Seeded, seeded

from dosirak import bundles
from dosirak.deployment.asking import Asking
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.database import open_state
from dosirak.store import Store

SERVICE = '''
import dosirak

@dosirak.service
class {name}:
    """Classify flowers by their measures."""

    @dosirak.api(batchable=True)
    def classify(self, rows: list[list[float]]) -> list[str]:
        """Say which iris each row of measures is.

        Rows hold sepal length and width, petal length and width, in centimetres.
        """
        return ["setosa" for _ in rows]

    @dosirak.api
    def explain(self, species: str, detail: int = 1, polite: bool = True) -> dict[str, str]:
        """Tell something about a species."""
        return {{"species": species, "version": "{version}"}}
'''


def sealed_store(root: Path) -> Store:
    """Seal a few bundles."""
    store = Store(root / "store")
    for name, version in (
        ("iris", "1"),
        ("iris", "2"),
        ("fraud", "2026.11"),
        ("summarizer", "7"),
        ("summarizer", "8"),
    ):
        project = root / f"{name}-{version}"
        project.mkdir()
        source = SERVICE.format(name=name.title(), version=version)
        (project / "service.py").write_text(source)
        bundles.build(project, version=version, store=store, labels={"team": "flowers"})
    return store


def filled(platform: Seeded, count: int = 4) -> None:
    """Have some deployments in different states, with traffic."""
    platform.deploy("iris", "iris:1", ready=2, scaling={"max_replicas": 4}, strategy="canary",
                    canary={"weight_percent": 25}, labels={"team": "flowers", "tier": "gold"},
                    hosts=["iris.example.org"])  # fmt: skip
    platform.coming("iris", "iris:2")
    platform.deploy("fraud-detection", "fraud:2026.11", ready=3, scaling={"max_replicas": 3})
    platform.deploy("summarizer", "summarizer:7", access="token", note="the first one")
    platform.coming("summarizer", "summarizer:8", ready=0)
    platform.fail("summarizer", "Its replicas ended by themselves 3 times. ModuleNotFoundError")
    platform.deploy("idle", "iris:1")
    platform.operations.terminate(Asking(action="deployment.terminate"), "idle")
    platform.deploy_all([f"model-{index:03}" for index in range(count - 4)], "iris:1")
    platform.administration.create_token(
        Asking(action="token.create"), "ci", ["deploy:write:*"], lifetime_s=86400.0
    )
    platform.administration.set_secret(Asking(action="secret.set"), "API_KEY", "hidden-value")
    platform.count(400)


def main() -> None:
    """Serve until interrupted."""
    root = Path(tempfile.mkdtemp(prefix="dosirak-console-"))
    store, paths = sealed_store(root), PlatformPaths(root / "home")
    platform = seeded(paths, open_state(paths), store, "http://127.0.0.1:8800")
    filled(platform, int(sys.argv[2]) if len(sys.argv) > 2 else 4)

    def go_on() -> None:
        while True:
            time.sleep(2)
            platform.count()

    threading.Thread(target=go_on, daemon=True).start()
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8801
    uvicorn.run(platform.application(), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
