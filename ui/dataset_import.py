"""Bringing pictures in: the form, the import as it goes on, and what came of it.

Covered: a folder or a zip on the machine of the app, an uploaded zip, progress, stopping, the
report. Not covered: the import itself (see `lora_core.datasets.importing`).
"""

import shutil
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import jobs
from lora_core.datasets.importing import ImportReport, read_report
from lora_core.datasets.library import dataset_folder
from lora_core.datasets.uploads import drop_upload, new_upload
from lora_core.errors import ImportRefusedError, LoraError
from lora_core.workspace import Workspace, disk_errors
from ui import feedback, icons, now, state
from ui.dataset_problems import bullets

KIND: Final = "import"
SOURCE: Final = "Folder or zip on the computer that runs this app"
FIELD_WIDTH_PX: Final = 520
REFRESH_S: Final = 2.0
REFUSED_SEEN: Final = 5
_UPLOAD: Final = "dataset_upload"
_UPLOADS: Final = "dataset_uploads"
_ERROR: Final = "dataset_import_error"


def running(ws: Workspace) -> jobs.Job | None:
    """The import that goes on now or waits to start."""
    newest = jobs.jobs(ws, kind=KIND, limit=1)
    return newest[0] if newest and not jobs.status(ws, newest[0].id).ended else None


# --- the form ---------------------------------------------------------------------------------


def form(ws: Workspace, *, primary: bool) -> None:
    """Ask for a folder or a zip and a name; the button starts the import as a job."""
    with st.container(gap="xxsmall"):
        st.text_input(SOURCE, key="dataset_source", persist_state="session", width=FIELD_WIDTH_PX)
        st.caption("Write the full name, such as /home/me/pictures. The files stay where they are.")
    _uploader(ws)
    with st.container(gap="xxsmall"):
        st.text_input(
            "Name of the new dataset", key="dataset_name", persist_state="session", width=FIELD_WIDTH_PX
        )
        st.caption(
            "A dataset is a set of pictures to train on. Without a name it gets the name of the folder."
        )
    st.button(
        "Bring the pictures in",
        key="dataset_import",
        type="primary" if primary else "secondary",
        icon=icons.ADD,
        on_click=_start,
        args=(ws,),
    )
    error = st.session_state.pop(_ERROR, None)
    if error is not None:
        # Not in red: nothing went wrong, something is still to be filled in.
        feedback.care(f"{error.why} {error.fix}", title=error.what)


def _uploader(ws: Workspace) -> None:
    ready: tuple[str, Path] | None = st.session_state.get(_UPLOAD)
    if ready is not None and ready[1].is_file():
        size = state.how_big(ready[1].stat().st_size)
        st.write(feedback.spoken(f"The zip {ready[0]} is uploaded ({size})."))
        st.button(
            "Take the uploaded zip away", key="dataset_drop", icon=icons.REMOVE, on_click=_drop, args=(ws,)
        )
        return
    turn = st.session_state.get(_UPLOADS, 0)
    with st.expander("The pictures are on another computer: upload a zip"):
        sent = st.file_uploader("Zip with pictures and captions", type="zip", key=f"dataset_zip_{turn}")
        st.caption("A larger zip: copy it to that computer, and write its full name above.")
    if sent is not None:
        with feedback.user_errors():
            target = new_upload(ws, sent.name)
            with disk_errors("The zip was not kept."), target.open("wb") as file:
                shutil.copyfileobj(sent, file)
            st.session_state[_UPLOAD] = (sent.name, target)
            # A new key drops the upload: Streamlit would hold it in memory until the tab is closed.
            st.session_state[_UPLOADS] = turn + 1
            st.rerun()


def _drop(ws: Workspace) -> None:
    _, path = st.session_state.pop(_UPLOAD)
    drop_upload(ws, path)


def _start(ws: Workspace) -> None:
    try:
        if running(ws) is None:  # pressed twice, or in two tabs
            _create(ws)
    except LoraError as error:
        st.session_state[_ERROR] = error


def _create(ws: Workspace) -> None:
    uploaded = st.session_state.get(_UPLOAD)
    source, shown = (uploaded[1], uploaded[0]) if uploaded else _typed(st.session_state.get("dataset_source"))
    name = (st.session_state.get("dataset_name") or "").strip() or Path(shown).stem
    jobs.create(ws, KIND, name, {"source": ws.relative(source), "name": name})
    st.session_state.pop(_UPLOAD, None)
    for key in ("dataset_source", "dataset_name"):
        st.session_state[key] = ""


