"""The whole run as a zip: started as a job, watched, and handed over.

Covered: the button, the progress, the finished file. Not covered: what is in the zip
(`lora_core.runs.export`).
"""

from pathlib import Path
from typing import Final

import streamlit as st

from lora_core import jobs, runs
from lora_core.errors import LoraError
from lora_core.jobs import Job, Status
from lora_core.workspace import Workspace
from ui import feedback, icons, now, project, state
from ui.project import Project

REFRESH_S: Final = 2.0
_ERROR: Final = "guide_zip_error"
_SMALL: Final = 200_000_000
"""Bytes of a zip that is handed to the browser; a larger one is fetched from its folder."""


def draw(ws: Workspace, opened: Project, *, family: str) -> None:
    """The button, and what came of it for this project; while a zip is written, its progress instead."""
    st.write("The whole run is a zip with all files. It can be trained with sd-scripts on another computer.")
    if error := st.session_state.pop(_ERROR, None):
        feedback.show(error)
    found = jobs.jobs(ws, kind=runs.EXPORT, limit=1)
    newest = (found[0], jobs.status(ws, found[0].id)) if found else None
    if newest is not None and not newest[1].ended:
        st.fragment(run_every=None if state.updates_paused(ws) else REFRESH_S)(_progress)(ws, newest[0])
        return
    st.checkbox("Put the pictures and captions into the zip", value=True, key="guide_zip_images")
    st.button(
        "Make a zip of the run",
        key="guide_zip_make",
        icon=icons.SAVE,
        on_click=_start,
        args=(ws, opened.name, family),
    )
    if newest is not None and newest[0].project == opened.name:
        _result(*newest)


def _start(ws: Workspace, name: str, family: str) -> None:
    try:
        opened = project.open_or_new(ws, name)
        images = bool(st.session_state["guide_zip_images"])
        runs.start_export(ws, project.run_of(opened), family=family, images=images, project=opened.name)
    except LoraError as error:
        st.session_state[_ERROR] = error


def _progress(ws: Workspace, job: Job) -> None:
    status = jobs.status(ws, job.id)
    if status.ended:
        st.rerun()  # the button and the finished file stand outside of this part
    st.write(feedback.spoken(now.sentence(job, status)))
    share = min(1.0, status.step / status.total) if status.total else 0.0
    done = f"{status.step} of {status.total} files done" if status.total else "Not one file is done yet"
    st.progress(share, text=f"{done}. {now.time_left(status)}.")
    st.button(
        "Stop writing the zip", key="guide_zip_stop", icon=icons.STOP, on_click=jobs.stop, args=(ws, job.id)
    )


def _result(job: Job, status: Status) -> None:
    end = status.end
    if status.state == "finished" and end is not None and end.result:
        _finished(Path(end.result), status)
    elif status.state in {"failed", "lost"} and end is not None:
        feedback.problem("The zip was not written.", why=end.cause, fix=end.fix)
    elif status.state == "stopped":
        feedback.note(f"{now.sentence(job, status)} Nothing of it was kept.")


def _finished(path: Path, status: Status) -> None:
    path = path if path.is_absolute() else state.workspace().root / path
    if not path.is_file():
        return  # it was taken away since
    size = path.stat().st_size
    feedback.done(
        f"A zip with {state.counted(status.total or 0, 'file')} was written ({state.how_big(size)})."
    )
    st.code(str(path), language=None, wrap_lines=True)
    if status.notes:
        st.markdown("\n".join(f"- {feedback.spoken(note)}" for note in status.notes))
    if size <= _SMALL:
        st.download_button(
            "Download the zip",
            data=path.read_bytes,
            file_name=path.name,
            mime="application/zip",
            key="guide_zip_file",
            icon=icons.DOWNLOAD,
            on_click="ignore",
        )
