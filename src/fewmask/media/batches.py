"""Groups of what comes one by one, for networks that take several at once."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from fewmask.errors import VideoError

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Groups of ``size``, the last may be smaller; what came before a VideoError is given before it is raised."""
    batch: list[Item] = []
    failure: VideoError | None = None
    iterator = iter(items)
    while failure is None:
        try:
            batch.append(next(iterator))
        except StopIteration:
            break
        except VideoError as error:
            failure = error
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
    if failure is not None:
        raise failure
