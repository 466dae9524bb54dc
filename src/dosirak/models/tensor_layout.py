"""How a dictionary of tensors lies in memory, and so how to write it without a second copy.

Names that are one tensor are written once. What lies dense in this machine's memory is written from
there; what does not (another device, a view, a transposed tensor) is copied a little at a time.
Everything here asks tensors about themselves and imports no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosirak.errors import UsageError
from dosirak.models.library import lineage

_SHARD_BYTES = 64 * 1024 * 1024


def check_tensors(tensors: Mapping[str, Any]) -> None:
    """Refuse what safetensors cannot hold.

    Raises:
        UsageError: a value is no tensor, or a sparse, quantized or empty (meta) one.
    """
    for name, tensor in tensors.items():
        if "torch.Tensor" not in lineage(tensor) or str(tensor.layout) != "torch.strided":
            raise UsageError(
                f"{name!r} is no dense tensor, which safetensors cannot hold.",
                remedy="Use dense tensors, or torch.jit.script(model).",
            )
        if tensor.is_meta or tensor.is_quantized:
            raise UsageError(
                f"{name!r} is a {'meta' if tensor.is_meta else 'quantized'} tensor, which"
                " safetensors cannot hold.",
                remedy="Give it values of an ordinary type, or use torch.jit.script(model).",
            )


def storage_plan(tensors: Mapping[str, Any]) -> tuple[dict[str, str], list[str], list[str]]:
    """Decide which names are one tensor, which can be written in place, and which need a copy."""
    first: dict[object, str] = {}
    aliases: dict[str, str] = {}
    in_place: list[str] = []
    to_copy: list[str] = []
    storages: set[object] = set()
    for name, tensor in tensors.items():
        view = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and first.setdefault(view, name) != name:
            aliases[name] = first[view]
            continue
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        (in_place if _lies_ready(tensor) and storage not in storages else to_copy).append(name)
        if tensor.numel():
            storages.add(storage)
    return aliases, in_place, to_copy


def _lies_ready(tensor: Any) -> bool:
    dense = tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()
    return dense and tensor.device.type == "cpu"


def shards(tensors: Mapping[str, Any], names: list[str]) -> list[list[str]]:
    """Group tensors that need a copy, so that few are copied at a time."""
    groups: list[list[str]] = []
    room = 0
    for name in names:
        size = tensors[name].numel() * tensors[name].element_size()
        if not groups or size > room:
            groups.append([])
            room = _SHARD_BYTES
        groups[-1].append(name)
        room -= size
    return groups


def ready_to_write(tensor: Any, *, copy: bool) -> Any:
    """Return the tensor itself, or a plain copy in this machine's memory."""
    plain = tensor.detach()
    if not copy:
        return plain
    whole = plain.resolve_conj().resolve_neg().to("cpu").contiguous()
    return whole.clone() if whole.data_ptr() == plain.data_ptr() else whole
