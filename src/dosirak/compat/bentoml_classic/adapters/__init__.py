"""The classic adapters: what an api accepts and how it answers."""

from dosirak.compat.bentoml_classic.adapters.annotated_image_input import AnnotatedImageInput
from dosirak.compat.bentoml_classic.adapters.dataframe_input import DataframeInput
from dosirak.compat.bentoml_classic.adapters.dataframe_output import DataframeOutput
from dosirak.compat.bentoml_classic.adapters.default_output import DefaultOutput
from dosirak.compat.bentoml_classic.adapters.file_input import FileInput
from dosirak.compat.bentoml_classic.adapters.image_input import ImageInput
from dosirak.compat.bentoml_classic.adapters.input_adapter import BaseInputAdapter
from dosirak.compat.bentoml_classic.adapters.json_input import JsonInput
from dosirak.compat.bentoml_classic.adapters.json_output import JsonOutput
from dosirak.compat.bentoml_classic.adapters.multi_file_input import MultiFileInput
from dosirak.compat.bentoml_classic.adapters.multi_image_input import MultiImageInput
from dosirak.compat.bentoml_classic.adapters.output_adapter import BaseOutputAdapter
from dosirak.compat.bentoml_classic.adapters.string_input import StringInput
from dosirak.compat.bentoml_classic.adapters.tf_tensor_input import TfTensorInput
from dosirak.compat.bentoml_classic.adapters.tf_tensor_output import TfTensorOutput

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
