"""Where 0.13 kept `TfTensorInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    TfTensorInput,
)

__all__ = [
    "TfTensorInput",
]
