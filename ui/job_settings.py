"""What the user chose for while trainings run and after they end: each choice in a closed box of Setup.

Covered: keeping the computer awake, the queue's rule, cheaper settings when memory runs out, messages with
their test, the command at the end. Not covered: doing any of it (`lora_core.jobs`). All of it is kept at
once; addresses are secrets and are never shown again.
"""

import shlex
from dataclasses import replace
from typing import Final

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lora_core import jobs
from lora_core.errors import LoraError
from lora_core.jobs import awake, choices, notify
from lora_core.jobs.choices import AtEnd, Events
from lora_core.workspace import Workspace
from ui import feedback, icons, layout, queue_list, state

TITLE: Final = "While trainings run"
LADDER: Final = "If memory runs out, go on with cheaper settings"
RESTART: Final = "After a restart of the computer, go on with the training that was cut off"
AWAKE: Final = "Keep the computer awake while a job runs"
TEST_KIND: Final = "notify_test"
REFRESH_S: Final = 2.0

_SAID: Final = "job_settings_said"
_WRONG: Final = "job_settings_wrong"
_ADDRESS: Final = "notify_address"
_COMMAND: Final = "end_command"
_ALSO: Final = "end_also"
_EVENTS: Final = {
    "end": "A training finished",
    "failure": "A training did not end well",
    "stall": "A training makes no more steps",
}


def draw(ws: Workspace) -> None:
    """The boxes, with what was just changed above them."""
    layout.subheader(TITLE)
    if said := st.session_state.pop(_SAID, None):
        feedback.done(said)
    if wrong := st.session_state.pop(_WRONG, None):
        feedback.show(wrong)
    with feedback.user_errors():
        with st.expander("The computer stays awake", key="box_awake"):
            _awake(ws)
        with st.expander("When something goes wrong", key="box_wrong"):
            _when_wrong(ws)
        with st.expander("Messages to your phone or mail", key="box_messages"):
            _messages(ws)
        with st.expander("A command at the end", key="box_command"):
            _command(ws)


def _close() -> DeltaGenerator:
    """A field and the words about it, close together: one sees which belong to which."""
    return st.container(gap="xxsmall")


def _awake(ws: Workspace) -> None:
    st.session_state["keep_awake"] = choices.kept_awake(ws)
    with _close():
        st.checkbox(AWAKE, key="keep_awake", on_change=lambda: _keep_awake(ws))
        st.caption(feedback.spoken(awake.state(ws).sentence))


def _keep_awake(ws: Workspace) -> None:
    try:
        choices.keep_awake(ws, bool(st.session_state["keep_awake"]))
    except LoraError as error:
        st.session_state[_WRONG] = error


def _when_wrong(ws: Workspace) -> None:
    with _close():
        queue_list.rule(ws, key="queue_rule_setup")
        st.caption("Trainings that wait then stay where they are. You let them go on yourself.")
    st.session_state["after_restart"] = jobs.queue_rules(ws).resume_after_restart
    with _close():
        st.checkbox(RESTART, key="after_restart", on_change=lambda: _after_restart(ws))
        st.caption("It goes on from its last save, as soon as the app or its service runs again.")
    st.session_state["retry_ladder"] = state.retry_ladder(ws)
    with _close():
        st.checkbox(
            LADDER,
            key="retry_ladder",
            on_change=lambda: state.choose_retry_ladder(ws, on=bool(st.session_state["retry_ladder"])),
        )
        st.caption(
            "It goes on from the last save with the next cheaper setting. Each change is noted at the "
            "training. This counts for trainings that you start from now on."
        )


def _after_restart(ws: Workspace) -> None:
    chosen = replace(jobs.queue_rules(ws), resume_after_restart=bool(st.session_state["after_restart"]))
    try:
        jobs.set_queue_rules(ws, chosen)
    except LoraError as error:
        st.session_state[_WRONG] = error


