"""The native client of a classic service: the values that its adapters are made from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dosirak.client import SyncHTTPClient, test_client
from dosirak.compat.bentoml_classic import BentoService, api
from dosirak.compat.bentoml_classic.adapters import (
    AnnotatedImageInput,
    DataframeInput,
    FileInput,
    ImageInput,
    JsonInput,
    MultiFileInput,
    StringInput,
)
from dosirak.compat.bentoml_classic.front_end import spec_of
from dosirak.errors import RemoteError
from dosirak.serving.application import create_application

FRAME = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})


class Mixed(BentoService):
    @api(input=DataframeInput(), batch=True)
    def table(self, df):
        return [[list(df.columns), len(df)]] * len(df)

    @api(input=DataframeInput(dtype={"a": "float", "b": "str"}), batch=True)
    def typed(self, df):
        return df["a"]

    @api(input=JsonInput())
    def value(self, parsed):
        return parsed

    @api(input=StringInput())
    def text(self, text):
        return text.upper()

    @api(input=FileInput())
    def file(self, file):
        return len(file.read())

    @api(input=ImageInput())
    def image(self, array):
        return array.shape

    @api(input=MultiFileInput(["left", "right"]))
    def files(self, left, right):
        return [left.read().decode(), right.read().decode()]

    @api(input=AnnotatedImageInput())
    def annotated(self, image, annotations):
        return [image.shape, annotations]

    @api(input=JsonInput())
    def failing(self, parsed):
        raise RuntimeError("secret")


@pytest.fixture(scope="module")
def client() -> Iterator[SyncHTTPClient]:
    with test_client(create_application(spec_of(Mixed, target=""), {})) as opened:
        yield opened


def test_tables_go_as_they_are(client: SyncHTTPClient) -> None:
    assert client.table(FRAME) == client.table(df=FRAME) == [[["a", "b"], 2]] * 2
    assert client.table(FRAME.to_dict("records")) == [[["a", "b"], 2]] * 2
    assert client.typed(FRAME) == [{"a": 1.5}, {"a": 2.0}]


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, 2], "text", 1.5])
def test_any_json_value_goes(client: SyncHTTPClient, value: object) -> None:
    assert client.value(value) == value


def test_text_goes_as_it_is(client: SyncHTTPClient) -> None:
    assert client.text("quiet") == "QUIET"


def test_files_and_pictures_go(client: SyncHTTPClient, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (3, 2)).save(picture)
    assert client.file(b"123") == 3
    assert client.file(io.BytesIO(b"1234")) == 4
    assert client.image(picture) == [2, 3, 3]
    assert client.files(left=b"l", right=b"r") == ["l", "r"]
    assert client.annotated(image=picture) == [[2, 3, 3], None]
    (tmp_path / "about.json").write_text('{"is": "black"}')
    about = tmp_path / "about.json"
    assert client.annotated(image=picture, annotations=about) == [[2, 3, 3], {"is": "black"}]


def test_an_error_says_what_to_do_and_not_that_the_address_is_wrong(client: SyncHTTPClient) -> None:
    with pytest.raises(RemoteError, match="Wrong input format") as caught:
        client.table("no table")
    assert caught.value.status == 400
    assert "address" not in str(caught.value)
    with pytest.raises(RemoteError) as caught:
        client.failing({})
    assert caught.value.status == 500
    assert "log" in caught.value.remedy
