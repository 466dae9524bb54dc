"""A picture with a JSON file about it from each request's form → an array and a value."""

from __future__ import annotations

import json
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


class AnnotatedImageInput(MultiFileInput):
    """Gives the API function an array and a parsed JSON value (None when it was not sent).

    Args:
        image_input_name: the form field of the picture.
        annotation_input_name: the form field of the JSON file, which may be missing.
        pilmode: the Pillow mode that pictures are converted to.
        accept_image_formats: the suffixes accepted; the picture must have a name.
        **base_kwargs: see `BaseInputAdapter`.
    """

    def __init__(
        self,
        image_input_name: str = "image",
        annotation_input_name: str = "annotations",
        pilmode: str = "RGB",
        accept_image_formats: Sequence[str] | None = None,
        **base_kwargs: Any,
    ) -> None:
        super().__init__([image_input_name, annotation_input_name], allow_none=True, **base_kwargs)
        self.image_input_name = image_input_name
        self.annotation_input_name = annotation_input_name
        self.pilmode = pilmode
        self.accept_image_formats = list(accept_image_formats or DEFAULT_FORMATS)

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {"accept_image_formats": self.accept_image_formats, "pilmode": self.pilmode}

    @property
    def pip_dependencies(self) -> list[str]:
        """What reads pictures."""
        return ["pillow", "numpy"]

    def prepare(self, task: Task) -> None:
        """Read the picture, then the JSON file."""
        name = f"BentoML#{type(self).__name__}"
        picture, annotation = task.data
        try:
            if picture is None or not has_format(picture.name, self.accept_image_formats):
                raise WrongPicture
            array = read_picture(picture, self.pilmode)
            about = None if annotation is None else json.loads(annotation.read())
        except WrongPicture:
            task.discard(
                http_status=400,
                err_msg=f"{name} Input image file must be in supported format list: "
                f"{self.accept_image_formats}",
            )
        except UnicodeDecodeError:
            task.discard(http_status=400, err_msg="JSON must be in unicode")
        except (json.JSONDecodeError, RecursionError):
            task.discard(http_status=400, err_msg=f"{name} received invalid JSON file")
        else:
            task.prepared = (array, about)
