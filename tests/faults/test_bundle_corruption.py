"""F-44: any flipped bit of a bundle is found before any of its code runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from dosirak_tally import Tally

from dosirak import bundles, models
from dosirak.errors import CorruptContent
from dosirak.store import Store

# The fake framework's distribution is not installed.
pytestmark = pytest.mark.filterwarnings("ignore::dosirak.bundles.EnvironmentWarning")

SERVICE = """
from pathlib import Path
import dosirak
Path({canary!r}).touch()


@dosirak.service
class Iris:
    model = dosirak.model("tally")

    @dosirak.api
    def echo(self, x: int) -> int:
        return x
"""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def template(tmp_path: Path, canary: Path) -> Path:
    store = Store(tmp_path / "template")
    models.save("tally", Tally([1, 2]), framework="tally", examples=[[1, 1]], store=store)
    project = tmp_path / "project"
    (project / "package").mkdir(parents=True)
    (project / "service.py").write_text(SERVICE.format(canary=str(canary)))
    (project / "package" / "__init__.py").touch()
    (project / "data.bin").write_bytes(random.Random(1).randbytes(3000))
    bundles.build(project, store=store)
    canary.unlink()
    return store.root


def closure_files(root: Path) -> list[Path]:
    """Every file in the store that the bundle is made of, its record and manifests included."""
    store = Store(root)
    entry = store.entries("bundles")[0]
    digests = set[str]()
    for digest, manifest in store.closure(entry.digest).items():
        digests |= {digest, *(file["sha256"] for file in manifest["files"])}
    content = [path for path in root.rglob("*") if path.is_file() and path.name in digests]
    return [*sorted(content), root / "references" / "bundles" / "iris" / entry.version]


def check_found(root: Path, path: Path, change: Callable[[bytearray], object]) -> None:
    original, mode = path.read_bytes(), path.stat().st_mode
    data = bytearray(original)
    change(data)
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(CorruptContent):
        bundles.load("iris", store=Store(root))
    if not path.exists():  # in quarantine
        path.write_bytes(b"")
    path.write_bytes(original)
    path.chmod(mode)


def flip(bit: int) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        data[bit // 8] ^= 1 << (bit % 8)

    return change


def sweep(template: Path, flips: int) -> int:
    chance = random.Random(44)
    done = 0
    files = [path for path in closure_files(template) if path.stat().st_size]
    for path in files:
        for _ in range(max(1, flips // len(files))):
            check_found(template, path, flip(chance.randrange(path.stat().st_size * 8)))
            done += 1
    return done


def test_a_flipped_bit_in_any_file_is_found_before_code_runs(template: Path, canary: Path) -> None:
    assert sweep(template, 1) >= 8
    assert not canary.exists()
    bundles.load("iris", store=Store(template)).close()
    assert canary.exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_flipped_bits_are_found(template: Path, canary: Path) -> None:
    assert sweep(template, 5000) >= 4900
    assert not canary.exists()


def test_a_cut_grown_swapped_or_missing_file_is_found(template: Path, canary: Path) -> None:
    files = [path for path in closure_files(template) if path.stat().st_size > 1]
    for path in files:
        check_found(template, path, lambda data: data.pop())
        check_found(template, path, lambda data: data.append(0))
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].chmod(0o644)
    files[1].chmod(0o644)
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    with pytest.raises(CorruptContent):
        bundles.load("iris", store=Store(template))
    assert not canary.exists()
