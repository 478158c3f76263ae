"""The machine card of Setup: one line a finding, with its state in a word, and one fix.

Covered: drawing the findings, and having torch asked by a job. Not covered: the findings
(`lora_core.machine`).
"""

from typing import Final

import streamlit as st

from lora_core import jobs, machine
from lora_core.jobs import places
from lora_core.machine import Finding, Machine
from lora_core.workspace import Workspace
from ui import feedback, icons, now, state
from ui.layout import Parts

KIND: Final = "machine"
REFRESH_S: Final = 2.0
STATES: Final = {
    "ok": ("Fine", icons.GOOD),
    "attention": ("Worth knowing", icons.CARE),
    "problem": ("To repair", icons.PROBLEM),
}


def draw(ws: Workspace, parts: Parts) -> None:
    """The card. Torch is asked in a process of its own: once by itself, later at the press of the button."""
    look = _newest_look(ws)
    if look is None and not machine.probe(ws).torch_known:
        with parts.happened, feedback.user_errors():  # the rest is known without torch
            look = jobs.create(ws, KIND, "This computer")
    asking = look is not None and not jobs.status(ws, look.id).ended
    with parts.do_it:
        again = st.button("Look at this computer again", key="look_again", icon=icons.CHECK, type="primary")
        if again and not asking:
            with feedback.user_errors():
                jobs.create(ws, KIND, "This computer")
                st.rerun()
    with parts.happened:
        # Waits for one answer; without a job there is nothing that could change.
        st.fragment(run_every=REFRESH_S if asking else None)(_card)(ws, look.id if asking and look else None)


def _newest_look(ws: Workspace) -> jobs.Job | None:
    found = jobs.jobs(ws, kind=KIND, limit=1)
    return found[0] if found else None


def _card(ws: Workspace, job_id: str | None) -> None:
    if job_id is not None:
        if jobs.status(ws, job_id).ended:
            st.rerun()
        st.write("PyTorch is being asked what it can use. This takes about 10 seconds.")
    found = machine.probe(ws)
    st.write(summary(found))
    for finding in found.findings:
        _line(finding)
    if said := places.said(ws):
        st.markdown(f"{icons.CARE} **Workspace. Worth knowing:** {feedback.spoken(said)}")
    look = _newest_look(ws)
    if look is not None:
        status = jobs.status(ws, look.id)
        if status.end:
            st.caption(f"{now.sentence(look, status)}")


def summary(found: Machine) -> str:
    """The card in one sentence."""
    count = {key: sum(finding.state == key for finding in found.findings) for key in STATES}
    parts = [f"{state.counted(count['ok'], 'thing')} {'is' if count['ok'] == 1 else 'are'} fine."]
    if count["attention"]:
        parts.append(f"{count['attention']} {'is' if count['attention'] == 1 else 'are'} worth knowing.")
    if count["problem"]:
        parts.append(f"{count['problem']} must be repaired before a training can start.")
    return " ".join(parts)


def _line(finding: Finding) -> None:
    word, icon = STATES[finding.state]
    value = finding.value[:1].upper() + finding.value[1:]
    if finding.state == "problem":
        feedback.problem(f"{finding.label}. {word}: {value}.", why=finding.sentence, fix=finding.fix)
        return
    fact = f"{feedback.spoken(value)}. {feedback.spoken(finding.sentence)}"
    fix = f" What you can do: {feedback.spoken(finding.fix)}" if finding.fix else ""
    st.markdown(f"{icon} **{finding.label}. {word}:** {fact}{fix}")
