"""The classic exceptions."""

from dosirak.compat.bentoml_classic.exceptions import (
    APIDeprecated,
    ArtifactLoadingException,
    BadInput,
    BentoMLConfigException,
    BentoMLException,
    CLIException,
    FailedPrecondition,
    InvalidArgument,
    MissingDependencyException,
    NotFound,
    YataiRepositoryException,
    YataiServiceException,
)

__all__ = [
    "APIDeprecated",
    "ArtifactLoadingException",
    "BadInput",
    "BentoMLConfigException",
    "BentoMLException",
    "CLIException",
    "FailedPrecondition",
    "InvalidArgument",
    "MissingDependencyException",
    "NotFound",
    "YataiRepositoryException",
    "YataiServiceException",
]
