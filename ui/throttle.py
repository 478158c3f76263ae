"""How often somebody may try a token: some tries at once, then slowly.

Covered: a bucket of tries for each address and one for all addresses together, in bounded memory. Nothing
here waits: whoever tries too often is told how long to wait, and the try is not looked at.

Not covered: what an address is (`ui/origins.py`).
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ADDRESS_TRIES: Final = 5
ADDRESS_REFILL_S: Final = 20.0
"""Five wrong tries at once, then one every 20 s: a person notices little, a guesser gets 4,320 a day."""
ALL_TRIES: Final = 40
ALL_REFILL_S: Final = 2.0
"""For all addresses of a group together. One address uses a tenth of it, so it cannot shut out the others."""
MAX_ADDRESSES: Final = 4096
"""Buckets kept; about 1 MB. Beyond that the one used longest ago goes, and the bucket for all holds."""


@dataclass(slots=True)
class _Bucket:
    tries: float
    seen_s: float


class Throttle:
    """Counts wrong tries. `group` parts those who must not be able to shut each other out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._groups: dict[str, _Bucket] = {}

    def wait_s(self, group: str, address: str) -> float:
        """Seconds until this address may try again; 0 when it may try now."""
        own = self._addresses.get((group, address))
        everyone = self._groups.get(group)
        return max(
            self._missing_s(own, ADDRESS_TRIES, ADDRESS_REFILL_S),
            self._missing_s(everyone, ALL_TRIES, ALL_REFILL_S),
        )

    def failed(self, group: str, address: str) -> None:
        """Take one try from the address and from its group."""
        own = self._addresses.pop((group, address), None) or _Bucket(ADDRESS_TRIES, self._clock())
        self._addresses[group, address] = own  # the newest last
        everyone = self._groups.setdefault(group, _Bucket(ALL_TRIES, self._clock()))
        self._take(own, ADDRESS_TRIES, ADDRESS_REFILL_S)
        self._take(everyone, ALL_TRIES, ALL_REFILL_S)
        while len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)

    def _take(self, bucket: _Bucket, most: int, refill_s: float) -> None:
        bucket.tries = max(self._tries(bucket, most, refill_s) - 1, 0.0)
        bucket.seen_s = self._clock()

    def _tries(self, bucket: _Bucket, most: int, refill_s: float) -> float:
        return min(most, bucket.tries + (self._clock() - bucket.seen_s) / refill_s)

    def _missing_s(self, bucket: _Bucket | None, most: int, refill_s: float) -> float:
        if bucket is None:
            return 0.0
        return max(0.0, (1 - self._tries(bucket, most, refill_s)) * refill_s)
