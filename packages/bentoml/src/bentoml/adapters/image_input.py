"""Where 0.13 kept `ImageInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    ImageInput,
)

__all__ = [
    "ImageInput",
]
