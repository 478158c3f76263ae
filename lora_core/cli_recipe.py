"""`python -m lora_core recipe …`: recipes in and out, as files and as the words of a report.

Covered: import with its report, export as a file, as a zip and as a command, and what differs
between two. Not covered: reading and writing them (see `lora_core.settings.imports` and
`lora_core.runs.export`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lora_core import cli_text, jobs, projects, runs, settings
from lora_core.errors import JobError, ModelError, Problem, SettingsError, WorkspaceError
from lora_core.jobs import Job
from lora_core.workspace import Workspace, write_atomic

if TYPE_CHECKING:
    from lora_core.settings.imports import Imported, Line

WorkspaceOption = Annotated[
    Path | None, typer.Option("--workspace", help="Folder that holds all you have; else LORA_WORKSPACE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one record a line.")]

app = typer.Typer(
    help="Bring recipes in from other tools, give them out, compare them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_NOWHERE: Final = Path("not chosen yet")
_PARTS: Final = (
    ("taken", "Taken"),
    ("translated", "Changed"),
    ("ignored", "Does nothing, there or here"),
    ("not_understood", "Not understood"),
)


def find_job(ws: Workspace, wanted: str) -> Job:
    """The job of this id; `last`, and the beginning or end of one id, will do too."""
    known = jobs.jobs(ws)
    if wanted == "last" and known:
        return known[0]
    fitting = [job for job in known if wanted and (job.id.startswith(wanted) or job.id.endswith(wanted))]
    if len(fitting) > 1 and wanted not in {job.id for job in fitting}:
        raise JobError(
            f"There is more than one job {wanted}.",
            why=f"{len(fitting)} ids fit.",
            fix="Give more of the id.",
        )
    return fitting[0] if len(fitting) == 1 else jobs.get(ws, wanted)


# --- import -------------------------------------------------------------------------------------


@app.command("import")
def import_recipe(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="A settings file of any tool, a LoRA file, or the zip of a run."
        ),
    ],
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the recipe to this file, as a preset."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read a recipe of another tool, and say what was taken, changed and not understood."""
    from lora_core.settings.imports import combined

    found = _read(files[0])
    for file in files[1:]:
        found = combined(found, _read(file))
    if save is not None:
        write_atomic(save, runs.export_recipe(found.values, title=found.name, other=found.other))
    if as_json:
        print(cli_text.json_text(found.record()))
        return
    print("\n".join(_report(found)))
    if save is not None:
        print(f"\nSaved: {save}")


def _read(file: Path) -> "Imported":
    from lora_core.settings.imports import read_metadata, read_recipe, read_run

    if file.suffix.lower() == ".safetensors":
        from lora_core import loras

        return read_metadata(file.name, loras.read_header(file).metadata)
    if file.suffix.lower() == ".zip" and file.is_file():
        with file.open("rb") as opened:
            return read_run(file.name, opened)
    return read_recipe(file.name, settings.read_bytes(file))


def _report(found: "Imported") -> list[str]:
    family = f", for base models of the family {found.family}" if found.family else ""
    lines = [f"{cli_text.printable(found.name)} is {found.title}{family}."]
    lines += [f"Note: {note}" for note in found.notes]
    for part, title in _PARTS:
        entries = getattr(found, part)
        lines += ["", f"{title}: {len(entries)}", *(_line(entry) for entry in entries)]
    return lines


def _line(line: "Line") -> str:
    became = "" if not line.key else f" -> {line.key} = {line.becomes}"
    return cli_text.printable(f"  {line.name} = {line.value}{became}  {line.reason}".rstrip())


# --- export -------------------------------------------------------------------------------------


