"""BentoCloud's functions over the platform of this machine."""

from dosirak.compat.bentoml_cloud.deployments import (
    Deployment,
    apply,
    create,
    delete,
    get,
    list,  # noqa: A004 - read as `deployment.list`
    start,
    terminate,
    update,
)

__all__ = [
    "Deployment",
    "apply",
    "create",
    "delete",
    "get",
    "list",
    "start",
    "terminate",
    "update",
]
