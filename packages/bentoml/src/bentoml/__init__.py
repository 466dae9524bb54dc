"""The classic BentoML 0.13 names, each implemented in `dosirak.compat.bentoml_classic`."""

from dosirak.compat.bentoml_classic import (
    BentoService,
    __version__,
    api,
    artifacts,
    env,
    load,
    load_from_dir,
    save,
    save_to_dir,
    ver,
    web_static_content,
)

__all__ = [
    "BentoService",
    "__version__",
    "api",
    "artifacts",
    "env",
    "load",
    "load_from_dir",
    "save",
    "save_to_dir",
    "ver",
    "web_static_content",
]
