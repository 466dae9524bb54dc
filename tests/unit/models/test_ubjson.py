from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosirak.errors import CorruptContent
from dosirak.models.ubjson import check_ubjson


def text(value: str) -> bytes:
    data = value.encode()
    return b"L" + struct.pack(">q", len(data)) + data


def encoded(value: object) -> bytes:
    """A small writer, the way XGBoost writes."""
    match value:
        case None:
            return b"Z"
        case bool():
            return b"T" if value else b"F"
        case int():
            return b"L" + struct.pack(">q", value)
        case float():
            return b"D" + struct.pack(">d", value)
        case str():
            return b"S" + text(value)
        case tuple():  # a typed array
            return b"[$d#L" + struct.pack(">q", len(value)) + struct.pack(f">{len(value)}f", *value)
        case list():
            return b"[" + b"".join(map(encoded, value)) + b"]"
        case dict():
            return b"{" + b"".join(text(k) + encoded(v) for k, v in value.items()) + b"}"
    raise AssertionError(value)


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=9)
arrays = st.lists(st.floats(width=32, allow_nan=False), max_size=9).map(tuple)
values = st.recursive(
    leaves | arrays,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=4)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@same_folder
@given(value=objects)
def test_whatever_is_well_formed_passes(value: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "value.ubj"
    path.write_bytes(encoded(value))
    check_ubjson(path)


@same_folder
@given(value=objects, data=st.data())
def test_whatever_is_cut_short_is_refused(
    value: dict[str, object], data: st.DataObject, tmp_path: Path
) -> None:
    whole = encoded(value)
    path = tmp_path / "value.ubj"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CorruptContent):
        check_ubjson(path)


@same_folder
@given(junk=st.binary(max_size=200))
def test_arbitrary_bytes_give_an_answer_and_never_another_error(
    junk: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "value.ubj"
    path.write_bytes(b"{" + junk)
    try:
        check_ubjson(path)
    except CorruptContent as error:
        assert error.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"Z" + b"Z",  # something after the end
        b"[$d#L" + struct.pack(">q", 2**62),  # longer than the file
        b"[#L" + struct.pack(">q", 2**62),
        b"[#L" + struct.pack(">q", -1),
        b"[$Z#L" + struct.pack(">q", -5),
        b"[$dZ",  # a type without a length
        b"S" + b"L" + struct.pack(">q", -1),
        b"Sd" + b"\0" * 4,  # a length that is no integer
        b"[" * 5000,
        b"x",
    ],
)
def test_hostile_lengths_and_nesting_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "value.ubj"
    path.write_bytes(data)
    with pytest.raises(CorruptContent):
        check_ubjson(path)
