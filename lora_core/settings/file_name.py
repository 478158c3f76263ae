"""Names of LoRA files: which of them no file can have on some system.

Covered: the name itself, with the nearest that works. Not covered: whether a file of that name is there.
"""

from lora_core.errors import Problem
from lora_core.workspace import safe_name


def name_problem(name: str) -> Problem | None:
    """Why no LoRA file can be called `name`, with another name; None where one can."""
    if (safe := safe_name(name)) == name:
        return None
    return Problem(
        setting="output_name",
        what=f"The name “{name}” cannot be used for a file on every system.",
        fix=f"Call it {safe}, for example.",
        mend={"output_name": safe},
        mend_label=f"Call it {safe}",
    )
