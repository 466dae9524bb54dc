"""The quarantine: who is blamed, for how long, and that its memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.calls import ApiDescription
from dosirak.serving.quarantine import Quarantine, input_of

POISON = b'{"value": 666}'


def test_an_input_is_refused_once_it_ended_enough_workers() -> None:
    quarantine = Quarantine(after=2, ttl_s=10.0)
    assert not quarantine.blame("a", POISON, crashes=1, now_s=0.0)
    assert not quarantine.refuses("a", POISON, now_s=1.0)
    assert quarantine.blame("a", POISON, crashes=2, now_s=2.0)
    assert quarantine.refuses("a", POISON, now_s=3.0)


def test_a_worker_that_it_ended_in_company_counts_when_it_ends_another_alone() -> None:
    quarantine = Quarantine(after=2, ttl_s=10.0)
    assert quarantine.blame("a", POISON, crashes=2, now_s=0.0)


def test_one_request_is_not_counted_twice() -> None:
    quarantine = Quarantine(after=3, ttl_s=10.0)
    quarantine.blame("a", POISON, crashes=1, now_s=0.0)
    assert not quarantine.blame("a", POISON, crashes=2, now_s=0.0)


def test_another_input_another_api_and_the_same_length_are_let_through() -> None:
    quarantine = Quarantine(after=1, ttl_s=10.0)
    quarantine.blame("a", POISON, crashes=1, now_s=0.0)
    assert not quarantine.refuses("a", b'{"value": 667}', now_s=0.0)
    assert not quarantine.refuses("b", POISON, now_s=0.0)
    assert not quarantine.refuses("a", b"", now_s=0.0)


def test_an_answer_clears_and_time_does_too() -> None:
    quarantine = Quarantine(after=2, ttl_s=10.0)
    quarantine.blame("a", POISON, crashes=1, now_s=0.0)
    quarantine.clear("a", POISON)
    assert not quarantine.held
    quarantine.blame("a", POISON, crashes=2, now_s=0.0)
    assert quarantine.refuses("a", POISON, now_s=9.9)
    assert not quarantine.refuses("a", POISON, now_s=10.0)
    assert not quarantine.held


def test_none_is_refused_when_it_is_off() -> None:
    quarantine = Quarantine(after=0, ttl_s=10.0)
    assert not quarantine.blame("a", POISON, crashes=9, now_s=0.0)
    assert not quarantine.held


@given(
    st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 2), st.floats(0.0, 5.0)), max_size=60)
)
def test_memory_is_bounded_and_the_lengths_agree(steps: list[tuple[bytes, int, float]]) -> None:
    quarantine = Quarantine(after=2, ttl_s=8.0, most_held=5)
    now_s = 0.0
    for body, what, later_s in steps:
        now_s += later_s
        if what == 0:
            quarantine.clear("a", body)
        elif what == 1:
            quarantine.refuses("a", body, now_s=now_s)
        else:
            quarantine.blame("a", body, crashes=1, now_s=now_s)
        assert len(quarantine.held) <= 5
        sizes = sorted(held.size_bytes for held in quarantine.held.values())
        assert sorted(quarantine._sizes.elements()) == sizes


def test_what_a_handler_may_see_beside_the_body_belongs_to_its_input() -> None:
    plain = ApiDescription("a", "/a", "api", ("POST",), True, None)
    seeing = ApiDescription("a", "/a", "api", ("POST",), True, None, sees_heads=True)
    quiet, loud = {"host": "h", "x-request-id": "1"}, {"host": "h", "x-die": "1"}
    assert input_of(plain, quiet, "") == input_of(plain, loud, "q=1")
    assert input_of(seeing, quiet, "") != input_of(seeing, loud, "")
    assert input_of(seeing, quiet, "") == input_of(seeing, {**quiet, "x-request-id": "2"}, "")


def test_what_callers_send_beside_the_body_is_never_logged(caplog) -> None:
    seeing = ApiDescription("a", "/a", "api", ("POST",), True, None, sees_heads=True)
    held = input_of(seeing, {"authorization": "Bearer a-secret", "cookie": "s=a-secret"}, "")
    Quarantine(after=1, ttl_s=10.0).note_end("a", held, POISON, crashes=1)
    assert "An input of a ends workers" in caplog.text
    assert "a-secret" not in caplog.text
