"""Where the locks of a workspace are, and the words about it.

Covered: the folder of the locks, the sentence that Setup shows where they are not in the workspace.
Not covered: how that is found out (see `lora_core.volumes`) and taking locks (liveness.py).
"""

from pathlib import Path

from lora_core import volumes
from lora_core.workspace import Workspace


def locks(workspace: Workspace) -> Path:
    """The folder in which the workspace's locks lie: the workspace, or a folder on this computer's own disk.

    All processes of a user on one computer get the same, through whichever mount they see the
    workspace. `liveness.Lock` goes there by itself, for each lock by its usual name.
    """
    return volumes.lock_file(workspace.root / "any.lock").parent


def said(workspace: Workspace) -> str:
    """What Setup says about the disk of the workspace, in plain sentences; empty where all is usual."""
    volume = volumes.of(workspace.root)
    if volume.locks and volume.wal:
        return ""
    if volume.kind == "synced":
        where = f"The workspace is in a folder that {volume.service} synchronises."
    elif volume.kind == "network":
        where = f"The workspace is on a network volume ({volume.type} at {volume.mount})."
    else:
        where = f"The disk of the workspace ({volume.type} at {volume.mount}) has no reliable locks."
    kept = "the locks" if volume.wal else "the indexes" if volume.locks else "the locks and the indexes"
    return (
        f"{where} There, {kept} cannot be relied on, so they are kept on this computer's own disk, in "
        f"{volumes.local_state()}. Everything else stays in the workspace. Jobs of other computers are shown "
        "with the time of their last sign, and are left alone."
    )
