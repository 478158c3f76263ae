"""`python -m lora_core …`: every action of the pages as a command.

Covered: demo, train, jobs, doctor, lora; text for people, `--json` for programs, exit codes; recipe,
the queue and messages stand in cli_recipe.py, cli_queue.py and cli_notify.py. Each command is a thin call of
the package that does the work. docs/commands.md says the same for users.
Not covered: the app (`python3 start.py`).
"""

import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from lora_core import cli_notify, cli_queue, cli_recipe, cli_text, jobs, settings
from lora_core.cli_queue import IdArgument
from lora_core.cli_queue import given as _given
from lora_core.cli_queue import print_json as _print_json
from lora_core.cli_recipe import JsonOption, WorkspaceOption, find_job
from lora_core.cli_text import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, EXIT_LEFT
from lora_core.errors import LoraError, Problem, SettingsError
from lora_core.jobs import Job, Status
from lora_core.workspace import Workspace

_LOOK_S: Final = 0.5
_LINE_S: Final = 10.0
"""Between two lines of progress where no terminal shows them in place."""

app = typer.Typer(
    help="Train LoRAs from the command line. What runs goes on when the command ends.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
jobs_app = typer.Typer(help="List jobs, and show, move, pause, stop or resume one.", rich_markup_mode=None)
lora_app = typer.Typer(help="Look into LoRA files.", no_args_is_help=True, rich_markup_mode=None)
jobs_app.add_typer(cli_queue.app)  # without a name: its commands stand among the others
app.add_typer(jobs_app, name="jobs")
app.add_typer(lora_app, name="lora")
app.add_typer(cli_recipe.app, name="recipe")
app.add_typer(cli_notify.app, name="notify")

WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console or a pipe may lack a letter of a name
            stream.reconfigure(errors="backslashreplace")
    try:
        app(given, prog_name="python -m lora_core", standalone_mode=True)
    except LoraError as error:
        _tell_error(error, as_json="--json" in given)
        return EXIT_BAD_INPUT
    except OSError as error:
        _tell_error(cli_text.refused_by_system(error), as_json="--json" in given)
        return EXIT_BAD_INPUT
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else EXIT_FAILED
    return EXIT_DONE


def _tell_error(error: LoraError, *, as_json: bool) -> None:
    if as_json:
        _print_json(cli_text.error_record(error))
    else:
        print(cli_text.error_text(error), file=sys.stderr)


# --- starting -----------------------------------------------------------------------------------


@app.command()
def demo(
    wait: Annotated[bool, typer.Option(help="Wait until the run has ended.")] = True,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train the demo LoRA: about two minutes on any computer, with nothing downloaded."""
    from lora_core.demo import create_demo
    from lora_core.runs import start_run

    ws = Workspace.open(workspace)
    _hand_over(ws, start_run(ws, create_demo(ws)), wait=wait, as_json=as_json)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The file config.toml of a run.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Its dataset file; else dataset.toml beside it.")
    ] = None,
    engine: Annotated[str, typer.Option(help="The trainer to use.")] = settings.BUILT_IN,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, as it does anyway.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train what a config file describes, in the form that sd-scripts reads too."""
    from lora_core import planning
    from lora_core.runs import start_run

    loaded = settings.read_run(config, dataset, _changes(changes or []))
    ws = Workspace.open(workspace)
    problems = planning.check(loaded.run, engine, ws)
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise SettingsError(errors, what="The training was not started.")
    for note in [*loaded.notes, *(cli_text.problem_line(problem) for problem in problems)]:
        print(cli_text.plain(f"Note: {note}"), file=sys.stderr)
    _hand_over(ws, start_run(ws, loaded.run, engine=engine), wait=wait or not detach, as_json=as_json)


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """The values of `--set`; every one that does not fit is told at once."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    known = {s.key: s for s in settings.catalogue()}
    for text in given:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or key not in known:
            what = "It does not have the form KEY=VALUE." if not sign else "There is no setting of this name."
            problems.append(
                Problem(setting=f"--set {text}", what=what, fix="See docs/settings.md for the names.")
            )
            continue
        fitting = settings.parsed(known[key], value)
        if fitting.problem is not None:
            problems.append(fitting.problem)
        # A path on the command line starts where the command is typed.
        values[key] = fitting.value.absolute() if isinstance(fitting.value, Path) else fitting.value
    if problems:
        raise SettingsError(problems)
    return values


def _hand_over(ws: Workspace, job: Job, *, wait: bool, as_json: bool) -> None:
    """Tell the id of a job that was started, and wait for it if asked to."""
    name = cli_text.printable(job.name)
    if as_json:
        _print_json({"id": job.id})
    elif wait:
        print(f"Started {name} as the job {job.id}. Ctrl-C ends the waiting, not the job.", flush=True)
    else:
        print(f"Started {name} as the job {job.id}. See it with: python -m lora_core jobs show {job.id}")
    if wait:
        raise typer.Exit(_wait_and_tell(ws, job, as_json=as_json))


def _wait_and_tell(ws: Workspace, job: Job, *, as_json: bool) -> int:
    ended = _follow(ws, job, (lambda _: None) if as_json else _ProgressLine())
    if as_json:
        _print_json(cli_text.record(ws, job, ended))
    else:
        _tell_end(ws, job, ended)
    return cli_text.exit_code(ended.state)


def _follow(ws: Workspace, job: Job, show: Callable[[Status], None]) -> Status:
    """Wait until the job has ended; Ctrl-C ends the waiting and the command, and not the job."""
    try:
        while True:
            try:
                return jobs.wait(ws, job.id, _LOOK_S)
            except TimeoutError:
                show(jobs.status(ws, job.id))
                jobs.ensure_runner(ws)  # one that was killed would leave a queued job waiting for ever
    except KeyboardInterrupt:
        message = f"\nThe job goes on. See it with: python -m lora_core jobs show {job.id}"
        print(message, file=sys.stderr)
        raise typer.Exit(EXIT_LEFT) from None


class _ProgressLine:
    """Progress in one place of a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        import time

        self._now = time.monotonic
        self._in_place = sys.stdout.isatty()
        self._last = ""
        self._next_s = 0.0

    def __call__(self, status: Status) -> None:
        line = cli_text.progress_text(status)
        if self._in_place:
            print(f"\r{line.ljust(len(self._last))}", end="", flush=True)
        elif line != self._last and self._now() >= self._next_s:
            print(line, flush=True)
            self._next_s = self._now() + _LINE_S
        else:
            return
        self._last = line


def _tell_end(ws: Workspace, job: Job, ended: Status) -> None:
    if sys.stdout.isatty():
        print()
    text = "\n".join(cli_text.end_lines(ws, job, ended))
    print(text, file=sys.stdout if ended.state == "finished" else sys.stderr)


# --- jobs ---------------------------------------------------------------------------------------


@jobs_app.callback(invoke_without_command=True)
def list_jobs(context: typer.Context, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List jobs, newest first; or show, change or end one."""
    if context.invoked_subcommand is not None:
        context.obj = (workspace, as_json)
        return
    ws = Workspace.open(workspace)
    found = [(job, jobs.status(ws, job.id)) for job in jobs.jobs(ws)]
    if as_json:
        _print_json([cli_text.record(ws, job, status) for job, status in found])
        return
    if not found:
        print("There are no jobs.")
    for job, status in found:
        total = f"{status.step} of {status.total}" if status.total else str(status.step or "")
        print(
            f"{job.id}  {status.state:<9} {job.kind:<8} {total:>14}  {cli_text.printable(job.name)}".rstrip()
        )


@jobs_app.command()
def show(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Show one job: its state, how far it is, and how it ended."""
    ws, as_json = _given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    record = cli_text.record(ws, job, jobs.status(ws, job.id))
    if as_json:
        _print_json(record)
        return
    print("\n".join(cli_text.record_lines(record)))


@jobs_app.command()
def log(
    context: typer.Context,
    job_id: IdArgument,
    lines: Annotated[int, typer.Option(min=1, help="How many lines from the end.")] = 200,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the last lines that a job wrote."""
    ws, as_json = _given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    tail = jobs.log_tail(ws, job.id, lines)
    if as_json:
        _print_json({"id": job.id, "lines": tail})
    else:
        print(cli_text.plain("\n".join(tail)) or "It has printed nothing yet.")


@jobs_app.command()
def stop(
    context: typer.Context,
    job_id: IdArgument,
    force: Annotated[bool, typer.Option("--force", help="End it now, without a last save.")] = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Stop a job: it saves a state first, so that it can be resumed."""
    ws, as_json = _given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    jobs.stop(ws, job.id, force=force)
    seen = _follow(ws, job, lambda _: None) if wait else jobs.status(ws, job.id)
    if as_json:
        _print_json(cli_text.record(ws, job, seen))
    else:
        print(cli_text.plain(f"{cli_text.printable(job.name)} is {seen.state}. {seen.message}"))


@jobs_app.command()
def resume(
    context: typer.Context,
    job_id: IdArgument,
    state: Annotated[str | None, typer.Option(help="Name of the saved state; else the newest.")] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Go on with a job that was stopped or failed, from its newest saved state."""
    ws, as_json = _given(context, workspace, as_json=as_json)
    _hand_over(ws, jobs.resume(ws, find_job(ws, job_id).id, state), wait=wait, as_json=as_json)


# --- looking ------------------------------------------------------------------------------------


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Do not load torch.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what this computer has for training, with one fix for each thing that is missing."""
    from lora_core import machine
    from lora_core.reporting import NullReporter

    ws = Workspace.open(workspace)
    if not quick:
        machine.run_probe(ws, {}, NullReporter())
    found = machine.probe(ws)
    if as_json:
        _print_json(found.record())
    else:
        for finding in found.findings:
            print(f"{finding.state:<9} {finding.label}: {finding.value}. {finding.sentence}")
            if finding.fix:
                print(f"{'':<9} What to do: {finding.fix}")
    raise typer.Exit(EXIT_FAILED if found.worst == "problem" else EXIT_DONE)


@lora_app.command()
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA file (.safetensors).")],
    as_json: JsonOption = False,
) -> None:
    """Say what a LoRA file is: rank, alpha, base model, trigger word, steps; checks every number in it."""
    from lora_core import loras

    found = loras.inspect(file)
    loras.check_sound(file)
    if as_json:
        _print_json({**found.record(), "sound": True})
        return
    print("\n".join(cli_text.lora_lines(found)))
