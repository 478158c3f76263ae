"""A workspace that was moved or copied while a run waited or rested: finding what the run is made from again.

Covered: folders and files that lay in the workspace and lie at the same place in it now, judged by the hashes
of the run. Not covered: what lay elsewhere and is gone; the engine names it.

sd-scripts' files hold whole paths, so a run that waits names the workspace as it was when it was queued.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lora_core.errors import LoraError
from lora_core.jobs import Job
from lora_core.runs.start import base_model_hash, folders_of, listing_hash
from lora_core.settings import (
    CONFIG_NAME,
    DATASET_NAME,
    RunConfig,
    catalogue,
    load_run,
    run_files,
    with_values,
)
from lora_core.workspace import Workspace, write_atomic

_FOLDERS: Final = frozenset({"datasets", "models", "jobs", "loras"})
_BASE: Final = "pretrained_model_name_or_path"


def follow(ws: Workspace, job: Job) -> str | None:
    """Have the frozen files of `job` name what they mean where it lies now; returns what to tell about it.

    Pictures and the base model are taken only where names and sizes are those that the run was queued with.

    Raises:
        DiskFullError, OSError: the files could not be written.
    """
    dataset = job.folder / DATASET_NAME
    try:
        run = load_run(job.folder / CONFIG_NAME, dataset if dataset.is_file() else None)
    except (LoraError, OSError):
        return None  # the engine says what is wrong with them
    places: list[Path] = []

    def here(path: Path) -> Path:
        if (now := _now(ws, path)) is not None:
            places.append(now)
        return now or path

    changed = _with_pictures(run, here)
    if changed != run and listing_hash(folders_of(changed)) != job.hashes.get("dataset"):
        changed = run
        places.clear()
    changed = _with_arguments(changed, here, lambda base: _is_the_base(ws, job, base))
    if not places:
        return None
    for name, text in run_files(changed).items():
        write_atomic(job.folder / name, text)
    listed = ", ".join(dict.fromkeys(ws.relative(place) for place in places))
    return f"The workspace was moved after this run was queued. Read from where it lies now: {listed}."


def _is_the_base(ws: Workspace, job: Job, path: Path) -> bool:
    now = _now(ws, path)
    return now is not None and base_model_hash(now) == job.hashes.get("base_model")


def _now(ws: Workspace, path: Path) -> Path | None:
    """Where in this workspace `path` lies; None where it is still there, or is not here either."""
    if not path.is_absolute() or path.exists():
        return None
    for at, part in enumerate(path.parts):
        if part in _FOLDERS and (place := ws.root.joinpath(*path.parts[at:])).exists():
            return place
    return None


def _with_pictures(run: RunConfig, here: Callable[[Path], Path]) -> RunConfig:
    datasets = []
    for dataset in run.dataset.datasets:
        subsets = []
        for subset in dataset.subsets:
            places: dict[str, Any] = {"image_dir": here(subset.image_dir)}
            if subset.conditioning_data_dir is not None:
                places["conditioning_data_dir"] = here(subset.conditioning_data_dir)
            subsets.append(subset.model_copy(update=places))
        datasets.append(dataset.model_copy(update={"subsets": tuple(subsets)}))
    file = run.dataset.model_copy(update={"datasets": tuple(datasets)})
    return run.model_copy(update={"dataset": file})


def _with_arguments(
    run: RunConfig, here: Callable[[Path], Path], is_the_base: Callable[[Path], bool]
) -> RunConfig:
    """`run` with its base model, earlier LoRA files and states at their present places."""
    for s in catalogue():
        if s.kind not in {"path", "paths"} or s.place != "argument":
            continue
        value = getattr(getattr(run, s.concern), s.key)
        if isinstance(value, tuple):
            now: Any = tuple(here(path) for path in value)
        elif isinstance(value, Path) and (s.key != _BASE or is_the_base(value)):
            now = here(value)
        else:
            continue
        if now != value:
            run = with_values(run, {s.key: now})
    return run
