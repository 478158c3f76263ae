"""How long a promise in seconds may take on this machine as busy as it is now.

Covered: processes that wait for a core. Not covered: a slow disk.
"""

import os


def within_s(seconds: float) -> float:
    """`seconds` where each process that wants a core has one; as many times that as wait for each core."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return seconds * max(1.0, load / (os.cpu_count() or 1))
