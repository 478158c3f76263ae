"""From a run that has ended to the next one: with the same settings, longer, or with others.

Covered: putting a run's settings into the form, with a change that mends what it failed of; going on from
its last state for some epochs more and what that does to the learning rate; the way to the form. Not covered:
going on with a run that was stopped (`ui/run_resume.py`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import streamlit as st

from lora_core import jobs, planning, projects, runs, settings
from lora_core.errors import LoraError
from lora_core.jobs import Job, Status, explain
from lora_core.jobs.states import SavedState
from lora_core.runs import ladder
from lora_core.settings import RunConfig, Setting
from lora_core.workspace import Workspace
from ui import charts, feedback, guide_steps, icons, project, run_choice, state

_EPOCHS: Final = "longer_epochs"
_WRONG: Final = "again_wrong"
_USUAL: Final = "2"
_MENDS: Final = 2
"""Most buttons with a change that helps; the first ones help most."""


def draw(ws: Workspace, job: Job, status: Status) -> None:
    """What can be done beside what fits the run's state."""
    if error := st.session_state.pop(_WRONG, None):
        feedback.show(error)
    with st.container(horizontal=True, key="guide_again"):
        if status.ended:
            for number, (setting, value) in enumerate(mends(job, status)):
                st.button(
                    f"Train again with “{setting.label}”: {settings.in_words(setting, value)}",
                    key=f"mend_{setting.key}",
                    icon=icons.MEND,
                    type="secondary" if number else "primary",  # it helps; the same settings again do not
                    on_click=_again,
                    args=(ws, job, {setting.key: value}),
                    wrap=True,
                )
            st.button(
                f"Train again with the settings of “{_short(job.name)}”",
                key="train_again", icon=icons.AGAIN, on_click=_again, args=(ws, job), wrap=True,
            )  # fmt: skip
        st.button(
            "Go to the form of a new training", key="to_form", icon=icons.ADD, on_click=_form, args=(ws,)
        )
    if status.state == "finished":
        box = st.expander("Train longer", key=f"longer_{job.id}", on_change="rerun")
        if box.open:
            with box:
                _longer(ws, job)


def _short(name: str, most: int = 24) -> str:
    return feedback.spoken(name if len(name) <= most else f"{name[: most - 1]}…")


def _form(ws: Workspace) -> None:
    opened = project.open_one(ws) or project.open_or_new(ws)
    guide_steps.go(guide_steps.first(opened))


def mends(job: Job, status: Status) -> list[tuple[Setting, Any]]:
    """The settings that help against the error that the run failed of, where they are not so already.

    Full memory of the graphics card is left to the ladder (`ui/run_resume.py`): it goes on with the same run.
    """
    row = status.end.row if status.end and status.state in {"failed", "lost"} else ""
    fixes = (
        next((one.fixes for one in explain.ROWS if one.id == row), ()) if row != ladder.OUT_OF_MEMORY else ()
    )
    found: list[tuple[Setting, Any]] = []
    for key, value in fixes:
        setting = settings.setting(key)
        try:
            run = _settings(job)
            changed = settings.with_values(run, {key: value}) != run
        except LoraError:
            return []  # its files cannot be read, and "train again" says so
        if changed and (job.engine or settings.BUILT_IN) in setting.engines:
            found.append((setting, value))
    return found[:_MENDS]


def _again(ws: Workspace, job: Job, changes: Mapping[str, Any] | None = None) -> None:
    """Copy the run's settings into its project, with `changes`, as one step that can be taken back."""
    try:
        run = settings.with_values(_settings(job), changes or {})
        before = projects.load_or_new(ws, job.project or project.NEW)
        made = project.of_run(before.name, run)
        after = replace(
            before, values=made.values, repeats=made.repeats, texts={}, **projects.others_of(run),
            engine=job.engine or settings.BUILT_IN,
        )  # fmt: skip
        project.save(ws, after, what=f"The settings of the training “{job.name}” were put in.")
        guide_steps.go(guide_steps.REVIEW)
    except LoraError as error:
        st.session_state[_WRONG] = error


def _settings(job: Job) -> RunConfig:
    """What the run was started with; its prompts as lines, because their file belongs to the run."""
    run = runs.settings_of(job)
    if isinstance(run.sampling.sample_prompts, Path) and (lines := runs.prompts_of(job)):
        return settings.with_values(run, {"sample_prompts": tuple(lines)})
    return run


def _longer(ws: Workspace, job: Job) -> None:
    states = jobs.states(ws, job.id)
    if not states:
        label = settings.setting("save_state_on_train_end").label
        st.write("No state was saved at its end, so it cannot go on from there.")
        st.write(f"For the next training, turn on the setting “{label}”.")
        return
    st.text_input("How many epochs more", value=_USUAL, key=_EPOCHS, width=520)
    st.caption("An epoch is one time through all pictures.")
    with feedback.user_errors():
        epochs = _number(st.session_state[_EPOCHS])
        if epochs is None:
            feedback.care("Write a whole number, such as 2.")
            return
        found = longer(_settings(job), states[0], epochs)
        st.write(found.sentence)
        st.caption("It is a training of its own. The finished LoRA of the first one stays as it is.")
        if st.button(f"Train {state.counted(epochs, 'epoch')} longer", key="train_longer", icon=icons.LONGER):
            made = runs.start_run(
                ws, found.run, engine=job.engine or settings.BUILT_IN, name=job.name, parent=job.id,
                project=job.project, retry_ladder=state.retry_ladder(ws),
            )  # fmt: skip
            run_choice.choose(made.id)
            st.rerun()


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 10_000 else None


@dataclass(frozen=True, slots=True)
class Longer:
    """A run that goes on, and what happens to its learning rate, in sentences."""

    run: RunConfig
    sentence: str


def longer(run: RunConfig, saved: SavedState, epochs: int) -> Longer:
    """`run` from its last state for `epochs` more."""
    before = planning.plan(run)
    per_epoch = before.steps_per_epoch if before else 1
    total = saved.step + epochs * per_epoch
    values = {"resume": saved.path, "max_train_steps": total, "max_train_epochs": None}
    if run.schedule.max_train_epochs and saved.step % per_epoch == 0:
        values = {"resume": saved.path, "max_train_epochs": math.ceil(total / per_epoch)}
    made = settings.with_values(run, values)
    told = (
        f"It goes on at step {saved.step} and ends at step {total}. "
        f"That is {state.counted(epochs, 'epoch')} or {state.counted(total - saved.step, 'step')} more."
    )
    old, new = planning.course(run, max(saved.step, 1)), planning.course(made, total)
    ended, begins = old.at(saved.step), new.at(saved.step + 1)
    if ended is None or begins is None:
        return Longer(made, f"{told} {new.why}")
    told += f" The learning rate was {charts.short(ended)} at the end."
    if charts.short(ended) == charts.short(begins):
        return Longer(made, f"{told} It stays so at first.")
    last = charts.short(new.rates[-1])
    told += (
        f" Its course is laid over the new length. So it goes on at {charts.short(begins)} "
        f"and ends at {last}."
    )
    return Longer(made, told)
