"""A recipe as a file to share, and a whole run as a zip that plain sd-scripts trains from.

Covered: the recipe alone, in the form of a preset; `config.toml`, `dataset.toml` and prompts with
paths inside the zip, images and captions if asked for, a page that says how to start it. No path of
this computer gets into either. Not covered: reading them back (see `lora_core.settings.imports`),
and the base model, which is too large to travel.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, Final

from lora_core import jobs, settings
from lora_core.datasets.images import SUFFIXES
from lora_core.errors import DatasetError
from lora_core.jobs import Job
from lora_core.models.hub import is_name
from lora_core.runs.command import command_line, script_for
from lora_core.settings import CONFIG_NAME, PROMPTS_NAME, RunConfig, known
from lora_core.settings.conflicts import family_in, sd_scripts_problems
from lora_core.workspace import Workspace, replacing, safe_name

EXPORT: Final = "export"
"""The kind of job that writes a zip."""
EXPORTS: Final = "exports"
"""Folder of the workspace."""
README_NAME: Final = "README.txt"
_FORMAT: Final = 1
_HEADER: Final = "# A recipe: how to train a LoRA. It names no files and no base model.\n"
_MODELS: Final = "models"
_DATE: Final = (2020, 1, 1, 0, 0, 0)
"""Of every file in a zip: the same run makes the same zip."""
Told = Callable[[int, int], None]
"""Called with how many files are done, and how many there are."""


def export_recipe(
    values: Mapping[str, Any],
    *,
    title: str = "Recipe",
    other: Mapping[str, Any] | None = None,
    evidence: str = "reported",
) -> str:
    """The recipe in `values` as a preset file; settings of the target are left out.

    `other` are arguments of sd-scripts that are not described here, as `RunConfig.other` holds them.
    """
    recipe = [s for s in settings.catalogue() if s.part == "recipe" and s.key in values]
    written = {s.key: values[s.key] for s in recipe if values[s.key] is not None}
    empty = [s.key for s in recipe if values[s.key] is None and s.default is not None]
    head = {
        "format": _FORMAT,
        "title": title,
        "evidence": evidence,
        **({"left_empty": empty} if empty else {}),
    }
    lines = [*settings.write_lines(head), "", "[recipe]", *settings.write_lines(written)]
    if other:
        lines += ["", "[other]", *settings.write_lines(other)]
    return _HEADER + "\n".join(lines) + "\n"


def recipe_of(run: RunConfig) -> dict[str, Any]:
    """Every recipe setting of a run by key; of several folders of images the first one counts."""
    values: dict[str, Any] = {}
    for placed in settings.placed_values(run):
        if placed.setting.part == "recipe":
            values.setdefault(placed.setting.key, placed.value)
    return values


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made."""

    path: Path
    files: int
    """How many files are in it."""
    notes: tuple[str, ...]
    """What has to be done before it runs elsewhere, one sentence each."""


@dataclass
class _Plan:
    """What goes into the zip, before a byte is written."""

    texts: dict[str, str] = field(default_factory=dict)
    files: list[tuple[Path, str]] = field(default_factory=list)
    """Each file with its name in the zip."""
    notes: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def name(self, wanted: str, suffix: str = "") -> str:
        """`wanted` as a name that is free, whatever the case of letters."""
        base, count = safe_name(wanted), 1
        name = f"{base}{suffix}"
        while name.casefold() in self.taken:
            count += 1
            name = f"{base} {count}{suffix}"
        self.taken.add(name.casefold())
        return name


def start_export(
    workspace: Workspace, run: RunConfig, *, family: str, images: bool, project: str | None = None
) -> Job:
    """Queue writing `run` as a zip into the workspace's folder of exports; an older one of its name goes.

    Raises:
        JobError, DiskFullError, WorkspaceError: as `jobs.create`.
    """
    params = {"family": family, "images": images}
    name, files = run.saving.output_name, settings.run_files(run)
    return jobs.create(workspace, EXPORT, name, params, files=files, project=project)


