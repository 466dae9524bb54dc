"""The classic BentoML 0.13 API over dosirak.

    class Service(BentoService) ──save──▶ 0.13 bundle ──front_end──▶ ServiceSpec

The distribution in `packages/bentoml` gives these names as `bentoml`. The compatibility page in the
documentation says what is the same, what was a bug in 0.13 and is not kept, and what is missing.
"""

from dosirak.compat.bentoml_classic.bundle.loading import load_from_dir
from dosirak.compat.bentoml_classic.decorators import (
    api,
    artifacts,
    env,
    ver,
    web_static_content,
)
from dosirak.compat.bentoml_classic.service import BentoService, save, save_to_dir
from dosirak.compat.bentoml_classic.version import CLASSIC_VERSION

__version__ = CLASSIC_VERSION
load = load_from_dir

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
