"""Tables: JSON in five orients or CSV with a header row → one pandas DataFrame for a whole batch.

Each request is read by itself, so that what shares its batch cannot change its dtypes; only
requests with equal columns and dtypes share a call (`group_key`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.command_line import QuietParser
from dosirak.compat.bentoml_classic.adapters.input_adapter import Schema, Task, prepared
from dosirak.compat.bentoml_classic.adapters.json_input import parse_json
from dosirak.compat.bentoml_classic.adapters.string_input import StringInput
from dosirak.compat.bentoml_classic.adapters.table_text import (
    ORIENTS,
    WrongTable,
    table_from_csv,
    table_from_json,
)
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException
from dosirak.compat.bentoml_classic.types import FileLike, HTTPHeaders

_JSON_TYPES = (
    ("int", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("str", "string"),
    ("date", "string"),
    ("bool", "boolean"),
)


class DataframeInput(StringInput):
    """Gives the API function one DataFrame holding the rows of every request in the batch.

    Args:
        typ: `frame`, the only kind.
        orient: `split`, `records`, `index`, `columns` or `values`; guessed from the JSON if None.
        columns: the columns that must be there, in the order the function gets them.
        dtype: one dtype, a mapping of column to dtype, or a list of dtypes by position.
        input_dtypes: the older name of `dtype`.
        **base_kwargs: see `BaseInputAdapter`.

    Raises:
        BentoMLConfigException: the arguments contradict each other (the author's fault).
    """

    CALLER_GIVES = Any

    SINGLE_MODE_SUPPORTED = False

    def __init__(
        self,
        typ: str = "frame",
        orient: str | None = None,
        columns: Sequence[str] | None = None,
        dtype: Any = None,
        input_dtypes: Any = None,
        **base_kwargs: Any,
    ) -> None:
        super().__init__(**base_kwargs)
        dtype = dtype if dtype is not None else input_dtypes
        _check_arguments(typ, orient, columns, dtype)
        self.typ = typ
        self.orient = orient
        self.columns = list(columns) if columns is not None else None
        self.dtype: Any = dict(enumerate(dtype)) if isinstance(dtype, list | tuple) else dtype

    @property
    def pip_dependencies(self) -> list[str]:
        """Pandas."""
        return ["pandas"]

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {
            **super().config,
            "orient": self.orient,
            "typ": self.typ,
            "columns": self.columns,
            "dtype": _plain_dtype(self.dtype),
        }

    @property
    def request_schema(self) -> Schema:
        """JSON, CSV or one uploaded file."""
        table: dict[str, Any] = {"type": "object"}
        if isinstance(self.dtype, Mapping):
            table["properties"] = {
                str(column): {"type": "array", "items": {"type": _json_type(str(dtype))}}
                for column, dtype in self.dtype.items()
            }
        file = {"type": "string", "format": "binary"}
        form = {"type": "object", "properties": {"file": file}}
        return {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": table},
            "text/csv": {"schema": file},
        }

    def note_file(self, task: Task, file: FileLike) -> None:
        """Remember an uploaded CSV file for what it is."""
        kind = HTTPHeaders({"content-type": file.content_type}).content_type
        if kind == "text/csv" or (file.name or "").lower().endswith(".csv"):
            task.inference_job_args = {"format": "csv"}

    def prepare(self, task: Task) -> None:
        """Read the text as a table; `task.batch` becomes its number of rows."""
        name = type(self).__name__
        try:
            task.prepared = self._table(task)
        except WrongTable as error:
            task.discard(http_status=400, err_msg=f"{name} Wrong input format: {error.reason}.")
            return
        task.batch = len(task.prepared)

    def _table(self, task: Task) -> Any:
        if _format(task) == "csv":
            return table_from_csv(task.data or "", columns=self.columns, dtype=self.dtype)
        parsed = parse_json(task)
        if parsed is None:
            raise WrongTable("the body is not JSON")
        return table_from_json(
            parsed.value, orient=self.orient, columns=self.columns, dtype=self.dtype
        )

    def group_key(self, task: Task) -> Hashable:
        """Return the table's columns and dtypes."""
        if task.prepared is None:
            return None
        return (tuple(task.prepared.columns), tuple(map(str, task.prepared.dtypes)))

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Join the tables; None when no task is left."""
        import pandas as pd  # noqa: PLC0415 - ADR 0004

        tables = [task.prepared for task in prepared(self, tasks)]
        if len(tables) < 2:
            return (tables[0] if tables else None,)
        return (pd.concat(tables, ignore_index=True),)


def _check_arguments(
    typ: str, orient: str | None, columns: Sequence[str] | None, dtype: Any
) -> None:
    if typ != "frame":
        raise BentoMLConfigException(
            f"DataframeInput cannot read typ={typ!r}.", remedy="Use typ='frame'."
        )
    if orient is not None and orient not in ORIENTS:
        raise BentoMLConfigException(
            f"DataframeInput does not know orient={orient!r}.",
            remedy=f"Use one of: {', '.join(ORIENTS)}.",
        )
    if columns is not None and isinstance(dtype, Mapping) and set(dtype) != set(columns):
        raise BentoMLConfigException(
            "DataframeInput got different names in dtype and columns.",
            remedy="Name the same columns in both.",
        )


def _format(task: Task) -> str:
    if task.aws_lambda_event is not None:
        headers = HTTPHeaders(task.aws_lambda_event.get("headers"))
    elif task.cli_args is not None:
        return _format_option(task.cli_args)
    else:
        headers = task.http_headers
    uploaded = (task.inference_job_args or {}).get("format")
    return "csv" if uploaded == "csv" or headers.content_type == "text/csv" else "json"


def _format_option(arguments: Sequence[str]) -> str:
    parser = QuietParser()
    parser.add_argument("--format", choices=["csv", "json"], default="json")
    return parser.parse_known_args(list(arguments))[0].format


def _json_type(dtype: str) -> str:
    return next((kind for prefix, kind in _JSON_TYPES if dtype.startswith(prefix)), "object")


def _plain_dtype(dtype: Any) -> Any:
    if isinstance(dtype, Mapping):
        return {str(name): _plain_dtype(value) for name, value in dtype.items()}
    return (
        dtype if dtype is None or isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    )
