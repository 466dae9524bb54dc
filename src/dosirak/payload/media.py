"""Media types: reading Content-Type, and choosing from Accept.

Only what HTTP says (RFC 9110 §8.3, §12.5.1): a media range has a type, a subtype and parameters; in
Accept the most specific range that matches an offer gives its quality, and the best offer wins, the
earlier one where qualities are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header

JSON = "application/json"
MSGPACK = "application/msgpack"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"
OCTETS = "application/octet-stream"
TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
NDJSON = "application/x-ndjson"

# Other names under which the same bytes travel.
_ALIASES = {
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    "text/json": JSON,
    "application/npy": NPY,
    "application/x-parquet": PARQUET,
    "application/parquet": PARQUET,
    "application/csv": CSV,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
}
_MAX_RANGES = 64


@dataclass(frozen=True, slots=True)
class MediaRange:
    """A media type or, in Accept, a range of them.

    Attributes:
        name: `type/subtype` in lower case, aliases resolved.
        parameters: names in lower case.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])

    def covers(self, media_type: str) -> bool:
        """Whether this range includes the media type."""
        kind, _, subtype = self.name.partition("/")
        if subtype == "*":
            return kind in ("*", media_type.partition("/")[0])
        return self.name == media_type

    @property
    def specificity(self) -> int:
        """0 for `*/*`, 1 for `type/*`, 2 for a media type."""
        kind, _, subtype = self.name.partition("/")
        return (kind != "*") + (subtype != "*")

    @property
    def quality(self) -> float:
        """The `q` parameter; what cannot be read counts as 0."""
        try:
            quality = float(self.parameters.get("q", "1"))
        except ValueError:
            return 0.0
        return quality if 0.0 <= quality <= 1.0 else 0.0


def parse_media_type(header: str) -> MediaRange:
    """Read one media type with its parameters; what cannot be read has an empty name."""
    try:
        name, options = parse_options_header(header)
    except UnicodeEncodeError:
        return MediaRange("")
    text = name.decode("latin-1").strip().lower()
    kind, slash, subtype = text.partition("/")
    if not (slash and kind and subtype):
        return MediaRange("")
    if subtype.endswith("+json"):
        text = JSON
    parameters = {key.decode("latin-1"): value.decode("latin-1") for key, value in options.items()}
    return MediaRange(_ALIASES.get(text, text), parameters)


def parse_accept(header: str) -> list[MediaRange]:
    """Read an Accept header; an empty one accepts everything."""
    parts = [part.strip() for part in header.split(",", _MAX_RANGES)[:_MAX_RANGES]]
    ranges = [parse_media_type(part if part != "*" else "*/*") for part in parts if part]
    return [accepted for accepted in ranges if accepted.name] or [MediaRange("*/*")]


def choose(accept: str, offers: Sequence[str]) -> str | None:
    """Return the offer that an Accept header prefers; None where it refuses them all."""
    ranges = sorted(parse_accept(accept), key=lambda accepted: -accepted.specificity)
    best: str | None = None
    best_quality = 0.0
    for offer in offers:
        quality = next((r.quality for r in ranges if r.covers(offer)), 0.0)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best