@app.command("export")
def export_recipe(
    name: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_PROJECT", help="Id of a run, the word last, or name of a project."),
    ],
    archive: Annotated[
        Path | None,
        typer.Option("--zip", metavar="FILE", help="Write the whole run as a zip for sd-scripts."),
    ] = None,
    images: Annotated[bool, typer.Option(help="Put the images into the zip.")] = True,
    command: Annotated[
        bool, typer.Option("--command", help="Print the command that does the same with sd-scripts.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the recipe of a run or project, or write the whole run as a zip that sd-scripts trains from."""
    side = _side(Workspace.open(workspace), name)
    if archive is None and not command:
        text = runs.export_recipe(runs.recipe_of(side.run), title=side.name, other=side.run.other)
        print(cli_text.json_text({"recipe": text}) if as_json else text, end="" if not as_json else "\n")
        return
    run = side.whole()
    family = _family(run)
    record: dict[str, Any] = {}
    if command:
        record |= {
            "bash": runs.command_line(run, family=family),
            "powershell": runs.command_line(run, family=family, terminal="powershell"),
        }
    if archive is not None:
        made = runs.export_run_zip(run, archive.absolute(), family=family, images=images)
        record |= {"zip": str(made.path), "files": made.files, "notes": list(made.notes)}
    if as_json:
        print(cli_text.json_text(record))
        return
    for key, value in record.items():
        for item in value if isinstance(value, list) else [value]:
            print(f"{key}: {item}")


def _family(run: settings.RunConfig) -> str:
    from lora_core.models import inspect_base
    from lora_core.settings.conflicts import family_in

    try:
        return inspect_base(run.model.pretrained_model_name_or_path).family
    except ModelError:  # it may be on another computer, or of a family that only sd-scripts trains
        if told := family_in(run):
            return told
        width, height = run.dataset.datasets[0].resolution
        return "sdxl" if width * height > 768 * 768 else "sd15"


# --- compare ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Side:
    """A run, a project or a file, as one of two that are compared."""

    name: str
    run: settings.RunConfig
    """With a base model and images of no meaning where there are none."""
    job: Job | None = None
    project: projects.Project | None = None

    def whole(self) -> settings.RunConfig:
        """The run with its base model and images."""
        return self.run if self.project is None else projects.run_of(self.project)


def _side(ws: Workspace, name: str) -> _Side:
    """The run, project or file of this name."""
    if name in projects.names(ws):
        project = projects.load(ws, name)
        return _Side(name, settings.with_values(_bare(), _set(project.values)), project=project)
    path = Path(name)
    if path.is_file():
        return _Side(path.name, settings.with_values(_bare(), _read(path).values))
    try:
        job = find_job(ws, name)
    except JobError as error:
        fix = "See the runs with: python -m lora_core jobs. Projects are listed on Home."
        raise WorkspaceError(f"There is no run, project or file {name}.", why=error.why, fix=fix) from error
    if job.kind != "train":
        problem = Problem(setting="", what=f"The job {job.id} is no training run.", fix="Choose a run.")
        raise SettingsError([problem])
    return _Side(job.name, runs.settings_of(job), job=job)


def _set(values: Any) -> dict[str, Any]:
    kept = {s.key for s in settings.catalogue() if s.optional}
    return {key: value for key, value in values.items() if value is not None or key in kept}


def _bare() -> settings.RunConfig:
    subset = settings.SubsetSettings(image_dir=_NOWHERE)
    file = settings.DatasetFile(datasets=(settings.DatasetSettings(subsets=(subset,)),))
    return settings.RunConfig(
        model=settings.ModelSettings(pretrained_model_name_or_path=_NOWHERE), dataset=file
    )


@app.command("compare")
def compare_recipes(
    first: Annotated[str, typer.Argument(metavar="A", help="Id of a run, name of a project, or a file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say in which settings two runs, projects or files differ."""
    from lora_core.settings.imports import brief, plain

    ws = Workspace.open(workspace)
    sides = [_side(ws, name) for name in (first, second)]
    recipes_only = any(side.job is None for side in sides)
    found = [
        each
        for each in settings.differences(sides[0].run, sides[1].run)
        if each.setting.part == "recipe" or not recipes_only
    ]
    if as_json:
        rows = [
            {"setting": each.setting.key, "before": plain(each.before), "after": plain(each.after)}
            for each in found
        ]
        print(cli_text.json_text({"differences": rows}))
        return
    if not found:
        print("They do not differ.")
    for each in found:
        values = f"{brief(each.before)} -> {brief(each.after)}"
        print(cli_text.printable(f"{each.setting.label} ({each.setting.key}): {values}"))
