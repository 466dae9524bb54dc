"""A service is sealed with those that it depends on: their code, models and requirements."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from dosirak import bundles
from dosirak.bundles.targets import open_target
from dosirak.models import Model
from dosirak.payload.wire import WireRequest
from dosirak.serving.composition import compose
from dosirak.spec.context import Context
from dosirak.store import Store

from .conftest import make_project, write

COMPOSED = """
import dosirak
import numpy as np
from parts.scoring import Scorer


@dosirak.service
class Composed:
    scorer = dosirak.depends(Scorer, workers=2)

    @dosirak.on_start
    def begin(self):
        self.seen = [f"{self.scorer.started()}"]

    @dosirak.api
    def sure(self, flowers: np.ndarray) -> bool:
        return bool(self.scorer.score(flowers).all())

    @dosirak.api
    async def sure_later(self, flowers: np.ndarray) -> bool:
        return bool((await self.scorer.to_async.score(flowers)).all())

    @dosirak.api
    def stopped(self) -> str:
        return self.seen[0]
"""
SCORING = """
import dosirak
import numpy as np


@dosirak.service(requirements=["scikit-learn>=1"])
class Scorer:
    model = dosirak.model("iris:latest")
    state = "never started"

    @dosirak.on_start
    def begin(self):
        self.state = "started"

    @dosirak.api(batchable=True)
    def score(self, flowers: np.ndarray) -> np.ndarray:
        return self.model.predict(flowers)

    @dosirak.api
    def started(self) -> str:
        return self.state
"""


@pytest.fixture
def bundle(tmp_path: Path, iris: Model, store: Store) -> bundles.Bundle:
    project = make_project(tmp_path / "project")
    write(project, "service.py", COMPOSED)
    write(project, "parts/__init__.py")
    write(project, "parts/scoring.py", SCORING)
    return bundles.build(project, store=store)


def test_the_manifest_names_the_dependency_its_model_and_its_requirement(
    bundle: bundles.Bundle, iris: Model
) -> None:
    (sealed,) = bundle.manifest.dependencies
    assert (sealed.name, sealed.target, sealed.workers) == ("scorer", "parts.scoring:Scorer", 2)
    (pin,) = bundle.manifest.models
    assert (pin.attribute, pin.digest) == ("scorer.model", iris.id)
    assert any(line.startswith("scikit-learn") for line in bundle.requirements)


def test_a_loaded_bundle_calls_its_dependency_in_this_process(
    bundle: bundles.Bundle, store: Store
) -> None:
    flowers = np.array([[5.0, 5.5]])
    with bundles.load(bundle.reference, store=store) as loaded:
        assert loaded.stopped() == "started"
        assert loaded.sure(flowers=flowers) is True
        assert loaded.sure_later(flowers=flowers * 0) is False
        assert set(loaded.models) == {"scorer.model"}
        assert loaded.spec.models == ()


def test_a_bundle_is_served_with_its_dependency(bundle: bundles.Bundle, store: Store) -> None:
    with open_target(str(bundle.reference), store=store) as opened:

        async def run() -> bytes:
            dataplane = compose(opened.spec, opened.models)
            await dataplane.start()
            request = WireRequest(b'{"flowers": [[5.0, 5.5]]}', "application/json")
            try:
                answer = await dataplane.call("sure", request, Context())
            finally:
                await dataplane.stop()
            return bytes(answer.body)

        assert asyncio.run(run()) == b"true"
