"""A generator is a stream: each item travels as soon as it is yielded."""

from collections.abc import AsyncIterator, Iterator

import dosirak


@dosirak.service
class Story:
    @dosirak.api
    def tell(self, words: int = 3) -> Iterator[str]:
        """Tell a story word by word."""
        for number in range(1, words + 1):
            yield f"word-{number}"

    @dosirak.api
    async def count(self, to: int) -> AsyncIterator[dict[str, int]]:
        """Count; async generators and structured items work the same."""
        for number in range(1, to + 1):
            yield {"number": number, "square": number * number}
