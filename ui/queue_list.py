"""The trainings that wait: in which order, why each one waits, and what one can do about it.

Covered: moving, holding, a time to start, taking out with a way back, the rule to stop after a failure. Not
covered: the order itself and the reasons (`lora_core.jobs`), and the run that is looked at
(`ui/run_actions.py`). A press is answered by the list as it is after it, never by a promise.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import streamlit as st

from lora_core import jobs
from lora_core.errors import LoraError
from lora_core.jobs import Job, Queued
from lora_core.workspace import Workspace
from ui import feedback, icons, layout, now, state

REFRESH_S: Final = 5.0
TITLE: Final = "Trainings that wait"
RULE: Final = "Stop the queue after a training that did not end well"
SHOWN: Final = 3
"""Rows of a long queue that are shown at first: how the training goes stands below the list."""

_WRONG: Final = "queue_wrong"
_CHANGED: Final = "queue_changed"
_TAKEN: Final = "queue_taken_out"


def draw(ws: Workspace) -> None:
    """The list, where something waits or was just taken out; nothing otherwise.

    What starts in a moment is not waiting: a list that is gone a second later would only move the page.
    """
    st.session_state.pop(_CHANGED, None)  # the whole page is being drawn, after what was pressed
    waiting, wrong = not all(one.starts for one in jobs.queue(ws)), st.session_state.pop(_WRONG, None)
    if not waiting and wrong is None and _TAKEN not in st.session_state:
        return
    moving = waiting and not state.updates_paused(ws)
    st.fragment(run_every=REFRESH_S if moving else None)(_part)(ws, wrong)


def _part(ws: Workspace, wrong: LoraError | None) -> None:
    if st.session_state.pop(_CHANGED, False):
        st.rerun()  # the rest of the page shows the same jobs
    layout.subheader(TITLE)
    if wrong is not None:  # handed over, so that it stays when the list is drawn again by itself
        feedback.show(wrong)
    with feedback.user_errors():
        _taken_out(ws)
        _list(ws)


def _list(ws: Workspace) -> None:
    found = jobs.queue(ws)
    if not found:
        st.write("Nothing waits.")
        return
    _after_failure(ws)
    names = called([queued.job for queued in found])
    whole = len(found) <= SHOWN or st.checkbox(f"Show all {len(found)} that wait", key="queue_all")
    for queued in found if whole else found[:SHOWN]:
        _row(ws, queued, found, names)
    rule(ws, key="queue_rule")


def called(found: Sequence[Job]) -> dict[str, str]:
    """What each is called in the list; those with the same name also by their number."""
    short = {job.id: f"“{now.short(job.name, 18)}”" for job in found}
    often = Counter(short.values())
    return {
        job_id: name if often[name] == 1 else f"{name}, number {place}"
        for place, (job_id, name) in enumerate(short.items(), 1)
    }


def _row(ws: Workspace, queued: Queued, found: Sequence[Queued], names: dict[str, str]) -> None:
    job, name = queued.job, names[queued.job.id]
    with st.container(key=f"queued_{job.id}", border=True):
        with st.container(gap="xxsmall"):
            st.markdown(f"**{queued.place}. {feedback.spoken(now.name_of(job))}**")
            st.write(feedback.spoken(queued.why))
        if jobs.status(ws, job.id).elsewhere:
            return  # it is for the other computer to start it
        with st.container(horizontal=True):
            _moves(ws, queued, found, feedback.spoken(name))
            _button(
                f"Take {feedback.spoken(name)} out",
                "out",
                job,
                icons.REMOVE,
                partial(_take_out, ws, job, found),
            )
        box = st.expander(
            f"Hold or release {feedback.spoken(name)}, or start it later",
            key=f"later_{job.id}",
            on_change="rerun",
        )
        if box.open:
            with box:
                _hold(ws, queued, feedback.spoken(name))
                _time(ws, queued, feedback.spoken(name))


def _moves(ws: Workspace, queued: Queued, found: Sequence[Queued], name: str) -> None:
    ids, at = [one.job.id for one in found], queued.place - 1
    if at > 0:
        up = partial(jobs.reorder, ws, queued.job.id, before=ids[at - 1])
        _button(f"Move {name} up", "up", queued.job, icons.UP, up)
    if at < len(ids) - 1:
        after = ids[at + 2] if at + 2 < len(ids) else None
        down = partial(jobs.reorder, ws, queued.job.id, before=after)
        _button(f"Move {name} down", "down", queued.job, icons.DOWN, down)


def _hold(ws: Workspace, queued: Queued, name: str) -> None:
    if queued.held:
        st.caption("It waits until you release it. Others may start before it.")
        _button(
            f"Release {name}", "release", queued.job, icons.START, partial(jobs.release, ws, queued.job.id)
        )
    else:
        st.caption("A training that is held keeps its place. It starts when you release it.")
        _button(f"Hold {name}", "hold", queued.job, icons.HOLD, partial(jobs.hold, ws, queued.job.id))


def _time(ws: Workspace, queued: Queued, name: str) -> None:
    widget = f"not_before_{queued.job.id}"
    st.text_input("Not before this time", key=widget, placeholder="22:00", width=240)
    st.caption("Write hours and minutes. A time that has passed today means tomorrow.")
    with st.container(horizontal=True):
        _button(
            f"Set the time of {name}",
            "at",
            queued.job,
            icons.CLOCK,
            partial(_set_time, ws, queued.job, widget),
        )
        if queued.not_before is not None:
            clear = partial(jobs.start_at, ws, queued.job.id, None)
            _button(f"Take the time of {name} away", "any", queued.job, icons.UNDO, clear)


def _set_time(ws: Workspace, job: Job, widget: str) -> None:
    text = str(st.session_state.get(widget, ""))
    when = moment(text, time.time())
    if when is None:
        raise LoraError(
            "The time was not set.",
            why=f"“{text}” is no time of day.",
            fix="Write a time such as 22:00 or 7:30.",
        )
    jobs.start_at(ws, job.id, when)


def moment(text: str, after: float) -> float | None:
    """The next moment after Unix time `after` at which a clock shows `text`; None if no clock ever does."""
    try:
        clock = datetime.strptime(text.strip().replace(".", ":").replace(" ", ""), "%H:%M")  # noqa: DTZ007  a time of day
    except ValueError:
        return None
    start = datetime.fromtimestamp(after)  # noqa: DTZ006  as the clock on the wall shows it, also across its change
    then = start.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    if then <= start:
        then += timedelta(days=1)
    return then.timestamp()


def _take_out(ws: Workspace, job: Job, found: Sequence[Queued]) -> None:
    ids = [queued.job.id for queued in found]
    after = ids[ids.index(job.id) + 1 :]
    jobs.remove(ws, job.id)
    st.session_state[_TAKEN] = (job.id, after)


def _taken_out(ws: Workspace) -> None:
    """What was taken out last, with the way back."""
    job_id, after = st.session_state.get(_TAKEN, ("", []))
    if not job_id:
        return
    job = jobs.get(ws, job_id)
    if jobs.status(ws, job_id).state != "stopped":
        del st.session_state[_TAKEN]  # it is back, perhaps by another tab
        return
    feedback.note(f"{now.name_of(job)} was taken out. Nothing else was changed.")
    name = feedback.spoken(f"“{now.short(job.name, 18)}”")
    _button(f"Put {name} back", "back", job, icons.UNDO, partial(_put_back, ws, job, after))


def _put_back(ws: Workspace, job: Job, after: Sequence[str]) -> None:
    """In its old place: before the first of those that stood behind it and still wait."""
    jobs.resume(ws, job.id)
    del st.session_state[_TAKEN]
    waiting = {queued.job.id for queued in jobs.queue(ws)}
    if behind := next((one for one in after if one in waiting), None):
        jobs.reorder(ws, job.id, before=behind)


def _after_failure(ws: Workspace) -> None:
    """Why nothing goes on, and the one button that lets it."""
    failed = jobs.stopped_by(ws)
    if failed is None:
        return
    feedback.care(
        f"The queue waits, because {now.name_of(failed)} did not end well. You chose this rule below."
    )
    _button("Go on with the queue", "go_on", failed, icons.GO, partial(jobs.go_on, ws))


def rule(ws: Workspace, *, key: str) -> None:
    """The one rule of the queue."""
    # Set before it is drawn: another tab, or the other place that shows it, may have changed it.
    st.session_state[key] = jobs.queue_rules(ws).stop_after_failure
    st.checkbox(RULE, key=key, on_change=_act, args=(partial(_choose, ws, key),))


def _choose(ws: Workspace, key: str) -> None:
    chosen = replace(jobs.queue_rules(ws), stop_after_failure=bool(st.session_state[key]))
    jobs.set_queue_rules(ws, chosen)


def _button(label: str, does: str, job: Job, icon: str, act: Callable[[], Any]) -> None:
    st.button(label, key=f"queue_{does}_{job.id}", icon=icon, on_click=_act, args=(act,), wrap=True)


def _act(act: Callable[[], Any]) -> None:
    """In a callback, so that a press also counts when the row it was on is not drawn any more."""
    try:
        act()
    except LoraError as error:
        st.session_state[_WRONG] = error
    st.session_state[_CHANGED] = True
