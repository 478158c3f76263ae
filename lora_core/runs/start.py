"""From settings to a run: freeze what the engine gets into a job's folder and queue it.

Covered: the last check, the frozen files, the hashes of what the run is made from. Not covered:
the job's life (see `lora_core.jobs`) and advice before a run (see `lora_core.planning`).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lora_core import engines, jobs
from lora_core.errors import NoRoomError, SettingsError
from lora_core.jobs import Job, space
from lora_core.models.hub import is_name
from lora_core.planning.disk import CACHES, files
from lora_core.planning.images import RunImages, look_at_images
from lora_core.planning.steps import plan
from lora_core.settings import RunConfig, run_files
from lora_core.workspace import Workspace

_HEADER_LIMIT = 64 * 1024 * 1024  # a safetensors header beyond this is refused elsewhere


def start_run(
    workspace: Workspace,
    run: RunConfig,
    *,
    engine: str = "diffusers",
    name: str | None = None,
    parent: str | None = None,
    project: str | None = None,
    despite_space: bool = False,
    retry_ladder: bool = False,
    images: RunImages | None = None,
) -> Job:
    """Queue a training run; what it trains with is frozen from here on.

    `name` is what lists show, the output name unless given; `parent` is the run that this one
    goes back to. `despite_space` starts it where the disk has no room for all that it will write.
    `retry_ladder` lets it go on with a cheaper setting when GPU memory runs out (see `ladder.py`).
    `images` spares a second look at the folders.

    Raises:
        SettingsError: the engine would refuse it; every problem is listed and nothing was made.
        NoRoomError: what it will write does not fit; nothing was made.
        JobError, DiskFullError, WorkspaceError: as `jobs.create`.
    """
    problems = [problem for problem in engines.get(engine).check(run) if problem.severity == "error"]
    if problems:
        raise SettingsError(problems, what="The training was not started.")
    if not despite_space:
        _refuse_what_does_not_fit(workspace, run, images)
    chosen = {
        name: True for name, on in (("despite_space", despite_space), ("retry_ladder", retry_ladder)) if on
    }
    hashes = {"base_model": base_model_hash(run.model.pretrained_model_name_or_path)}
    hashes["dataset"] = listing_hash(folders_of(run))
    return jobs.create(
        workspace,
        "train",
        name or run.saving.output_name,
        {
            "output_name": run.saving.output_name,
            "base_model": _place(workspace, run.model.pretrained_model_name_or_path),
            **chosen,
        },
        engine=engine,
        files=run_files(run),
        parent=parent,
        project=project,
        hashes=hashes,
    )


def space_needed(run: RunConfig, images: RunImages | None = None) -> int | None:
    """Bytes that `run` writes into its folder, at most at one time; None where they cannot be counted.

    What is kept beside the pictures is left out: much of it may be there from an earlier run.
    """
    found = look_at_images(run) if images is None else images
    amount = plan(run, found)
    written = files(run, amount, found) if amount is not None else None
    if written is None:
        return None
    return written.peak - sum(written.parts.get(name, 0) for name in CACHES)


def _refuse_what_does_not_fit(workspace: Workspace, run: RunConfig, images: RunImages | None) -> None:
    needed = space_needed(run, images)
    problem = space.check(workspace, needed) if needed is not None else None
    if needed is None or problem is None:
        return
    free = space.free_bytes(workspace.root)
    raise NoRoomError(
        "The training was not started.", why=problem.what, fix=problem.fix, needed=needed, free=free
    )


def _place(workspace: Workspace, base: Path) -> str:
    # A name on the hub is no path; made into one, it would point at a folder that never was.
    return base.as_posix() if is_name(base) else workspace.relative(base)


def folders_of(run: RunConfig) -> list[Path]:
    """The image folders of a run, in the order of its file."""
    return [subset.image_dir for dataset in run.dataset.datasets for subset in dataset.subsets]


def base_model_hash(path: Path) -> str:
    """SHA-256 over what tells a base model apart without reading gigabytes.

    Of a diffusers folder its JSON files and the names and sizes of all others; of a single file
    its size and its header. Empty when it cannot be read: the engine says why.
    """
    digest = hashlib.sha256()
    if not path.exists():
        return ""
    try:
        if path.is_file():
            digest.update(f"{path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                digest.update(file.read(min(size, _HEADER_LIMIT)))
        else:
            for entry in sorted(p for p in path.rglob("*") if p.is_file()):
                digest.update(f"{entry.relative_to(path).as_posix()} {entry.stat().st_size}\n".encode())
                if entry.suffix == ".json":
                    digest.update(entry.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


def listing_hash(folders: list[Path]) -> str:
    """SHA-256 over the names and sizes of all files in `folders`; hidden ones are left out."""
    digest = hashlib.sha256()
    for line in _listing(folders):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _listing(folders: list[Path]) -> Iterator[str]:
    for number, folder in enumerate(folders):
        try:
            entries = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        except OSError:
            continue  # the engine refuses such a folder and says why
        for entry in entries:
            yield f"{number}/{entry.name} {entry.stat().st_size}\n"
