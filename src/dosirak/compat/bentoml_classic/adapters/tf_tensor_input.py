"""TensorFlow Serving's `{"instances": […]}` → one tensor for a whole batch."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, ClassVar, cast

from dosirak.compat.bentoml_classic.adapters.input_adapter import Schema, Task, prepared
from dosirak.compat.bentoml_classic.adapters.json_input import parse_json
from dosirak.compat.bentoml_classic.adapters.string_input import StringInput
from dosirak.compat.bentoml_classic.exceptions import (
    BentoMLConfigException,
    MissingDependencyException,
)
from dosirak.compat.bentoml_classic.json_text import B64_KEY


class TfTensorInput(StringInput):
    """Gives the API function one `tf.Tensor` holding the instances of every request.

    Args:
        method: `predict`, the only method of TensorFlow Serving that can be read.
        **base_kwargs: see `BaseInputAdapter`.

    Raises:
        BentoMLConfigException: another method was asked for (the author's fault).
    """

    CALLER_GIVES = Any

    SINGLE_MODE_SUPPORTED = False
    METHODS: ClassVar[tuple[str, ...]] = ("predict",)

    def __init__(self, method: str = "predict", **base_kwargs: Any) -> None:
        super().__init__(**base_kwargs)
        if method not in self.METHODS:
            raise BentoMLConfigException(
                f"TfTensorInput cannot read method={method!r}.", remedy="Use method='predict'."
            )
        self.method = method

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {**super().config, "method": self.method}

    @property
    def request_schema(self) -> Schema:
        """The row format of TensorFlow Serving."""
        instances = {"type": "array", "items": {"type": "object"}}
        properties = {"signature_name": {"type": "string"}, "instances": instances}
        return {"application/json": {"schema": {"type": "object", "properties": properties}}}

    def prepare(self, task: Task) -> None:
        """Parse the text and count the instances."""
        parsed = parse_json(task, object_hook=_decoded)
        if parsed is None:
            return
        body = parsed.value
        instances = cast(dict[str, Any], body).get("instances") if isinstance(body, dict) else None
        if not isinstance(instances, list):
            task.discard(http_status=400, err_msg="input format is not implemented")
            return
        rows = cast(list[Any], instances)
        # The header says that the instances are one item, not a list of them.
        if task.http_headers.is_batch_input is False:
            task.prepared = [rows]
        else:
            task.prepared, task.batch = rows, len(rows)

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return the instances as one tensor."""
        rows = [row for task in prepared(self, tasks) for row in task.prepared]
        try:
            import tensorflow as tf  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingDependencyException(
                "TfTensorInput needs TensorFlow.", remedy="Install tensorflow."
            ) from error
        return (tf.constant(rows),)


def _decoded(value: dict[str, Any]) -> Any:
    """Read `{"b64": …}` as the bytes it stands for."""
    if set(value) == {B64_KEY} and isinstance(value[B64_KEY], str):
        return base64.b64decode(value[B64_KEY], validate=True)
    return value
