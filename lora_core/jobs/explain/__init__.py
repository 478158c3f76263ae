"""From an exit code and a log to a cause, its evidence and a fix, in plain words.

Covered: the errors of training with either engine, of files, packages and the network, crashes and kills,
by tables in the modules beside this one; this app's own errors, which explain themselves. What no row
fits is called unknown and shows its last traceback. Not covered: deciding that a process is dead.
"""

from lora_core.jobs.explain._explain import ROWS, explain
from lora_core.jobs.explain._form import EVIDENCE_LINES, Explanation, Row
from lora_core.jobs.explain._own import own_lines, told
from lora_core.jobs.explain._reading import last_traceback
from lora_core.jobs.explain._system import oom_kills
from lora_core.jobs.explain.table_codes import signal_name

__all__ = [
    "EVIDENCE_LINES",
    "ROWS",
    "Explanation",
    "Row",
    "explain",
    "last_traceback",
    "oom_kills",
    "own_lines",
    "signal_name",
    "told",
]
