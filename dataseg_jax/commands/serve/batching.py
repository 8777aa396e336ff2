"""Requests that come at about the same time share a batch."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


@dataclasses.dataclass(frozen=True)
class _Waiting:
    item: Any
    arrived: float
    answer: asyncio.Future


class Batcher:
    """A queue in front of a function that answers several items at once.

    A batch starts when it is full, or when its first item has waited long enough; what comes while the function runs
    waits for the next one. The function runs in one thread. The queue has no bound of its own: the application admits
    only so many requests.
    """

    def __init__(self, answer: Callable[[Sequence], Sequence], max_batch: int, max_wait: float):
        """`answer` returns as many results as it gets items, at most `max_batch`; `max_wait` is in seconds."""
        self._answer, self._max_batch, self._max_wait = answer, max_batch, max_wait
        self._waiting: deque[_Waiting] = deque()
        self._arrived, self._closing = asyncio.Event(), False
        self._thread = ThreadPoolExecutor(1, "network")
        self._task: asyncio.Task | None = None
        self.batches: deque[int] = deque(maxlen=1000)  # Sizes of the last ones.

    def start(self) -> None:
        """Begins to answer; in the event loop that it then belongs to."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def submit(self, item) -> Any:
        """The result for one item. Raises whatever the function raised for its batch."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(item, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def close(self) -> None:
        """Answers what waits, and ends."""
        self._closing = True
        self._arrived.set()
        if self._task:
            await self._task
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting and not self._closing:
                await self._next(None)
            if not self._waiting:
                return
            deadline = self._waiting[0].arrived + self._max_wait
            while len(self._waiting) < self._max_batch and not self._closing and loop.time() < deadline:
                await self._next(deadline)
            batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            self.batches.append(len(batch))
            await self._finish(batch)

    async def _next(self, deadline: float | None) -> None:
        """Waits until something arrives, or until the deadline in the loop's time."""
        self._arrived.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._arrived.wait()
        except TimeoutError:
            pass

    async def _finish(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            items = [waiting.item for waiting in batch]
            results = await loop.run_in_executor(self._thread, self._answer, items)
        except Exception as error:  # noqa: BLE001 - Each request gets it; the server goes on.
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.answer.done():  # Its request may have been cancelled.
                waiting.answer.set_result(result)
