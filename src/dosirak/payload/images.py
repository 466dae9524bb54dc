"""PIL images: encoded files as whole bodies or parts, base64 of one inside JSON.

Only formats that Pillow decodes itself are read; none that starts another program. The pixels are
decoded at once, so that a broken image is the sender's error and not the handler's.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from dosirak.payload.annotations import MediaType
from dosirak.payload.files import read_bytes
from dosirak.payload.leaf import Leaf, Written
from dosirak.payload.media import OCTETS, MediaRange
from dosirak.payload.problems import Problem

MAX_PIXELS = 100_000_000
_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
_WRITTEN = ("image/png", "image/jpeg", "image/webp")


class ImageLeaf(Leaf):
    """One `PIL.Image.Image`."""

    kind = "image"
    raw_first = True
    compact = True
    is_file = True

    def __init__(self, media_type: MediaType | None) -> None:
        self._media_type = media_type
        name = media_type.name if media_type else "image/*"
        self._range = MediaRange(name)
        first = name if name in _FORMATS else _WRITTEN[0]
        self.media_types = (first, *(m for m in _WRITTEN if m != first and self._range.covers(m)))

    def read(self, value: Any) -> Any:
        """Make the image from base64 text or bytes."""
        return self._open(read_bytes(value))

    def write(self, value: Any) -> Any:
        """Return the encoded file; msgspec writes it as base64."""
        return self.dump(value, self.media_types[0]).body

    def schema(self) -> dict[str, Any]:
        """Return base64 text."""
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": self._range.name,
            "x-dosirak-type": self.kind,
        }

    def takes(self, media: MediaRange) -> bool:
        """Whether this is the declared kind of image, or bytes of no stated kind."""
        return self._range.covers(media.name) or media.name == OCTETS

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """Decode the image."""
        return self._open(bytes(body))

    def dump(self, value: Any, media_type: str) -> Written:
        """Encode the image."""
        from PIL import Image

        if not isinstance(value, Image.Image):
            raise Problem(f"expected an image, got {type(value).__name__}")
        image = value
        if media_type == "image/jpeg" and image.mode not in ("RGB", "L", "CMYK"):
            image = image.convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, format=_FORMATS.get(media_type, "PNG"))
        return Written(buffer.getvalue(), media_type)

    def _open(self, body: bytes) -> Any:
        from PIL import Image

        formats = [name for media, name in _FORMATS.items() if self._range.covers(media)]
        try:
            image = Image.open(io.BytesIO(body), formats=formats or list(_FORMATS.values()))
            if image.width * image.height > MAX_PIXELS:
                raise Problem(f"the image has more than {MAX_PIXELS} pixels")
            image.load()
        except Problem:
            raise
        except Exception as error:
            # Pillow's decoders raise whatever the bytes lead them to (SyntaxError, …).
            raise Problem("is not an image that can be decoded") from error
        return image


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of a `PIL.Image.Image` hint."""
    module = str(getattr(hint, "__module__", ""))
    if module.partition(".")[0] != "PIL" or getattr(hint, "__name__", "") != "Image":
        return None
    return ImageLeaf(next((a for a in annotations if isinstance(a, MediaType)), None))
