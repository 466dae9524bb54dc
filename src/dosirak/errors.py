"""Every error dosirak raises on purpose: one tree, read top to bottom.

    DosirakError                  error                   HTTP 500  exit 1
    ├── UsageError                usage                        400       2   the code or command
    │   ├── InvalidName           invalid_name
    │   ├── InvalidService        invalid_service                            at import of a service
    │   │   └── UnsupportedHint   unsupported_hint
    │   └── InvalidConfiguration  invalid_configuration
    ├── RequestError              bad_request                  400       2   the request on the wire
    │   ├── InvalidInput          invalid_input                              names field and reason
    │   ├── UnsupportedMediaType  unsupported_media_type       415
    │   ├── NotAcceptable         not_acceptable               406
    │   ├── PayloadTooLarge       payload_too_large            413
    │   ├── Unauthorized          unauthorized                 401
    │   ├── Forbidden             forbidden                    403
    │   ├── MethodNotAllowed      method_not_allowed           405
    │   ├── RequestTooSlow        request_too_slow             408
    │   ├── HeadTooLarge          head_too_large               431
    │   ├── QuarantinedInput      quarantined_input            422
    │   └── MisdirectedRequest    misdirected_request          421
    ├── NotFound                  not_found                    404       3
    │   ├── ModelNotFound         model_not_found
    │   ├── BundleNotFound        bundle_not_found
    │   ├── ApiNotFound           api_not_found
    │   ├── TaskNotFound          task_not_found
    │   ├── DeploymentNotFound    deployment_not_found
    │   └── RevisionNotFound      revision_not_found
    ├── Conflict                  conflict                     409       4
    │   ├── AlreadyExists         already_exists
    │   ├── ReloadRefused         reload_refused
    │   └── DeploymentConflict    deployment_conflict                        its state forbids it
    ├── IntegrityError            integrity                    500       5   not as claimed
    │   ├── CorruptContent        corrupt_content
    │   ├── UnsafeArchive         unsafe_archive
    │   └── UntrustedContent      untrusted_content
    ├── StorageError              storage                      500       6   disk or file system
    │   └── StorageFull           storage_full
    ├── MissingDependency         missing_dependency           500       7
    ├── ServiceError              service_error                500       8   user code
    │   ├── ResultError           result_error
    │   ├── WorkerLost            worker_lost                  502
    │   └── RolloutFailed         rollout_failed                             the old revision serves
    ├── Unavailable               unavailable                  503       9
    │   ├── Overloaded            overloaded                   429
    │   └── DeadlineExceeded      deadline_exceeded            504
    └── RemoteError               remote                       502      10   met at a server

Each class maps once to an HTTP status and an exit code; nothing else in the project does. The
message says what is wrong, `remedy` what to do next, `fields` which parts of the input.
The text of every error may reach a remote caller: it never holds a path of the server, a pid or a
traceback unless the person at the keyboard is the only reader (`UsageError` and store errors).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple


class FieldProblem(NamedTuple):
    """One part of an input and what is wrong with it.

    `field` is a path such as `flowers[2].sepal`; the empty string is the whole body.
    """

    field: str
    reason: str


class DosirakError(Exception):
    """The root of every error that dosirak raises on purpose."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    # Set by a client, of the request that a server answered with this error.
    request_id: str = ""

    def __init__(
        self, message: str, *, remedy: str = "", fields: Iterable[FieldProblem] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = tuple(fields)

    def __str__(self) -> str:
        request = f"[request {self.request_id}]" if self.request_id else ""
        return " ".join(part for part in (self.message, self.remedy, request) if part)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive Exception's own pickling and copying.
        state = {"request_id": self.request_id} if self.request_id else None
        return (_rebuild, (type(self), self.message, self.remedy, self.fields), state)


def _rebuild(
    kind: type[DosirakError], message: str, remedy: str, fields: tuple[FieldProblem, ...]
) -> DosirakError:
    return kind(message, remedy=remedy, fields=fields)


class UsageError(DosirakError):
    """The calling code or command line is wrong; nothing was done."""

    code = "usage"
    http_status = 400
    exit_code = 2


class InvalidName(UsageError):
    """A name, version or reference does not follow the grammar in `naming`."""

    code = "invalid_name"


class InvalidService(UsageError):
    """A service definition cannot be served as written."""

    code = "invalid_service"


class UnsupportedHint(InvalidService):
    """A parameter or return annotation has no wire form."""

    code = "unsupported_hint"


class InvalidConfiguration(UsageError):
    """A configuration file, option or environment variable cannot be used."""

    code = "invalid_configuration"


class RequestError(DosirakError):
    """A request on the wire is wrong: the remote caller's fault."""

    code = "bad_request"
    http_status = 400
    exit_code = 2


class InvalidInput(RequestError):
    """The body does not fit the api's parameters; `fields` names each problem."""

    code = "invalid_input"


class UnsupportedMediaType(RequestError):
    """The request's Content-Type or Content-Encoding has no codec here."""

    code = "unsupported_media_type"
    http_status = 415


class NotAcceptable(RequestError):
    """None of the media types in Accept can carry the result."""

    code = "not_acceptable"
    http_status = 406


class PayloadTooLarge(RequestError):
    """The body is larger than the service accepts."""

    code = "payload_too_large"
    http_status = 413


class Unauthorized(RequestError):
    """The request carries no valid credential."""

    code = "unauthorized"
    http_status = 401


class Forbidden(RequestError):
    """The credential does not allow this request."""

    code = "forbidden"
    http_status = 403


class MethodNotAllowed(RequestError):
    """The route exists, but not for this HTTP method."""

    code = "method_not_allowed"
    http_status = 405


class RequestTooSlow(RequestError):
    """The head or the body did not arrive in the time allowed."""

    code = "request_too_slow"
    http_status = 408


class HeadTooLarge(RequestError):
    """The request's target and headers together are over the server's limit."""

    code = "head_too_large"
    http_status = 431


class QuarantinedInput(RequestError):
    """The same input has ended workers; it is not run again for a while."""

    code = "quarantined_input"
    http_status = 422


class MisdirectedRequest(RequestError):
    """The Host header names a host that this server does not answer for."""

    code = "misdirected_request"
    http_status = 421


class NotFound(DosirakError):
    """What was named does not exist."""

    code = "not_found"
    http_status = 404
    exit_code = 3


class ModelNotFound(NotFound):
    """No such model in the store."""

    code = "model_not_found"


class BundleNotFound(NotFound):
    """No such bundle in the store."""

    code = "bundle_not_found"


class ApiNotFound(NotFound):
    """The service has no such api or route."""

    code = "api_not_found"


class TaskNotFound(NotFound):
    """No task has this id, or its result has expired."""

    code = "task_not_found"


class DeploymentNotFound(NotFound):
    """No deployment has this name."""

    code = "deployment_not_found"


class RevisionNotFound(NotFound):
    """The deployment has no revision of this number."""

    code = "revision_not_found"


class Conflict(DosirakError):
    """The request cannot be carried out in the present state."""

    code = "conflict"
    http_status = 409
    exit_code = 4


class AlreadyExists(Conflict):
    """The version exists with other content; versions are immutable."""

    code = "already_exists"


class ReloadRefused(Conflict):
    """A new revision cannot be served; the old one serves on."""

    code = "reload_refused"


class DeploymentConflict(Conflict):
    """The deployment is not in a state that allows this, or has changed since it was looked at."""

    code = "deployment_conflict"


class IntegrityError(DosirakError):
    """Stored or received bytes are not what they claim to be."""

    code = "integrity"
    exit_code = 5


class CorruptContent(IntegrityError):
    """A file's bytes do not match its digest or its format."""

    code = "corrupt_content"


class UnsafeArchive(IntegrityError):
    """An archive holds a member that must never be unpacked; nothing was."""

    code = "unsafe_archive"


class UntrustedContent(IntegrityError):
    """Loading would run code from an origin nobody has vouched for."""

    code = "untrusted_content"


class StorageError(DosirakError):
    """The disk or the file system refused an operation; the old state stands."""

    code = "storage"
    exit_code = 6


class StorageFull(StorageError):
    """The device or quota is full; the old state stands."""

    code = "storage_full"


class MissingDependency(DosirakError):
    """A library this operation needs is not installed."""

    code = "missing_dependency"
    exit_code = 7


class ServiceError(DosirakError):
    """User code raised an exception; the text of that exception stays in the log."""

    code = "service_error"
    exit_code = 8


class ResultError(ServiceError):
    """User code returned a value that its return annotation cannot hold."""

    code = "result_error"


class WorkerLost(ServiceError):
    """The worker process ended before it answered."""

    code = "worker_lost"
    http_status = 502


class RolloutFailed(ServiceError):
    """A revision could not be brought to serve; the one before it serves on."""

    code = "rollout_failed"


class Unavailable(DosirakError):
    """The service cannot answer now; trying again later may help."""

    code = "unavailable"
    http_status = 503
    exit_code = 9

    # Set by a server where the class does not say why it refused; one of a fixed few words, for
    # its metrics only.
    rejection: str = ""


class Overloaded(Unavailable):
    """More work is queued than the service accepts."""

    code = "overloaded"
    http_status = 429


class DeadlineExceeded(Unavailable):
    """The answer was not ready within the time allowed."""

    code = "deadline_exceeded"
    http_status = 504


class RemoteError(DosirakError):
    """A server answered in a way that no other class here stands for.

    An error whose code is known here is raised as that code's own class; `status` and `remote_code`
    say what came instead.
    """

    code = "remote"
    http_status = 502
    exit_code = 10

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        fields: Iterable[FieldProblem] = (),
        status: int = 0,
        remote_code: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy, fields=fields)
        self.status = status
        self.remote_code = remote_code
        self.request_id = request_id


def error_class(code: str) -> type[DosirakError] | None:
    """Return the class of this tree that has the code as its own, if one has."""
    return _BY_CODE.get(code)


def _tree(kind: type[DosirakError]) -> Iterator[type[DosirakError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


# Made while this module loads: what others derive later is not of the tree.
_BY_CODE = {kind.code: kind for kind in _tree(DosirakError)}