def _typed(text: str | None) -> tuple[Path, str]:
    """The path that a user typed or pasted, quotation marks and all."""
    cleaned = (text or "").strip().strip("\"'").strip()
    if not cleaned:
        raise ImportRefusedError(
            "No import was started.",
            why="No folder or zip is named.",
            fix="Write the name of a folder or zip above, or upload a zip.",
        )
    try:
        path = Path(cleaned).expanduser()
    except RuntimeError:  # `~name` of a user that this machine does not have
        path = Path(cleaned)
    if not path.is_absolute():
        raise ImportRefusedError(
            "No import was started.",
            why=f"The text {cleaned} is only a part of a name.",
            fix="Write the full name, from the top of the disk on.",
        )
    if not path.exists():
        raise ImportRefusedError(
            "No import was started.",
            why=f"There is no folder or zip {cleaned} on the computer that runs this app.",
            fix="Check the name. If the pictures are on another computer, upload a zip.",
        )
    return path, path.name


# --- what happens and what happened -----------------------------------------------------------


def result(ws: Workspace, shown: str | None = None) -> bool:
    """Draw the import that goes on, or what came of the last one; False when there was none.

    `shown` is the dataset on the page: what was refused is told beside its own pictures and no others.
    """
    newest = jobs.jobs(ws, kind=KIND, limit=1)
    if not newest:
        return False
    job, status = newest[0], jobs.status(ws, newest[0].id)
    if not status.ended:
        _live(ws, job)
    elif status.state == "finished" and status.end and status.end.result:
        _finished(ws, job, status.end.result, shown)
    elif status.state in {"stopped", "paused"}:
        feedback.note(f"{now.sentence(job, status)} Nothing of it was kept.")
    elif status.end is not None:
        feedback.problem(
            f"The pictures of “{job.name}” were not brought in.",
            why=status.end.cause,
            fix=status.end.fix,
        )
    return True


def _live(ws: Workspace, job: jobs.Job) -> None:
    # From disk at each look: the same choice can be made on other pages.
    st.session_state["dataset_paused"] = paused = state.updates_paused(ws)
    st.checkbox("Pause updates of the pages", key="dataset_paused", on_change=_pause, args=(ws,))
    st.fragment(run_every=None if paused else REFRESH_S)(_progress)(ws, job)


def _pause(ws: Workspace) -> None:
    state.pause_updates(ws, bool(st.session_state["dataset_paused"]))


def _progress(ws: Workspace, job: jobs.Job) -> None:
    status = jobs.status(ws, job.id)
    if status.ended:
        st.rerun()  # the form and the pictures stand outside of this part
    st.write(feedback.spoken(now.sentence(job, status)))
    share = min(1.0, status.step / status.total) if status.total else 0.0
    done = f"{status.step} of {status.total} pictures done" if status.total else "Not one picture is done yet"
    pace = f", {status.steps_per_s:.0f} a second" if status.steps_per_s and status.steps_per_s >= 1 else ""
    phase = f"{feedback.spoken(status.phase)}. " if status.phase else ""
    st.progress(share, text=f"{phase}{done}{pace}. {now.time_left(status)}.")
    st.button("Stop the import", key="dataset_stop", icon=icons.STOP, on_click=jobs.stop, args=(ws, job.id))
    st.caption("If you stop, nothing of this import is kept. Your own files stay as they are.")


def _finished(ws: Workspace, job: jobs.Job, where: str, shown: str | None) -> None:
    try:
        report = read_report(dataset_folder(ws, Path(where).name))
    except LoraError:
        report = None  # the dataset was renamed or removed since
    if report is None:
        st.write(feedback.spoken(now.sentence(job, jobs.status(ws, job.id))))
        return
    took = f"{state.counted(len(report.taken), 'picture')} and {state.counted(report.captions, 'caption')}"
    feedback.done(f"{took} were brought in {state.when(report.at)}. They are in the dataset “{report.name}”.")
    if shown not in {None, Path(where).name}:
        return
    _refused(report)
    if report.renamed:
        with st.expander(f"{state.counted(len(report.renamed), 'picture')} with a new name"):
            st.caption("Two pictures must not share a name, and some signs are not allowed in names.")
            st.markdown(bullets(f"{one.origin} is now {one.name}" for one in report.renamed))


def _refused(report: ImportReport) -> None:
    refused = report.refused
    if not refused:
        return
    title = f"{state.counted(len(refused), 'file')} could not be used."
    few = [f"{one.file}: {one.why}" for one in refused[:REFUSED_SEEN]]
    left = len(refused) - REFUSED_SEEN
    feedback.care("", title=title, lines=few if left <= 0 else [*few, f"And {left} more, listed below."])
    if left > 0:
        with st.expander(f"All {len(refused)} files that could not be used"):
            st.markdown(bullets(f"{one.file}: {one.why}" for one in refused))
