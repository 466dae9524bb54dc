"""A task takes longer than anybody wants to wait on a connection: submit it, ask for it later."""

import dosirak


@dosirak.service
class Primes:
    @dosirak.task
    def count(self, below: int) -> dict[str, int]:
        """Count the primes below a number."""
        sieve = bytearray([1]) * below
        sieve[:2] = bytes(min(2, below))
        for number in range(2, int(below**0.5) + 1):
            if sieve[number]:
                sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
        return {"below": below, "primes": sum(sieve)}
