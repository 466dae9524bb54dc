"""The classic exception names, each also a member of dosirak's own error tree.

Code that catches `bentoml.exceptions.InvalidArgument` keeps working, and everything else in the
project (exit codes, HTTP statuses) reads the same object as a `DosirakError`.
"""

from __future__ import annotations

from dosirak.errors import (
    AlreadyExists,
    CorruptContent,
    DosirakError,
    InvalidConfiguration,
    InvalidInput,
    MissingDependency,
    UsageError,
)
from dosirak.errors import (
    NotFound as DosirakNotFound,
)


class BentoMLException(DosirakError):
    """The root of the classic exceptions."""

    @property
    def status_code(self) -> int:
        """The HTTP status, under its classic name."""
        return self.http_status


class InvalidArgument(BentoMLException, UsageError):
    """An argument of a classic function, decorator or command is wrong."""


class APIDeprecated(BentoMLException, UsageError):
    """A parameter that classic BentoML itself had already withdrawn."""


class BadInput(BentoMLException, InvalidInput):
    """A request does not fit the input adapter."""


class NotFound(BentoMLException, DosirakNotFound):
    """No such service, version or api."""


class FailedPrecondition(BentoMLException, UsageError):
    """Something has to happen first, such as packing an artifact."""


class ArtifactLoadingException(BentoMLException, CorruptContent):
    """A saved artifact cannot be read back."""


class BentoMLConfigException(BentoMLException, InvalidConfiguration):
    """An adapter, decorator or bundle description is inconsistent."""


class MissingDependencyException(BentoMLException, MissingDependency):
    """The library that an adapter or artifact needs is not installed."""


class YataiServiceException(BentoMLException):
    """The root of the classic repository errors."""


class YataiRepositoryException(YataiServiceException, AlreadyExists):
    """The repository already holds this version."""


class CLIException(BentoMLException, UsageError):
    """A classic command was used wrongly."""
