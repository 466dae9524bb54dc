"""Pack: keep trained models with their metadata and golden examples."""

from dosirak.models.examples import Example, replay
from dosirak.models.model import Model
from dosirak.models.saved import SHELF
from dosirak.models.saved import save_model as save

get = SHELF.get
list = SHELF.list  # noqa: A001 - read as `models.list`
delete = SHELF.delete
export = SHELF.export
import_ = SHELF.import_

__all__ = [
    "Example",
    "Model",
    "delete",
    "export",
    "get",
    "import_",
    "list",
    "replay",
    "save",
]
