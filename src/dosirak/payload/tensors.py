"""torch tensors: they travel exactly as numpy arrays do, and live on the CPU.

bfloat16, which neither numpy nor npy knows, travels as float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.payload.arrays import ArrayForm, declared_dtype, declared_shape, pack_array, to_lists
from dosirak.payload.leaf import Leaf, Written
from dosirak.payload.media import NPY, MediaRange
from dosirak.payload.npy import dump_npy, load_npy
from dosirak.payload.problems import Problem


class TensorLeaf(Leaf):
    """One `torch.Tensor` as its hint describes it."""

    kind = "tensor"
    media_types = (NPY,)
    raw_first = False
    compact = True
    is_file = False

    def __init__(self, form: ArrayForm) -> None:
        self.form = form

    def read(self, value: Any) -> Any:
        """Make the tensor from nested lists or the msgpack map."""
        return self._tensor(self.form.from_wire(value))

    def write(self, value: Any) -> Any:
        """Return nested lists."""
        return to_lists(self._array(value))

    def pack(self, value: Any) -> Any:
        """Return the map of dtype, shape and bytes."""
        return pack_array(self._array(value))

    def schema(self) -> dict[str, Any]:
        """Return nested arrays of numbers."""
        return self.form.schema(self.kind)

    def takes(self, media: MediaRange) -> bool:
        """Whether this is npy."""
        return media.name == NPY

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """Copy the body into a tensor."""
        return self._tensor(self.form.conform(load_npy(body)))

    def dump(self, value: Any, media_type: str) -> Written:
        """Write npy."""
        return Written(dump_npy(self._array(value)), media_type)

    def _tensor(self, array: Any) -> Any:
        import torch

        if array.dtype.kind not in "biufc":
            raise Problem(f"a tensor cannot hold {array.dtype}")
        # A tensor must own memory that may be written; the request's may not.
        tensor = torch.from_numpy(array.copy())
        return tensor.bfloat16() if self.form.dtype == "bfloat16" else tensor

    def _array(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            value = torch.as_tensor(value)
        tensor = value.detach().cpu()
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        return self.form.conform(tensor.resolve_conj().resolve_neg().numpy())


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of a `torch.Tensor` hint."""
    module = str(getattr(hint, "__module__", "")).partition(".")[0]
    if module != "torch" or getattr(hint, "__name__", "") != "Tensor":
        return None
    return TensorLeaf(ArrayForm(declared_shape(annotations), declared_dtype(annotations)))
