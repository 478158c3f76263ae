"""A project: one LoRA being made, kept in `projects/NAME.toml` and saved whenever something changes.

Import from here. Covered: the file, names, which settings were changed, taking changes back, the run that
the project stands for, what was done last. Not covered: which project is open (the app's affair) and
whether its run can start (see `lora_core.planning`).

A project has one dataset. Where that has its images in several folders, each may have repeats of its own;
a run whose folders differ in more than that is started from its own files.
"""

from lora_core.history import Step
from lora_core.projects.files import (
    can_redo,
    can_undo,
    create,
    load,
    load_or_new,
    names,
    path_of,
    redo,
    rename,
    save,
    undo,
)
from lora_core.projects.record import (
    IMAGES,
    MODEL,
    REPEATS,
    TRIGGER,
    Chosen,
    Project,
    changed_from_preset,
    done,
    draft_of,
    folder_key,
    of_draft,
    others_of,
    run_of,
    same_value,
    values_of,
    with_preset,
    with_repeats,
    with_text,
    with_value,
    with_values,
    without_repeats,
)

__all__ = [
    "IMAGES",
    "MODEL",
    "REPEATS",
    "TRIGGER",
    "Chosen",
    "Project",
    "Step",
    "can_redo",
    "can_undo",
    "changed_from_preset",
    "create",
    "done",
    "draft_of",
    "folder_key",
    "load",
    "load_or_new",
    "names",
    "of_draft",
    "others_of",
    "path_of",
    "redo",
    "rename",
    "run_of",
    "same_value",
    "save",
    "undo",
    "values_of",
    "with_preset",
    "with_repeats",
    "with_text",
    "with_value",
    "with_values",
    "without_repeats",
]
