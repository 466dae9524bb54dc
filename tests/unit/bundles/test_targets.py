"""What serve and run accept, and what they say to the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dosirak import bundles, models
from dosirak.bundles.targets import OpenedTarget, open_target, pinned_target
from dosirak.errors import BundleNotFound, CorruptContent, NotFound
from dosirak.models import Model
from dosirak.store import Store

from .conftest import train, write


def answer(opened: OpenedTarget) -> list[int]:
    instance = opened.spec.create(
        {attribute: model.load() for attribute, model in opened.models.items()}
    )
    return opened.spec.apis[0].bind(instance)(np.array([[5.0, 5.0]])).tolist()


@pytest.fixture
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield project
    for name in set(sys.modules) - before:
        if name.startswith(("service", "my_prep")):
            del sys.modules[name]


@pytest.mark.parametrize("text", ["service:Iris", "service.py", "service.py:Iris", ".", "service"])
def test_the_authors_own_files(in_project: Path, store: Store, text: str) -> None:
    with open_target(text, store=store) as opened:
        assert opened.bundle is None
        assert set(opened.models) == {"model"}
        assert answer(opened) == [1]


def test_a_sealed_bundle_by_reference_directory_and_archive(
    project: Path, store: Store, tmp_path: Path
) -> None:
    bundle = bundles.build(project, name="flowers", store=store)
    place = bundle.checkout(tmp_path / "out")
    archive = bundles.export("flowers", tmp_path / "flowers.tar", store=store)
    for text in ("flowers", str(bundle.reference), str(place), str(archive)):
        with open_target(text, store=store) as opened:
            assert opened.bundle is not None
            assert opened.bundle.id == bundle.id
            assert opened.spec.models[0].reference == bundle.models[0]
            assert answer(opened) == [1]
        assert "my_preparation" not in sys.modules


def test_a_bundles_modules_can_be_found_by_name_while_it_is_open(
    project: Path, store: Store
) -> None:
    bundles.build(project, name="flowers", store=store)
    with open_target("flowers", store=store):
        import my_preparation.scaling

        assert "my_preparation.late" not in sys.modules
        import my_preparation.late

        assert my_preparation.late.identity(3) == 3
    assert not [name for name in sys.modules if name.startswith("my_preparation")]


def test_a_model_alone(iris: Model, store: Store) -> None:
    with open_target("iris", store=store) as opened:
        assert opened.bundle is None
        assert opened.spec.apis[0].name == "predict"
        assert answer(opened) == [1]


def test_a_pinned_name_goes_on_meaning_the_version_of_now(iris: Model, store: Store) -> None:
    pinned = pinned_target("iris", store=store)
    assert pinned == (str(iris.reference), "models", iris.id)
    models.save("iris", train(shift=1.0), store=store)
    assert open_target(pinned.text, store=store).models["model"].id == iris.id
    assert pinned_target("iris:latest", store=store).text != pinned.text


def test_a_bundle_is_pinned_before_a_model_and_stays_so(project: Path, store: Store) -> None:
    first = bundles.build(project, name="iris", store=store)
    pinned = pinned_target("iris", store=store)
    assert pinned == (str(first.reference), "bundles", first.id)
    models.save("iris", train(shift=1.0), store=store)
    opened = open_target(pinned.text, store=store)
    assert opened.bundle is not None
    assert opened.bundle.id == first.id
    opened.close()


@pytest.mark.parametrize(
    "text", ["service.py", "service:IrisClassifier", ".", "nowhere/at/all", "nothing", "no name!"]
)
def test_files_modules_and_the_unknown_are_left_as_they_are(
    in_project: Path, store: Store, text: str
) -> None:
    assert pinned_target(text, store=store) == (text, "files", "")


def test_a_name_found_as_a_model_stays_one_when_a_bundle_takes_it(
    project: Path, store: Store
) -> None:
    model = models.get("iris", store=store)
    bundle = bundles.build(project, name="iris", version=model.reference.version, store=store)
    assert pinned_target("iris", store=store) == (str(bundle.reference), "bundles", bundle.id)
    assert pinned_target("iris", store=store, kind="models") == (
        str(model.reference),
        "models",
        model.id,
    )
    with open_target(str(model.reference), store=store, kind="models") as opened:
        assert opened.bundle is None
    with open_target(str(bundle.reference), store=store, kind="bundles") as opened:
        assert opened.bundle is not None


def test_what_is_not_of_the_kind_that_is_looked_for_is_not_there(
    in_project: Path, store: Store
) -> None:
    bundles.build(in_project, name="service", store=store)
    assert pinned_target("service", store=store, kind="files") == ("service", "files", "")
    with open_target("service", store=store, kind="files") as opened:
        assert opened.bundle is None
    with pytest.raises(NotFound):
        open_target("service", store=store, kind="models")
    with pytest.raises(NotFound):
        open_target("iris", store=store, kind="bundles")


def test_a_bundle_comes_before_a_model_of_the_same_name(project: Path, store: Store) -> None:
    bundles.build(project, store=store)
    with open_target("iris", store=store) as opened:
        assert opened.bundle is not None


def test_a_model_that_a_bundle_hides_is_named_by_its_version(project: Path, store: Store) -> None:
    bundle = bundles.build(project, store=store)
    hidden = models.get(bundle.name, store=store)
    with open_target(f"{hidden.name}:{hidden.version}", store=store) as opened:
        assert opened.bundle is None


def test_a_damaged_bundle_is_not_opened(project: Path, store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    write(
        project,
        "my_preparation/__init__.py",
        f"__import__('pathlib').Path({str(canary)!r}).touch()\n",
    )
    bundle = bundles.build(project, name="flowers", store=store)
    canary.unlink()
    blob = next(store.root.rglob(bundle.files[-1].sha256))
    blob.chmod(0o644)
    blob.write_bytes(b"x" * bundle.files[-1].size_bytes)
    with pytest.raises(CorruptContent):
        open_target("flowers", store=store)
    assert not canary.exists()


def test_the_unknown_is_told_what_was_tried_and_what_is_near(iris: Model, store: Store) -> None:
    with pytest.raises(NotFound, match="a bundle irsi:latest, nor a model irsi:latest") as caught:
        open_target("irsi", store=store)
    assert "iris" in caught.value.remedy
    with pytest.raises(NotFound, match=r"missing\.py"):
        open_target("missing.py", store=store)
    with pytest.raises((NotFound, BundleNotFound), match="no file or directory"):
        open_target("some/where", store=store)


def test_an_empty_store_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as caught:
        open_target("iris", store=store)
    assert "empty" in caught.value.remedy


def test_a_target_that_nobody_closes_is_closed_at_exit(project: Path, store: Store) -> None:
    bundles.build(project, name="flowers", store=store)
    code = (
        "import os\n"
        "from dosirak.bundles.targets import open_target\n"
        "opened = open_target('flowers')\n"
        "if os.fork() == 0:\n    raise SystemExit\n"
        "os.wait()\n"
        "import my_preparation.scaling\n"
        "print(my_preparation.scaling.scale(3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DOSIRAK_HOME": str(store.root.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "3\n", done.stderr
    assert not any((store.root / "tmp").iterdir())
