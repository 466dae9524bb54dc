"""TensorFlow tensors as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.json_output import JsonOutput
from dosirak.compat.bentoml_classic.adapters.output_adapter import Result, Tasks


class TfTensorOutput(JsonOutput):
    """Writes each task's rows of a tensor, or of anything with a `numpy` method."""

    @property
    def pip_dependencies(self) -> list[str]:
        """TensorFlow."""
        return ["tensorflow"]

    def pack_user_func_return_value(self, return_result: Any, tasks: Tasks) -> Sequence[Result]:
        """Turn the tensor into an array once, then share it."""
        as_array = getattr(return_result, "numpy", None)
        values = as_array() if callable(as_array) else return_result
        return super().pack_user_func_return_value(values, tasks)
