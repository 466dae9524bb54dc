"""The bounds of what a person may set about serving, checked before anything is started."""

from __future__ import annotations

from dosirak.errors import InvalidConfiguration
from dosirak.serving.http.options import HttpOptions


def check_ranges(
    workers: int | None,
    max_outstanding: int,
    options: HttpOptions,
    worker_threads: int | None = None,
    *,
    fronts: int = 1,
) -> None:
    """Check what counts bytes, requests or processes.

    Raises:
        InvalidConfiguration: one is out of range (the caller's fault).
    """
    if workers is not None and not 1 <= workers <= 1024:
        raise InvalidConfiguration(
            f"{workers} workers cannot be started.", remedy="Use 1 to 1024 workers."
        )
    if worker_threads is not None and not 1 <= worker_threads <= 1024:
        raise InvalidConfiguration(
            f"A worker's libraries cannot use {worker_threads} threads.",
            remedy="Use 1 to 1024 threads.",
        )
    if not 1 <= fronts <= 64:
        raise InvalidConfiguration(
            f"{fronts} fronts cannot be started.", remedy="Use 1 to 64 fronts."
        )
    if not 1 <= options.max_body_bytes <= 2**32 - 1:
        raise InvalidConfiguration(
            "max_body_bytes is out of range.", remedy="Use 1 to 4294967295 bytes."
        )
    counts = {
        "max_outstanding": max_outstanding,
        "max_head_bytes": options.max_head_bytes,
        "max_headers": options.max_headers,
        "body_bytes_per_s": options.body_bytes_per_s,
    }
    for name, count in counts.items():
        if count < 1:
            raise InvalidConfiguration(f"{name} is out of range.", remedy="Use 1 or more.")


def check_times(options: HttpOptions, may_be_none_s: tuple[float, ...]) -> None:
    """Check what counts seconds; `may_be_none_s` may be zero.

    Raises:
        InvalidConfiguration: one is out of range (the caller's fault).
    """
    times_s = (options.timeout_s, options.head_timeout_s, options.send_timeout_s)
    # No time at all for these would refuse every request.
    positive = all(0 < time_s < 1e9 for time_s in times_s)
    if not positive or not all(0 <= s < 1e9 for s in (options.body_grace_s, *may_be_none_s)):
        raise InvalidConfiguration("A time is out of range.", remedy="Use a positive number.")