def _messages(ws: Workspace) -> None:
    st.write("The app can send a message when a training ends. Nothing is sent until you add an address.")
    for address in notify.addresses(ws):
        st.markdown(
            f"- {feedback.spoken(f'{address.service}, mark {address.fingerprint}. {address.sentence}')}"
        )
    known = notify.addresses(ws)
    with st.form("notify_form", clear_on_submit=True, border=False):
        with _close():
            st.text_input(
                "Address of a message service", key=_ADDRESS, type="password", autocomplete="off", width=520
            )
            st.caption("For example ntfy://my-topic. It is kept as a secret.")
            st.caption("All services and how their addresses look: the documentation of Apprise.")
        if st.form_submit_button("Add this address", icon=icons.ADD):
            with st.spinner("Checking the address. This takes a second or two."):
                _add(ws)
            st.rerun()
    if not known:
        return
    chosen = notify.events(ws)
    st.write("Send a message when:")
    for name, label in _EVENTS.items():
        st.session_state[f"notify_{name}"] = getattr(chosen, name)
        st.checkbox(label, key=f"notify_{name}", on_change=lambda: _choose_events(ws))
    _test(ws)
    kept = [address for address in known if address.place != "environment"]
    with st.container(horizontal=True):
        for address in kept:
            st.button(
                f"Remove the address {address.service}, mark {address.fingerprint}",
                key=f"notify_remove_{address.fingerprint}",
                icon=icons.REMOVE,
                on_click=_remove,
                args=(ws, address.fingerprint),
                wrap=True,
            )


def _add(ws: Workspace) -> None:
    try:
        added = notify.add(ws, str(st.session_state[_ADDRESS]))
        st.session_state[_SAID] = f"The address of {added.service} was added. {added.sentence}"
    except LoraError as error:
        st.session_state[_WRONG] = error


def _remove(ws: Workspace, fingerprint: str) -> None:
    try:
        gone = notify.remove(ws, fingerprint)
        st.session_state[_SAID] = f"The address of {gone.service} was removed."
    except LoraError as error:
        st.session_state[_WRONG] = error


def _choose_events(ws: Workspace) -> None:
    try:
        notify.set_events(ws, Events(**{name: bool(st.session_state[f"notify_{name}"]) for name in _EVENTS}))
    except LoraError as error:
        st.session_state[_WRONG] = error


def _test(ws: Workspace) -> None:
    """The test is a job: a service may take a minute to answer."""
    asked = jobs.jobs(ws, kind=TEST_KIND, limit=1)
    going = bool(asked) and not jobs.status(ws, asked[0].id).ended
    if st.button("Send a test message", key="notify_test", icon=icons.MESSAGE) and not going:
        jobs.create(ws, TEST_KIND, "Test message")
        st.rerun()
    if asked:
        st.fragment(run_every=REFRESH_S if going else None)(_test_result)(ws, asked[0].id, going)


def _test_result(ws: Workspace, job_id: str, going: bool) -> None:
    status = jobs.status(ws, job_id)
    if status.end is None:
        st.write("The test message is being sent. This takes up to a minute.")
        return
    if going:
        st.rerun()  # the timer ends with it
    at = state.when(status.end.at)
    if status.state == "finished":
        feedback.done(f"The test message was sent {at}.")
    else:
        feedback.care(f"{status.end.cause} {status.end.fix}", title=f"The test message was not sent {at}.")


def _command(ws: Workspace) -> None:
    chosen = choices.at_end(ws)
    st.write(
        "This command runs when the last training has ended. For example, it can switch off a rented "
        "computer. It runs only after the result was checked."
    )
    if chosen.problem:
        feedback.care(chosen.problem)
    st.session_state[_COMMAND] = shlex.join(chosen.command)
    st.session_state[_ALSO] = chosen.also_after_failure
    with _close():
        st.text_input("Command at the end", key=_COMMAND, width=520, on_change=lambda: _keep_command(ws))
        st.caption("One program with what it is given, such as: sudo poweroff. Leave it empty for none.")
        st.caption("It is kept when you leave the field. Signs such as && and > have no effect in it.")
    st.checkbox(
        "Run it also after a training that did not end well", key=_ALSO, on_change=lambda: _keep_command(ws)
    )


def _keep_command(ws: Workspace) -> None:
    before = choices.at_end(ws)
    try:
        parts = tuple(shlex.split(str(st.session_state[_COMMAND])))
    except ValueError:
        st.session_state[_WRONG] = LoraError(
            "The command was not kept.",
            why="A quotation mark in it has no partner.",
            fix="Add the missing quotation mark, or take the other one away.",
        )
        return
    try:
        choices.set_at_end(
            ws,
            AtEnd(
                command=parts, also_after_failure=bool(st.session_state[_ALSO]), timeout_s=before.timeout_s
            ),
        )
        st.session_state[_SAID] = (
            "The command at the end was kept." if parts else "There is no command at the end."
        )
    except LoraError as error:
        st.session_state[_WRONG] = error
