"""The commands about jobs that wait or run: order, hold, times, pause, save, sample, rules.

Covered: `jobs queue|move|hold|release|start-at|remove|pause|save|sample|rules`. Not covered: the other
commands about jobs (cli.py), and deciding what starts (`lora_core.jobs`).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_core import cli_text, jobs
from lora_core.cli_recipe import JsonOption, WorkspaceOption, find_job
from lora_core.errors import JobError
from lora_core.jobs import awake, choices
from lora_core.workspace import Workspace

app = typer.Typer(rich_markup_mode=None)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a job, its beginning or end, or the word last.")
]
TimeArgument = Annotated[
    str, typer.Argument(metavar="TIME", help="22:00, or 2030-01-31 22:00, or the word now for no time.")
]
_FORMS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S")


def given(context: typer.Context, workspace: Path | None, *, as_json: bool) -> tuple[Workspace, bool]:
    """Options that stood before the command's name (`jobs --json show ID`) count as well."""
    before: tuple[Path | None, bool] = context.obj or (None, False)
    return Workspace.open(workspace or before[0]), as_json or before[1]


def print_json(value: Any) -> None:
    """Print a record for programs."""
    print(cli_text.json_text(value), flush=True)


# --- the queue --------------------------------------------------------------------------------------


@app.command("queue")
def show_queue(
    context: typer.Context, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """List the jobs that wait, in the order in which they will start, and why each waits."""
    ws, as_json = given(context, workspace, as_json=as_json)
    found = jobs.queue(ws)
    if as_json:
        print_json([_queued_record(one) for one in found])
        return
    if not found:
        print("No job waits.")
    for one in found:
        print(
            f"{one.place:>3}  {one.job.id}  {one.job.kind:<8} {cli_text.printable(one.job.name)}: {one.why}"
        )


def _queued_record(one: jobs.Queued) -> dict[str, Any]:
    return {
        "place": one.place,
        "id": one.job.id,
        "kind": one.job.kind,
        "name": one.job.name,
        "held": one.held,
        "not_before": one.not_before,
        "why": one.why,
    }


@app.command()
def move(
    context: typer.Context,
    job_id: IdArgument,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Put it before this waiting job.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Put it to the end of the queue.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Change the place of a waiting job in the queue."""
    ws, as_json = given(context, workspace, as_json=as_json)
    if (before is None) != end:
        raise JobError(
            "The job was not moved.",
            why="It has to be said where to: before another job, or to the end.",
            fix="Give either --before ID or --end.",
        )
    job = find_job(ws, job_id)
    jobs.reorder(ws, job.id, before=find_job(ws, before).id if before is not None else None)
    _tell_place(ws, job.id, as_json=as_json)


@app.command()
def hold(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Keep a waiting job from starting until it is released."""
    _change_waiting(context, job_id, jobs.hold, as_json=as_json, workspace=workspace)


@app.command()
def release(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Let a held job start when its turn comes."""
    _change_waiting(context, job_id, jobs.release, as_json=as_json, workspace=workspace)


@app.command("start-at")
def start_at(
    context: typer.Context,
    job_id: IdArgument,
    when: TimeArgument,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Keep a waiting job from starting before a time of this computer's clock."""
    at = point_in_time(when, time.time())

    def change(ws: Workspace, wanted: str) -> None:
        jobs.start_at(ws, wanted, at)

    _change_waiting(context, job_id, change, as_json=as_json, workspace=workspace)


def point_in_time(text: str, now: float) -> float | None:
    """The Unix time that `text` names, the next one for a time of day; None for `now`.

    Raises:
        JobError: it is no time, or one that has passed.
    """
    text = text.strip()
    if text == "now":
        return None
    today = datetime.fromtimestamp(now).astimezone().replace(tzinfo=None)
    at: datetime | None = None
    try:
        clock = datetime.strptime(text, "%H:%M")  # noqa: DTZ007  a person means the clock on the wall
        at = today.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
        at += timedelta(days=1) if at <= today else timedelta()
    except ValueError:
        for form in _FORMS:
            try:
                at = datetime.strptime(text, form)  # noqa: DTZ007  the same
            except ValueError:
                continue
            break
    if at is None:
        raise JobError(
            "The time was not set.",
            why=f"{text} is not a time.",
            fix="Write it like 22:00 or like 2030-01-31 22:00. The word now takes a time away.",
        )
    if at <= today:
        raise JobError(
            "The time was not set.",
            why=f"{text} has passed.",
            fix="Give a later time, or the word now.",
        )
    return at.timestamp()


@app.command()
def remove(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Take a waiting job out of the queue; jobs resume puts it back."""
    ws, as_json = given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    now = jobs.status(ws, job.id)
    if now.state != "queued":
        raise JobError(
            f"The job {job.name} was not taken out of the queue.",
            why=f"It does not wait: it is {now.state}.",
            fix="To end a job that runs, use jobs stop or jobs pause.",
        )
    jobs.stop(ws, job.id)
    _tell_state(ws, job.id, as_json=as_json)


def _change_waiting(
    context: typer.Context,
    job_id: str,
    change: Callable[[Workspace, str], None],
    *,
    as_json: bool,
    workspace: Path | None,
) -> None:
    ws, as_json = given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    change(ws, job.id)
    _tell_place(ws, job.id, as_json=as_json)


def _tell_place(ws: Workspace, job_id: str, *, as_json: bool) -> None:
    """Where the job stands now, and why it waits."""
    found = [one for one in jobs.queue(ws) if one.job.id == job_id]
    if not found:  # started in the meantime
        _tell_state(ws, job_id, as_json=as_json)
    elif as_json:
        print_json(_queued_record(found[0]))
    else:
        name = cli_text.printable(found[0].job.name)
        print(f"{name} is number {found[0].place} in the queue. {found[0].why}")


# --- one that runs ----------------------------------------------------------------------------------


@app.command()
def pause(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Save a job, end its process and free the device; jobs resume goes on from there."""
    ws, as_json = given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    jobs.pause(ws, job.id)
    _tell_state(ws, job.id, as_json=as_json)


@app.command()
def save(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Ask a running training to save at its next step."""
    ws, as_json = given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    jobs.request(ws, job.id, "save")
    _tell_request(ws, job.id, "It saves at its next step.", as_json=as_json)


@app.command()
def sample(
    context: typer.Context, job_id: IdArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Ask a running training to draw samples at its next step."""
    ws, as_json = given(context, workspace, as_json=as_json)
    job = find_job(ws, job_id)
    jobs.request(ws, job.id, "sample")
    _tell_request(ws, job.id, "It draws samples at its next step.", as_json=as_json)


def _tell_request(ws: Workspace, job_id: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(cli_text.record(ws, jobs.get(ws, job_id), jobs.status(ws, job_id)))
    else:
        print(f"{cli_text.printable(jobs.get(ws, job_id).name)} was asked. {what}")


def _tell_state(ws: Workspace, job_id: str, *, as_json: bool) -> None:
    job, seen = jobs.get(ws, job_id), jobs.status(ws, job_id)
    if as_json:
        print_json(cli_text.record(ws, job, seen))
    else:
        print(cli_text.plain(f"{cli_text.printable(job.name)} is {seen.state}. {seen.message}"))


# --- rules ------------------------------------------------------------------------------------------


@app.command()
def rules(
    context: typer.Context,
    stop_after_failure: Annotated[
        bool | None,
        typer.Option(
            "--stop-after-failure/--go-on-after-failure",
            help="Whether further trainings wait after one that failed.",
        ),
    ] = None,
    keep_awake: Annotated[
        bool | None,
        typer.Option("--keep-awake/--let-sleep", help="Whether the computer is kept awake while a job runs."),
    ] = None,
    resume_after_restart: Annotated[
        bool | None,
        typer.Option(
            "--resume-after-restart/--wait-after-restart",
            help="Whether a training that a restart of the computer cut off goes on by itself.",
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show or change what holds for all jobs: after a failure or a restart, sleep, command at the end."""
    ws, as_json = given(context, workspace, as_json=as_json)
    if stop_after_failure is not None:
        jobs.set_queue_rules(ws, replace(jobs.queue_rules(ws), stop_after_failure=stop_after_failure))
    if resume_after_restart is not None:
        jobs.set_queue_rules(ws, replace(jobs.queue_rules(ws), resume_after_restart=resume_after_restart))
    if keep_awake is not None:
        choices.keep_awake(ws, keep_awake)
    found, kept, at_end = jobs.queue_rules(ws), awake.state(ws), choices.at_end(ws)
    if as_json:
        print_json({**asdict(found), "keep_awake": asdict(kept), "at_end": asdict(at_end)})
        return
    after = "Further trainings wait" if found.stop_after_failure else "The queue goes on"
    print(f"After a failure: {after}.")
    restart = "what was cut off goes on" if found.resume_after_restart else "what was cut off waits for you"
    print(f"After a restart of the computer: {restart}.")
    print(f"Sleep: {kept.sentence}")
    run = " ".join(map(cli_text.printable, at_end.command)) or "none"
    also = " Also after a failure." if at_end.command and at_end.also_after_failure else ""
    print(f"Command at the end: {at_end.problem or run + '.' + also}")
