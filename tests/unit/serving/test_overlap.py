"""Reading and writing beside a call: only where it saves more than it costs."""

from __future__ import annotations

from dosirak.serving.overlap import Overlap


def learned(decode_s: float, call_s: float, encode_s: float) -> Overlap:
    overlap = Overlap()
    for _ in range(50):
        overlap.note(decode_s, call_s, encode_s)
    return overlap


def test_small_requests_and_short_calls_are_left_where_they_are():
    assert not Overlap().pays
    assert not learned(0.000_02, 0.02, 0.000_02).pays
    assert not learned(0.005, 0.000_1, 0.005).pays
    assert learned(0.000_02, 0.02, 0.000_02).ahead_s == 0.0


def test_large_ones_are_read_as_long_before_as_reading_takes():
    overlap = learned(0.004, 0.02, 0.0)
    assert overlap.pays
    assert abs(overlap.ahead_s - 0.004) < 0.000_1


def test_a_call_that_holds_the_lock_is_left_alone_for_a_while():
    overlap = learned(0.004, 0.02, 0.002)
    overlap.note_ahead(took_s=0.005, worked_s=0.004)
    assert overlap.pays
    overlap.note_ahead(took_s=0.024, worked_s=0.004)
    assert not overlap.pays
    assert overlap.ahead_s == 0.0
    rested = 0
    while not overlap.pays:
        overlap.note(0.004, 0.02, 0.002)
        rested += 1
    assert rested == 64
