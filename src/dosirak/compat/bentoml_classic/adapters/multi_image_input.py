"""Several named pictures from each request's form → one array argument for each name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.input_adapter import Task
from dosirak.compat.bentoml_classic.adapters.multi_file_input import MultiFileInput
from dosirak.compat.bentoml_classic.adapters.picture import (
    DEFAULT_FORMATS,
    WrongPicture,
    has_format,
    read_picture,
)


class MultiImageInput(MultiFileInput):
    """Gives the API function one array for each name, or one tuple of them when it batches.

    Args:
        input_names: the form's field names, in the order of the function's parameters.
        pilmode: the Pillow mode that pictures are converted to.
        accept_image_formats: the suffixes accepted, checked when a file has a name.
        **base_kwargs: see `BaseInputAdapter`.
    """

    def __init__(
        self,
        input_names: Sequence[str] = ("image",),
        pilmode: str = "RGB",
        accept_image_formats: Sequence[str] | None = None,
        **base_kwargs: Any,
    ) -> None:
        super().__init__(input_names, allow_none=True, **base_kwargs)
        self.pilmode = pilmode
        self.accept_image_formats = list(accept_image_formats or DEFAULT_FORMATS)

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {
            **super().config,
            "accept_image_formats": self.accept_image_formats,
            "pilmode": self.pilmode,
        }

    @property
    def pip_dependencies(self) -> list[str]:
        """What reads pictures."""
        return ["pillow", "numpy"]

    def prepare(self, task: Task) -> None:
        """Read the pictures."""
        name, formats = f"BentoML#{type(self).__name__}", self.accept_image_formats
        if any(file is None for file in task.data):
            task.discard(http_status=400, err_msg=f"{name} Empty request")
        elif not all(not file.name or has_format(file.name, formats) for file in task.data):
            message = f"{name} Input image file must be in supported format list: {formats}"
            task.discard(http_status=400, err_msg=message)
        else:
            self._read(task, name)

    def _read(self, task: Task, name: str) -> None:
        try:
            task.prepared = tuple(read_picture(file, self.pilmode) for file in task.data)
        except WrongPicture:
            task.discard(
                http_status=400,
                err_msg=f"{name} Input image decode failed, it must be in supported format list: "
                f"{self.accept_image_formats}",
            )
