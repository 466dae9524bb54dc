"""An event loop for async handlers where nobody runs one: in a thread of its own, when needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Protocol


class LoopHome(Protocol):
    """Where the async handlers of a service run."""

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop."""
        ...

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        ...


class CurrentLoop:
    """The loop that runs where this is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop."""
        return self._loop

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return threading.get_ident() == self._thread


class BackgroundLoop:
    """An event loop in a thread of its own, started by the first coroutine."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop()).result()

    def iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        """Take an async generator's items one by one."""
        end = object()
        try:
            while (item := self.run(_next(items, end))) is not end:
                yield item
        finally:
            self.run(_finish(items))

    def close(self) -> None:
        """End the thread, if there is one."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return self._thread is threading.current_thread()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; start it if it does not run."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="dosirak-service", daemon=True
                )
                self._thread.start()
            return self._loop


async def _next(items: AsyncIterator[Any], end: object) -> Any:
    return await anext(items, end)


async def _finish(items: Any) -> None:
    await items.aclose()
