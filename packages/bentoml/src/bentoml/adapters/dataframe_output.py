"""Where 0.13 kept `DataframeOutput`."""

from dosirak.compat.bentoml_classic.adapters import (
    DataframeOutput,
)

__all__ = [
    "DataframeOutput",
]
