"""Pack: keep trained models with their metadata and golden examples."""

from dosirak.models.examples import Example, replay
from dosirak.models.model import Model
from dosirak.models.saved import delete_model as delete
from dosirak.models.saved import export_model as export
from dosirak.models.saved import get_model as get
from dosirak.models.saved import import_model as import_
from dosirak.models.saved import list_models as list  # noqa: A004 - read as `models.list`
from dosirak.models.saved import save_model as save

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
