"""The work of each kind of job: from a `Task` to the package that does it.

Covered: handing over parameters, and what must hold before the job may be called finished. Not
covered: the work, and what runs keep of it (see `lora_core.runs.work`). Its packages are imported inside
the functions, in the job's own process.
"""

from pathlib import Path

from lora_core.jobs import space
from lora_core.jobs.kinds import Task
from lora_core.jobs.look import engine_lock
from lora_core.jobs.publish import check_made, publish
from lora_core.jobs.states import to_go_on_from


def train(task: Task) -> Path:
    """Train, check the LoRA file, and put it among the finished ones; returns that file.

    Raises:
        Ended: it was asked to, or the disk is full: then it is a pause.
    """
    from lora_core import engines

    job = task.job
    started_ns = engine_lock(job.folder).with_suffix(".json").stat().st_mtime_ns
    engine = engines.get(job.engine or "diffusers")
    with space.pausing_when_full(job.folder):
        state = to_go_on_from(job.folder, task.resume_from, task.reporter.note)
        lora = engine.train(job.folder, task.reporter, resume=state)
        task.reporter.phase("Checking the LoRA file")
        check_made(lora, not_before_ns=started_ns)
        return publish(task.workspace, job, lora)


def import_dataset(task: Task) -> Path | None:
    """Import a folder or a zip of images; returns the dataset's folder."""
    from lora_core.datasets import importing

    params = dict(task.job.params)
    params["source"] = str(task.workspace.absolute(str(params["source"])))
    return importing.run_import(task.workspace, params, task.reporter)


def probe_machine(task: Task) -> None:
    """Look at what only the training packages can tell, such as torch's own devices."""
    from lora_core import machine

    machine.run_probe(task.workspace, dict(task.job.params), task.reporter)


def notify_test(task: Task) -> None:
    """Send the test message to each address."""
    from lora_core.jobs import notify

    task.reporter.phase("Sending the test message")
    for one in notify.send_test(task.workspace):
        task.reporter.note(f"{one['service']} {one['fingerprint']} took the test message.")
