from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from dosirak import models
from dosirak.errors import UntrustedContent
from dosirak.store import Store

CANARY = Path


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self):
        return (_touch, (self.canary,))


def _touch(path: str) -> str:
    Path(path).touch()
    return "loaded"


@pytest.fixture
def imported(tmp_path):
    """A pickle that came from outside."""
    source = Store(tmp_path / "source")
    models.save("bomb", Bomb(str(tmp_path / "canary")), allow_pickle=True, store=source)
    assert not (tmp_path / "canary").exists()
    path = models.export("bomb", tmp_path / "bomb.tar", store=source)
    return models.import_(path, store=Store(tmp_path / "target"))


def test_a_pickle_saved_here_loads(tmp_path):
    saved = models.save("bomb", Bomb(str(tmp_path / "canary")), allow_pickle=True)
    assert saved.load() == "loaded"


def test_a_pickle_from_outside_is_never_read_without_trust(imported, tmp_path):
    for trust in (None, False, "", "0" * 64, "yes"):
        with pytest.raises(UntrustedContent):
            imported.load(trust=trust)
    assert not (tmp_path / "canary").exists()


def test_trust_in_the_content_or_the_reference_lets_it_load(imported):
    assert imported.load(trust=imported.id) == "loaded"
    assert imported.load(trust=True) == "loaded"


def test_trust_in_other_content_is_refused_even_for_what_was_saved_here():
    saved = models.save("plain", {"a": 1}, allow_pickle=True)
    with pytest.raises(UntrustedContent, match="not the content that was vouched for"):
        saved.load(trust="1" * 64)


@pytest.mark.parametrize(
    "lie",
    [
        {"framework": "pickle", "saved": {"format": "pickle", "pickle": False}},
        {"framework": "pickle", "saved": {"format": "json", "pickle": False}},
        {"framework": "sklearn", "saved": {"format": "pickle", "pickle": False}},
        {"framework": "sklearn", "saved": {"format": "joblib", "pickle": False}},
        {"framework": "tally", "saved": {"format": "cloudpickle", "pickle": False}},
        {"framework": "tally", "saved": {"format": "json", "pickle": True}},
    ],
)
def test_a_manifest_that_lies_about_its_pickle_is_not_believed(lie, tmp_path):
    canary = tmp_path / "canary"
    store = Store(tmp_path / "target")
    with store.writing() as transaction:
        (transaction.directory / "model").mkdir()
        for name in ("model.pkl", "model.skops"):
            (transaction.directory / "model" / name).write_bytes(pickle.dumps(Bomb(str(canary))))
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        manifest = {"format": "dosirak/model/1", "metadata": {}, "examples": [], "files": files}
        entry = transaction.commit("models", "evil", "1", {**manifest, **lie}, origin="imported")
    with pytest.raises(UntrustedContent):
        models.Model(store, entry).load()
    assert not canary.exists()


def test_a_record_edited_to_be_local_is_damage_not_trust(imported):
    from dosirak.errors import CorruptContent

    record = imported.store.root / "references/models/bomb" / imported.version
    record.write_bytes(record.read_bytes().replace(b'"imported"', b'"local"'))
    with pytest.raises(CorruptContent):
        models.get("bomb", store=imported.store)
