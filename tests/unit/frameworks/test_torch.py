"""What PyTorch alone has: shared, strided and half tensors, constructors, classes by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dosirak.errors import CorruptContent, InvalidInput, ResultError, UsageError
from dosirak.frameworks import torch as framework
from dosirak.models.framework import SavedFormat


class Net(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = torch.nn.Linear(width, width)
        self.two = torch.nn.Linear(width, width)
        self.two.weight = self.one.weight
        self.kept = torch.nn.Buffer(torch.full((width,), 3.0), persistent=False)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(batch)) * self.kept


class Reader(torch.nn.Module):
    """A constructor that reads values, as stochastic-depth networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch) * self.rates[1]


class Pair(torch.nn.Module):
    def forward(self, batch: torch.Tensor) -> Any:
        return batch, batch


def round_trip(model: Any, directory: Path, **options: Any) -> Any:
    saved = framework.save(model, directory, options=options)
    return framework.load(directory, saved)


def test_tied_parameters_are_one_parameter_again_and_written_once(tmp_path: Path) -> None:
    loaded = round_trip(Net(64), tmp_path, constructor={"width": 64})
    assert loaded.one.weight is loaded.two.weight
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.2 * 64 * 64 * 4


def test_buffers_that_are_not_saved_are_made_with_the_models_type(tmp_path: Path) -> None:
    loaded = round_trip(Net(4).half(), tmp_path, constructor={"width": 4})
    assert {tensor.dtype for tensor in (*loaded.parameters(), loaded.kept)} == {torch.float16}
    assert loaded.kept.tolist() == [3.0] * 4


def test_a_loaded_module_can_be_trained_on_without_changing_its_file(tmp_path: Path) -> None:
    before = None
    saved = framework.save(Net(4), tmp_path, options={"constructor": {"width": 4}})
    path = next(tmp_path.iterdir())
    path.chmod(0o444)
    before = path.read_bytes()
    loaded = framework.load(tmp_path, saved)
    torch.optim.SGD(loaded.parameters(), lr=1.0)
    loaded(torch.ones(1, 4)).sum().backward()
    with torch.no_grad():
        loaded.one.weight.add_(1)
    assert path.read_bytes() == before


def test_every_type_and_layout_of_tensor_survives(tmp_path: Path) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "plain": base,
        "alias": base,
        "view": base[1:],
        "transposed": base.t(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "eight": torch.ones(2).to(torch.float8_e4m3fn),
        "wide": torch.ones(2, dtype=torch.float64),
        "complex": torch.tensor([1 + 2j], dtype=torch.complex64),
        "conjugate": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "expanded": torch.ones(1, 3).expand(2, 3),
    }
    loaded = round_trip(tensors, tmp_path)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        if name != "eight":
            assert torch.equal(loaded[name], tensor.detach())
    assert loaded["alias"] is loaded["plain"]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(2, dtype=torch.complex128),
    ],
    ids=["sparse", "meta", "complex128"],
)
def test_what_safetensors_cannot_hold_is_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        framework.save({"weight": tensor}, tmp_path, options={})
    assert caught.value.remedy


def test_a_constructor_that_reads_values_works(tmp_path: Path) -> None:
    model = Reader()
    loaded = round_trip(model, tmp_path)
    rows = np.ones((1, 2), np.float32)
    expected = framework.call(model, "predict", rows)
    np.testing.assert_array_equal(framework.call(loaded, "predict", rows), expected)


@pytest.mark.parametrize(
    ("model", "constructor"),
    [
        (Net(4), {}),
        (Net(4), {"width": 5}),
        (Net(4), {"width": 4, "depth": 1}),
        (Net(4), {"width": (1,)}),
        (torch.nn.Sequential(torch.nn.Linear(1, 1)), {}),
    ],
    ids=["no argument", "another size", "one too many", "no JSON", "modules as arguments"],
)
def test_a_constructor_that_makes_another_module_is_refused_when_saving(
    model: Any, constructor: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        framework.save(model, tmp_path, options={"constructor": constructor})
    assert "allow_pickle=True" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_class_inside_a_function_is_refused_or_pickled(tmp_path: Path) -> None:
    class Local(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch + 1

    with pytest.raises(UsageError, match="cannot be imported"):
        framework.save(Local(), tmp_path, options={})
    loaded = round_trip(Local(), tmp_path, allow_pickle=True)
    rows = np.zeros((1, 2), np.float32)
    assert framework.call(loaded, "predict", rows).tolist() == [[1, 1]]


def test_weights_that_no_longer_fit_their_class_are_corrupt_content(tmp_path: Path) -> None:
    saved = framework.save(Net(4), tmp_path, options={"constructor": {"width": 4}})
    options = {**saved.options, "constructor": {"width": 5}}
    with pytest.raises(CorruptContent):
        framework.load(tmp_path, SavedFormat("safetensors", options=options))


@pytest.mark.parametrize(
    ("value", "kind"),
    [([[1, 2, 3, 4]], "f"), (np.ones((2, 4)), "f"), ([[True, False, True, True]], "f")],
)
def test_numbers_of_any_type_become_the_modules(value: Any, kind: str) -> None:
    result = framework.call(Net(4).half(), "predict", value)
    assert result.dtype == np.float16
    assert framework.call(Net(4), "predict", value).dtype == np.float32


@pytest.mark.parametrize("value", [[["a"]], np.zeros((2, 9)), [[None]]])
def test_what_a_module_cannot_take_is_the_callers_fault(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        framework.call(Net(4), "predict", value)
    assert caught.value.fields


def test_several_results_need_a_service_of_ones_own() -> None:
    with pytest.raises(ResultError):
        framework.call(Pair(), "predict", np.zeros((1, 1)))


def test_a_dictionary_of_tensors_offers_no_method() -> None:
    assert framework.methods({"a": torch.zeros(1)}) == ()


def test_a_call_is_in_evaluation_mode_and_leaves_training_alone() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.BatchNorm1d(2))
    model[1].eval()
    rows = np.ones((5, 2), np.float32)
    first, second = (framework.call(model, "predict", rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != 0).all()
    assert [part.training for part in model.modules()] == [True, True, False]
