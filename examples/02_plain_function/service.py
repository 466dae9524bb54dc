"""The simplest service: a function. No class, no model."""

from typing import Literal

import dosirak


@dosirak.service
def shout(text: str, times: int = 1, mood: Literal["glad", "angry"] = "glad") -> str:
    """Say it louder."""
    mark = "!" if mood == "angry" else " :-)"
    return " ".join([text.upper()] * times) + mark
