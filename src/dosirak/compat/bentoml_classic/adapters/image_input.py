"""One picture from each request, as a body or the one file of a form → a numpy array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.file_input import BINARY, FileInput
from dosirak.compat.bentoml_classic.adapters.input_adapter import Schema, Task, prepared
from dosirak.compat.bentoml_classic.adapters.picture import (
    DEFAULT_FORMATS,
    WrongPicture,
    has_format,
    read_picture,
)


class ImageInput(FileInput):
    """Gives the API function an array, or a list of them when it takes batches.

    Args:
        accept_image_formats: the suffixes accepted, checked when the file has a name.
        pilmode: the Pillow mode that pictures are converted to.
        **base_kwargs: see `BaseInputAdapter`.
    """

    def __init__(
        self,
        accept_image_formats: Sequence[str] | None = None,
        pilmode: str = "RGB",
        **base_kwargs: Any,
    ) -> None:
        super().__init__(**base_kwargs)
        self.pilmode = pilmode
        self.accept_image_formats = list(accept_image_formats or DEFAULT_FORMATS)

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {"accept_image_formats": self.accept_image_formats, "pilmode": self.pilmode}

    @property
    def request_schema(self) -> Schema:
        """A picture, or a form with one."""
        form = {"type": "object", "properties": {"image_file": BINARY}}
        return {"image/*": {"schema": BINARY}, "multipart/form-data": {"schema": form}}

    @property
    def pip_dependencies(self) -> list[str]:
        """What reads pictures."""
        return ["pillow", "numpy"]

    def prepare(self, task: Task) -> None:
        """Read the picture."""
        file, formats = task.data, self.accept_image_formats
        if file.name and not has_format(file.name, formats):
            message = f"Current service only accepts {formats} formats"
            task.discard(http_status=400, err_msg=message)
            return
        try:
            task.prepared = read_picture(file, self.pilmode)
        except WrongPicture:
            task.discard(http_status=400, err_msg="The body is not a picture that can be read")

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return the arrays as one list."""
        return ([task.prepared for task in prepared(self, tasks)],)
