"""Long actions as detached, supervised processes that survive the app.

Import from here. Covered: asking for a job, its true state, stop, pause, resume, the queue, its log. Not
covered: what the work is (see kinds.py) and training runs as such (see `lora_core.runs`).

    job = jobs.create(ws, "import", "My photos", {"source": "/home/me/photos"})
    jobs.status(ws, job.id).state         "queued", "starting", "running", …
    jobs.stop(ws, job.id)                 asks, waits the grace, then insists
    jobs.wait(ws, job.id).end             how it ended: cause, evidence, fix
"""

from lora_core.jobs.control import (
    create,
    log_tail,
    pause,
    remove,
    request,
    resume,
    states,
    status,
    stop,
    wait,
)
from lora_core.jobs.listing import get, jobs
from lora_core.jobs.queue import (
    Queued,
    QueueRules,
    go_on,
    hold,
    queue,
    queue_rules,
    release,
    reorder,
    set_queue_rules,
    start_at,
    stopped_by,
)
from lora_core.jobs.records import ACTIVE, ENDED, RESUMABLE, STATES, End, Job, Saved, State, Status
from lora_core.jobs.spawn import ensure_runner

__all__ = [
    "ACTIVE",
    "ENDED",
    "RESUMABLE",
    "STATES",
    "End",
    "Job",
    "QueueRules",
    "Queued",
    "Saved",
    "State",
    "Status",
    "create",
    "ensure_runner",
    "get",
    "go_on",
    "hold",
    "jobs",
    "log_tail",
    "pause",
    "queue",
    "queue_rules",
    "release",
    "remove",
    "reorder",
    "request",
    "resume",
    "set_queue_rules",
    "start_at",
    "states",
    "status",
    "stop",
    "stopped_by",
    "wait",
]
