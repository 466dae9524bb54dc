"""What goes wrong again and again is said once in a while."""

from __future__ import annotations

import logging

from dosirak.errors import Unavailable
from dosirak.serving.troubles import Troubles


def test_the_same_is_said_again_only_after_a_while(caplog):
    now = [0.0]
    troubles = Troubles(logging.getLogger("test"), silent_s=10, clock=lambda: now[0])
    for at_s in (0.0, 5.0, 9.9, 10.0, 11.0):
        now[0] = at_s
        troubles.say("It is full", Unavailable("No room."))
    troubles.say("Another", OSError("gone"), "Look at it.")
    assert [line.getMessage() for line in caplog.records] == [
        "It is full: No room.",
        "It is full: No room.",
        "Another: gone. Look at it.",
    ]


def test_only_what_is_unexpected_is_shown_with_where_it_came_from(caplog):
    troubles = Troubles(logging.getLogger("test"))
    troubles.say("A", OSError("gone"))
    troubles.say("B", Unavailable("No room."))
    troubles.say("C", OSError("gone"), "Look at it.")
    assert [line.exc_info is not None for line in caplog.records] == [True, False, False]
