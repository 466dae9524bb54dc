"""Where 0.13 kept loading and saving."""

from dosirak.compat.bentoml_classic import load_from_dir, save_to_dir
from dosirak.compat.bentoml_classic.bundle.loading import (
    load_service_class as load_bento_service_class,
)

__all__ = ["load_bento_service_class", "load_from_dir", "save_to_dir"]
