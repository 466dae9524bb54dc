"""The classic adapters."""

from dosirak.compat.bentoml_classic.adapters import (
    AnnotatedImageInput,
    BaseInputAdapter,
    BaseOutputAdapter,
    DataframeInput,
    DataframeOutput,
    DefaultOutput,
    FileInput,
    ImageInput,
    JsonInput,
    JsonOutput,
    MultiFileInput,
    MultiImageInput,
    StringInput,
    TfTensorInput,
    TfTensorOutput,
)

__all__ = [
    "AnnotatedImageInput",
    "BaseInputAdapter",
    "BaseOutputAdapter",
    "DataframeInput",
    "DataframeOutput",
    "DefaultOutput",
    "FileInput",
    "ImageInput",
    "JsonInput",
    "JsonOutput",
    "MultiFileInput",
    "MultiImageInput",
    "StringInput",
    "TfTensorInput",
    "TfTensorOutput",
]
