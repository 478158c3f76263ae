"""One run as it is now: phase, steps, time left, loss, learning rate, samples, notes, how it ended.

Covered: the part of the Training page that refreshes by itself, and only while something can change. Not
covered: starting, stopping and going on (`ui/run_actions.py`), comparing runs (`ui/run_list.py`).
"""

from typing import Final

import streamlit as st

from lora_core import jobs, runs
from lora_core.jobs import Job, Status
from lora_core.runs import Curve
from lora_core.workspace import Workspace
from ui import charts, feedback, layout, now, pictures, run_actions, state
from ui.charts import Line
from ui.thumb_routes import sample_url

REFRESH_S: Final = 3.0
LOG_LINES: Final = 50
"""The newest lines; on a phone 200 would be a page as long as forty windows."""
SILENT_S: Final = 30.0
"""After so long without a new figure a sentence says so."""


def draw(ws: Workspace, job: Job, drawn: Status) -> None:
    """The run. Its figures are read again every 3 seconds until it has ended or updates are paused.

    `drawn` is the status that the rest of the page was drawn from. When another button fits, because the run
    went on to another state or another tab acted on it, the whole page is drawn again.
    """
    offered = run_actions.offer(drawn)
    live = not drawn.ended or offered == "wait"
    paused = state.updates_paused(ws)

    def look() -> Status:
        status = jobs.status(ws, job.id)
        if run_actions.offer(status) != offered:
            st.rerun()
        return status

    # The interval is fixed when the fragment is defined: after it is known whether anything can change.
    @st.fragment(run_every=REFRESH_S if live and not paused else None)
    def panel() -> None:
        status = look()
        with feedback.user_errors():
            _state(job, status)
            _figures(job)
            _samples(job)
            _notes(status)
            _log(ws, job)

    panel()
    if offered == "go on":  # all figures stand, but somebody may go on with it in another tab
        st.fragment(run_every=None if paused else REFRESH_S)(look)()


def _state(job: Job, status: Status) -> None:
    name = now.sentence(job, status)
    if status.state == "finished":
        feedback.done(name)
    elif status.ended and status.end:
        cause, fix = status.end.cause, status.end.fix
        if status.state in {"failed", "lost"}:
            feedback.problem(name, why=cause, fix=fix)
        else:
            feedback.note(f"{cause} {fix}".strip(), title=name)
    elif now.ending(status):
        # Not the job's own message: that counts seconds down, and a countdown is pressure.
        st.write(f"{feedback.spoken(name)} It ends as soon as that is done, at the latest in about a minute.")
    else:
        st.write(feedback.spoken(name))
    st.progress(now.share_of(job, status), text=progress_text(job, status))


def progress_text(job: Job, status: Status) -> str:
    """Done, total, rate and time left, in one line: `120 of 400 steps done. 5.2 steps a second. …`"""
    parts = [now.step_words(job, status)]
    if status.phase and not status.ended:
        parts.insert(0, feedback.spoken(status.phase))
    if not status.ended and not now.ending(status):
        if status.steps_per_s:
            parts.append(rate(status.steps_per_s))
        parts.append(now.time_left(status))
    return ". ".join(parts) + "."


def rate(steps_per_s: float) -> str:
    """`5.2 steps a second`, or for slow runs `12 seconds a step`."""
    if steps_per_s >= 1:
        return f"{charts.short(steps_per_s)} steps a second"
    return f"{charts.short(1 / steps_per_s)} seconds a step"


def curve_of(job: Job) -> Curve:
    """The run's figures; only what is new since the last look is read."""
    followed = st.session_state.setdefault("followed_runs", {})
    if job.id not in followed:
        followed.clear()  # one run is looked at; another one is read again, in a tenth of a second
        followed[job.id] = runs.Progress(job.folder)
    followed[job.id].refresh()
    curve: Curve = followed[job.id].curve
    return curve


def _figures(job: Job) -> None:
    curve = curve_of(job)
    layout.subheader("Loss")
    if not curve.steps:
        st.write("There is no number yet. The first one comes with the first step.")
        return
    st.caption("The loss is how far the model is from the training pictures. Lower is closer.")
    shown = runs.thin(curve)
    lines = [
        Line(name="Loss of each step", steps=shown.steps, values=shown.loss, pale=True),
        Line(name="Smoothed loss", steps=shown.steps, values=shown.smoothed),
    ]
    if shown.validation:
        steps, values = shown.validation_steps, shown.validation
        lines.append(Line(name="Validation loss", steps=steps, values=values, dots=True))
    charts.draw(
        lines,
        sentence=charts.trend("The smoothed loss", curve.smoothed, steps=curve.steps[-1]),
        y_title="Loss",
        key=f"loss_{job.id}",
        table="The loss in numbers",
    )
    layout.subheader("Learning rate")
    st.caption("The learning rate is the size of each step of learning.")
    charts.draw(
        [Line(name="Learning rate", steps=shown.steps, values=shown.lr)],
        sentence=charts.course("The learning rate", curve.lr, curve.steps),
        y_title="Learning rate",
        from_zero=True,
        key=f"rate_{job.id}",
        table="The learning rate in numbers",
    )


def _samples(job: Job) -> None:
    found = runs.samples_of(job)
    if not found:
        return
    layout.subheader("Sample pictures")
    st.caption("Pictures that were made during the training. They show what the LoRA has learned so far.")
    prompts = runs.prompts_of(job)
    moments = list(dict.fromkeys(_moment(sample) for sample in found))
    for moment in reversed(moments):  # the newest first: it is what one comes back for
        of_moment = [sample for sample in found if _moment(sample) == moment]
        st.markdown(f"**{moment}**")
        pictures.row(
            [
                pictures.Picture(
                    address=sample_url(job.id, sample.path.name),
                    alt=f"Sample {moment.lower()}: {_prompt(prompts, sample.prompt)}",
                    caption=_prompt(prompts, sample.prompt),
                )
                for sample in of_moment
            ]
        )


def _moment(sample: runs.Sample) -> str:
    if sample.step is None:
        return f"After epoch {sample.epoch}"
    return f"After step {sample.step}" if sample.step else "Before the first step"


def _prompt(prompts: list[str], index: int) -> str:
    """The prompt without the flags for the sampler."""
    return prompts[index].split(" --")[0] if index < len(prompts) else f"Prompt {index + 1}"


def _notes(status: Status) -> None:
    if status.notes:
        layout.subheader("Notes")
        st.markdown("\n".join(f"- {feedback.spoken(note)}" for note in dict.fromkeys(status.notes)))


def _log(ws: Workspace, job: Job) -> None:
    box = st.expander("What the training program printed", key=f"log_{job.id}", on_change="rerun")
    with box:
        if box.open:
            lines = jobs.log_tail(ws, job.id, LOG_LINES)
            st.write(f"The newest lines, at most {LOG_LINES}. All of them are in this file:")
            st.code(str(job.log), language=None, wrap_lines=True)
            st.code("\n".join(lines) or "Nothing was printed.", language=None, wrap_lines=True)
