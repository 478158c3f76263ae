"""Work done ahead in threads: the results of batches, in order, while later batches are under way.

Not covered: work of which one result decides the next; processes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_BATCHES_AHEAD: Final = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], batches: Iterable[Sequence[Item]]
) -> Iterator[list[tuple[Item, Result]]]:
    """Each batch with its results; while the caller uses one, those after it are worked on."""
    ahead: deque[list[tuple[Item, Future[Result]]]] = deque()
    try:
        for batch in batches:
            ahead.append([(item, pool.submit(work, item)) for item in batch])
            if len(ahead) > _BATCHES_AHEAD:
                yield [(item, result.result()) for item, result in ahead.popleft()]
        while ahead:
            yield [(item, result.result()) for item, result in ahead.popleft()]
    finally:
        for _, future in (each for batch in ahead for each in batch):
            future.cancel()  # the caller left early