def export_run_zip(
    run: RunConfig,
    path: Path,
    *,
    family: str | None = None,
    images: bool = True,
    told: Told | None = None,
    notes: Sequence[str] = (),
) -> Exported:
    """Write `run` as a zip at `path` that runs on plain sd-scripts from the folder it is unpacked to.

    Without a `family` the settings tell it, or it is Stable Diffusion 1.x. `notes` are told beside its own.

    Raises:
        SettingsError: the file of its prompts cannot be read, or sd-scripts does not train this family.
        DatasetError: an image or caption cannot be read; nothing was written.
        DiskFullError: the disk is full; nothing was written.
    """
    plan, family = _Plan(), family or family_in(run) or "sd15"
    script = script_for(family)
    moved = _with_places(run, plan, images=images)
    plan.texts |= settings.run_files(moved)
    plan.texts[CONFIG_NAME] = _for_script(plan.texts[CONFIG_NAME], script, plan)
    plan.texts[CONFIG_NAME] += '\n# where it writes\noutput_dir = "output"\n'
    plan.notes += [
        f"{p.setting}: {p.what} {p.fix}".removeprefix(": ")
        for p in sd_scripts_problems(run, family)
        if p.severity == "error"
    ]
    plan.notes += notes
    plan.texts[README_NAME] = _readme(moved, plan, family)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            _write(archive, plan, told or (lambda _done, _total: None))
    except FileNotFoundError as error:
        why = f"The file {PurePath(str(error.filename)).name} is not there any more."
        raise DatasetError(
            "The training was not exported.", why=why, fix="Look at the dataset, then export again."
        ) from error
    return Exported(path, len(plan.texts) + len(plan.files), tuple(plan.notes))


def _for_script(config: str, script: str, plan: _Plan) -> str:
    """`config` without arguments that other scripts of sd-scripts know and this one does not."""
    taken = known.by_script()[script.removesuffix(".py")]
    others, kept = known.tables()["arguments"], []
    for line in config.splitlines(keepends=True):
        key, _, value = line.partition(" = ")
        if key in taken or key not in others:
            kept.append(line)
        elif value.strip() not in {"false", "0"}:
            plan.notes.append(f"{key}: {script} does not take it, so it is not in config.toml.")
    return "".join(kept)


def _write(archive: zipfile.ZipFile, plan: _Plan, told: Told) -> None:
    total = len(plan.texts) + len(plan.files)
    for done, (name, text) in enumerate(sorted(plan.texts.items()), 1):
        entry = zipfile.ZipInfo(name, _DATE)
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        archive.writestr(entry, text.encode("utf-8"))
        told(done, total)
    for done, (source, name) in enumerate(plan.files, len(plan.texts) + 1):
        entry = zipfile.ZipInfo(name, _DATE)
        entry.external_attr = 0o644 << 16  # pictures do not shrink: they are stored as they are
        with source.open("rb") as file, archive.open(entry, "w", force_zip64=True) as into:
            shutil.copyfileobj(file, into, 1 << 20)
        told(done, total)


# --- places inside the zip ----------------------------------------------------------------------


def _with_places(run: RunConfig, plan: _Plan, *, images: bool) -> RunConfig:
    """`run` with every path inside the zip; `plan` gets the files that go there."""
    datasets = []
    for dataset in run.dataset.datasets:
        subsets = []
        for subset in dataset.subsets:
            folder = f"images/{plan.name(_last(subset.image_dir))}"
            changed: dict[str, Any] = {"image_dir": Path(folder)}
            masks = subset.conditioning_data_dir
            if masks is not None:
                changed["conditioning_data_dir"] = Path(f"masks/{plan.name(_last(masks))}")
            if images:
                _add_pictures(plan, subset.image_dir, folder, subset.caption_extension, masks, changed)
            subsets.append(subset.model_copy(update=changed))
        datasets.append(dataset.model_copy(update={"subsets": tuple(subsets)}))
    if not images:
        plan.notes.append("The images are not in the zip. Put them into the folders that dataset.toml names.")
    file = run.dataset.model_copy(update={"datasets": tuple(datasets)})
    whole = run.model_copy(update={"dataset": file, "other": _without_folders(run.other, plan)})
    return _with_prompts(_with_models(whole, plan), plan)


def _last(path: PurePath) -> str:
    return PureWindowsPath(path).name or "folder"


