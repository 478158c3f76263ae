"""Whether a finished LoRA is still what was recorded when it was published.

Covered: the file is there, its hash is the recorded one, it is sound. Not covered: the check at the end of
the training itself (publish.py).
"""

import hashlib

from lora_core.errors import LoraError
from lora_core.jobs.records import Job, Status
from lora_core.loras import check_sound
from lora_core.workspace import Workspace, read_json


def verified(workspace: Workspace, job: Job, status: Status) -> str | None:
    """None when the result of the finished training is verified, else why it is not. Reads the file twice."""
    if status.end is None or not status.end.result:
        return "No LoRA file was recorded."
    lora = workspace.absolute(status.end.result)
    try:
        noted = read_json(lora.with_suffix(".json"))
        if noted.get("job") != job.id:
            return "What is recorded beside it belongs to another run."
        with lora.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != noted.get("sha256"):
            return "It is not the file that the run made."
        check_sound(lora)
    except LoraError as error:
        return error.why
    except OSError as error:
        return f"It could not be read: {error.strerror or type(error).__name__}."
    return None
