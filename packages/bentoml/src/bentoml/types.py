"""Tasks, results, requests and files."""

from dosirak.compat.bentoml_classic.types import (
    AwsLambdaEvent,
    FileLike,
    HTTPHeaders,
    HTTPRequest,
    HTTPResponse,
    InferenceError,
    InferenceResult,
    InferenceTask,
    JsonSerializable,
)

__all__ = [
    "AwsLambdaEvent",
    "FileLike",
    "HTTPHeaders",
    "HTTPRequest",
    "HTTPResponse",
    "InferenceError",
    "InferenceResult",
    "InferenceTask",
    "JsonSerializable",
]
