"""Two services behind one address: a reviewer that asks a scorer, which has its own workers."""

import asyncio

import numpy as np

import dosirak

GLAD = {"good", "great", "love"}


@dosirak.service
class Scorer:
    """Scores words; calls from everywhere are joined into batches."""

    largest_batch = 0

    @dosirak.api(batchable=True, max_batch_size=64)
    def score(self, words: list[str]) -> np.ndarray:
        self.largest_batch = max(self.largest_batch, len(words))
        return np.array([word.lower() in GLAD for word in words], dtype="float32")

    @dosirak.api
    def batched(self) -> bool:
        return self.largest_batch > 1


@dosirak.service
class Reviewer:
    """Scores a text word by word, all words at once."""

    scorer = dosirak.depends(Scorer, workers=1)

    @dosirak.api
    async def review(self, text: str) -> float:
        calls = [self.scorer.to_async.score([word]) for word in text.split()]
        return round(float(np.mean(await asyncio.gather(*calls))), 2)

    @dosirak.api
    def was_batched(self) -> bool:
        return self.scorer.batched()
