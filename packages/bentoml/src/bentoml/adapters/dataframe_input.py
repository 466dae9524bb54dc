"""Where 0.13 kept `DataframeInput`."""

from dosirak.compat.bentoml_classic.adapters import (
    DataframeInput,
)

__all__ = [
    "DataframeInput",
]