def _add_pictures(
    plan: _Plan, source: Path, folder: str, ending: str, masks: Path | None, changed: Mapping[str, Any]
) -> None:
    names = _Plan()
    listed = list(_listed(source))
    captions = {file.name.casefold(): file for file in listed}
    found = {file.stem.casefold(): file for file in _listed(masks)} if masks is not None else {}
    for picture in (file for file in listed if file.suffix.lower() in SUFFIXES):
        stem = names.name(picture.stem)
        plan.files.append((picture, f"{folder}/{stem}{picture.suffix.lower()}"))
        caption = captions.get(f"{picture.stem}{ending}".casefold())
        if caption is not None:
            plan.files.append((caption, f"{folder}/{stem}{ending}"))
        mask = found.get(picture.stem.casefold())
        if mask is not None:
            place = changed["conditioning_data_dir"].as_posix()
            plan.files.append((mask, f"{place}/{stem}{mask.suffix.lower()}"))
    if not names.taken:
        plan.notes.append(f"No images were found for the folder {folder}.")


def _listed(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if entry.is_file() and not entry.name.startswith("."))


def _with_models(run: RunConfig, plan: _Plan) -> RunConfig:
    """`run` with base model, its parts and earlier LoRAs in a folder of the zip that a user fills."""
    for s in settings.catalogue():
        if s.kind not in {"path", "paths"} or s.place != "argument" or s.key == "resume":
            continue
        value = getattr(getattr(run, s.concern), s.key)
        hub = isinstance(value, Path) and s.concern == "model" and is_name(value)
        if value is None or hub:
            continue
        if s.concern == "speed":
            plan.notes.append(f"{s.key}: it is a folder of this computer, so it is not in the zip.")
            run = settings.with_values(run, {s.key: None})
            continue
        paths = value if isinstance(value, tuple) else (value,)
        placed = tuple(
            Path(_MODELS) / plan.name(PurePath(_last(p)).stem, PurePath(_last(p)).suffix) for p in paths
        )
        for place in placed:
            plan.notes.append(
                f"{s.key}: put your own copy at {place.as_posix()}, or write its path into config.toml."
            )
        run = settings.with_values(run, {s.key: placed if isinstance(value, tuple) else placed[0]})
    if run.saving.resume is not None:
        plan.notes.append(
            "resume: the saved state stays on this computer, so the training starts from the beginning."
        )
        run = settings.with_values(run, {"resume": None})
    return run


def _with_prompts(run: RunConfig, plan: _Plan) -> RunConfig:
    prompts = run.sampling.sample_prompts
    if not isinstance(prompts, Path) or prompts.suffix.lower() not in {".toml", ".json"}:
        return run
    name = f"{Path(PROMPTS_NAME).stem}{prompts.suffix.lower()}"
    plan.texts[name] = settings.read_text(prompts)
    return settings.with_values(run, {"sample_prompts": Path(name)})


def _without_folders(other: Mapping[str, Any], plan: _Plan) -> dict[str, Any]:
    """Arguments that are not described here, without paths of this computer and without secrets."""
    kept = {}
    for key, value in other.items():
        text = isinstance(value, str)
        if settings.is_secret(key, value):
            plan.notes.append(f"{key}: it looks like a secret, so it is not in the zip.")
        elif text and (Path(value).is_absolute() or PureWindowsPath(value).is_absolute()):
            plan.notes.append(f"{key}: it is a path of this computer, so it is not in the zip.")
        else:
            kept[key] = value
    return kept


def _readme(run: RunConfig, plan: _Plan, family: str) -> str:
    todo = [f"- {note}" for note in plan.notes] or ["- Nothing: everything is here."]
    lines = [
        f"Training of the LoRA {run.saving.output_name}",
        "",
        "These files train with sd-scripts (github.com/kohya-ss/sd-scripts) as they are.",
        "",
        "Before you start:",
        *todo,
        "",
        "Open a terminal in this folder. Put the folder of sd-scripts in it, or write its path",
        "into the command.",
        "The LoRA is written into the folder output.",
        "",
        "On Linux and macOS:",
        command_line(run, family=family),
        "",
        "On Windows, in PowerShell:",
        command_line(run, family=family, terminal="powershell"),
    ]
    return "\n".join(lines) + "\n"
