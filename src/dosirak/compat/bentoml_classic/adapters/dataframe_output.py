"""Tables as JSON: each task gets its rows, in the orient the author chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.json_output import JsonOutput
from dosirak.compat.bentoml_classic.adapters.output_adapter import Result, Tasks, check_count
from dosirak.compat.bentoml_classic.adapters.table_text import ORIENTS
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException


class DataframeOutput(JsonOutput):
    """Writes a DataFrame or Series with pandas' own `to_json`.

    Args:
        output_orient: `records`, `columns`, `index`, `split` or `values`.
        **kwargs: see `JsonOutput`.

    Raises:
        BentoMLConfigException: the orient is unknown (the author's fault).
    """

    def __init__(self, output_orient: str = "records", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if output_orient not in ORIENTS:
            raise BentoMLConfigException(
                f"DataframeOutput does not know output_orient={output_orient!r}.",
                remedy=f"Use one of: {', '.join(ORIENTS)}.",
            )
        self.output_orient = output_orient

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {**super().config, "output_orient": self.output_orient}

    @property
    def pip_dependencies(self) -> list[str]:
        """Pandas."""
        return ["pandas"]

    def pack_user_func_return_value(self, return_result: Any, tasks: Tasks) -> Sequence[Result]:
        """Give each task its rows."""
        check_count(return_result, tasks)
        results: list[Result] = []
        start = 0
        for task in tasks:
            end = start + (1 if task.batch is None else task.batch)
            results.append(self.packed(_own(return_result[start:end]), task.cli_args))
            start = end
        return results

    def text(self, value: Any) -> str:
        """Return a table as JSON text, and anything else as `JsonOutput` does."""
        if not hasattr(value, "to_json"):
            return super().text(value)
        table = value.to_frame() if value.ndim == 1 else value
        # pandas' force_ascii escapes as ensure_ascii does; 0.13 always escaped.
        return table.to_json(orient=self.output_orient)


def _own(rows: Any) -> Any:
    """Number a share's rows from zero, whatever came before them in the batch."""
    index = getattr(rows, "index", None)
    is_range = type(index).__name__ == "RangeIndex"
    return rows.reset_index(drop=True) if is_range else rows
