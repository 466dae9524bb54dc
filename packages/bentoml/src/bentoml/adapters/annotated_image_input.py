"""Where 0.13 kept `AnnotatedImageInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    AnnotatedImageInput,
)

__all__ = [
    "AnnotatedImageInput",
]
