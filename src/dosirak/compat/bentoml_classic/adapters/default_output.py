"""Chooses the output adapter by what the API function returned, anew for every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.dataframe_output import DataframeOutput
from dosirak.compat.bentoml_classic.adapters.json_output import JsonOutput
from dosirak.compat.bentoml_classic.adapters.output_adapter import BaseOutputAdapter, Result, Tasks
from dosirak.compat.bentoml_classic.adapters.tf_tensor_output import TfTensorOutput


class DefaultOutput(BaseOutputAdapter):
    """Writes tables as `DataframeOutput`, tensors as `TfTensorOutput`, the rest as `JsonOutput`."""

    def pack_user_func_return_value(self, return_result: Any, tasks: Tasks) -> Sequence[Result]:
        """Make results with the adapter that suits the value."""
        return _suitable(return_result).pack_user_func_return_value(return_result, tasks)


def _suitable(value: Any) -> BaseOutputAdapter:
    home = type(value).__module__.partition(".")[0]
    if home == "pandas" and hasattr(value, "to_json"):
        return DataframeOutput()
    if home == "tensorflow" and hasattr(value, "numpy"):
        return TfTensorOutput()
    return JsonOutput()
