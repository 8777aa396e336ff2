"""Items get their own results, batches are as large as they can be, and none is lost."""

import asyncio
import threading

import pytest

from dataseg_jax.commands.serve.batching import Batcher
from dataseg_jax.commands.serve.engine import batch_sizes

LONG = 60.0  # Seconds that no test waits.


def run(scenario, answer=lambda items: [2 * item for item in items], max_batch=4, max_wait=0.001):
    async def main():
        batcher = Batcher(answer, max_batch, max_wait)
        batcher.start()
        try:
            return await asyncio.wait_for(scenario(batcher), 20)
        finally:
            await batcher.close()

    return asyncio.run(main())


def test_each_item_gets_its_own_result_in_batches_of_bounded_size():
    async def scenario(batcher):
        async def later(item):
            await asyncio.sleep(item % 7 / 1000)
            return await batcher.submit(item)

        assert await asyncio.gather(*map(later, range(200))) == [2 * item for item in range(200)]
        return list(batcher.batches)

    sizes = run(scenario)
    assert sum(sizes) == 200 and max(sizes) <= 4 and len(sizes) < 200


def test_a_full_batch_does_not_wait():
    async def scenario(batcher):
        return await asyncio.gather(*map(batcher.submit, range(4))), list(batcher.batches)

    assert run(scenario, max_wait=LONG) == ([0, 2, 4, 6], [4])


def test_a_single_item_waits_no_longer_than_it_may():
    async def scenario(batcher):
        began = asyncio.get_running_loop().time()
        assert await batcher.submit(3) == 6
        return asyncio.get_running_loop().time() - began

    assert 0.1 <= run(scenario, max_wait=0.1) < 5


def test_what_comes_while_the_function_runs_shares_the_next_batch():
    free = threading.Event()

    def answer(items):
        free.wait(20)
        return items

    async def scenario(batcher):
        first = asyncio.create_task(batcher.submit("first"))
        while not batcher.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == 3
        free.set()
        assert await first == "first" and await asyncio.gather(*others) == [0, 1, 2]
        return list(batcher.batches)

    assert run(scenario, answer) == [1, 3]


def test_closing_answers_what_waits():
    async def main():
        batcher = Batcher(lambda items: items, 4, LONG)
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        await batcher.close()
        return await asyncio.gather(*tasks)

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [0, 1, 2]


def test_a_failure_is_that_of_its_batch_alone():
    def answer(items):
        if "bad" in items:
            raise RuntimeError("no")
        return items

    async def scenario(batcher):
        failed = await asyncio.gather(*map(batcher.submit, ("a", "bad")), return_exceptions=True)
        return [type(error) for error in failed], await batcher.submit("b")

    assert run(scenario, answer, max_batch=2, max_wait=0.05) == ([RuntimeError] * 2, "b")


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_sizes_of_batches(most, sizes):
    assert batch_sizes(most) == sizes
