"""What the runner tells of its looks: a job runs, a job is over, the computer is at work or is not.

Covered: the three calls. Not covered: what is made of them; here nothing is.
"""

from lora_core.jobs.records import Job, Status
from lora_core.workspace import Workspace


def looked(workspace: Workspace, job: Job, status: Status) -> None:
    """A job is at work; called about once a second for each."""
    del workspace, job, status


def ended(workspace: Workspace, job: Job, status: Status) -> None:
    """A job is over and its process is gone; each runner tells it once for each end."""
    del workspace, job, status


def busy(workspace: Workspace, any_running: bool) -> None:
    """Whether anything is at work; called at each look."""
    del workspace, any_running
