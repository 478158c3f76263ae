"""The queue on the Training page and the activity strip: order, hold, times, taking out, what runs."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import made_runs as made
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lora_core import jobs
from lora_core.jobs import End, Job, requests
from lora_core.jobs.records import write_status
from lora_core.workspace import Workspace
from ui import activity, icons, layout, now, queue_list, run_actions, state

Open = Callable[..., AppTest]
WORKING = {"phase": "Training", "steps_per_s": 0.4, "eta_s": 1500.0}


@pytest.fixture(autouse=True)
def alone(ws: Workspace) -> Iterator[None]:
    """Nobody starts what waits here."""
    with made.no_runner(ws):
        yield


def waiting(ws: Workspace, *names: str) -> list[Job]:
    return [jobs.create(ws, "train", name, start=False) for name in names]


def order(ws: Workspace) -> list[str]:
    return [queued.job.name for queued in jobs.queue(ws)]


def strip(app: AppTest) -> str:
    links = [element.proto.label for element in app.get("page_link") if element.proto.icon == icons.RUNNING]
    return links[0].replace("\\", "") if links else ""


def shown(app: AppTest) -> str:
    return " ".join(str(element.value) for kind in ("markdown", "caption") for element in app.get(kind))


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [one for one in app.button if one.label.replace("\\", "") == label]
    button.click().run()
    assert not app.exception
    return app


def test_moving_changes_the_order_in_which_they_start_and_the_list_shows_it(
    ws: Workspace, open_page: Open
) -> None:
    waiting(ws, "cat", "dog", "bird")
    app = open_page(layout.TRAINING)
    press(app, "Move “bird” up")
    assert order(ws) == ["cat", "bird", "dog"]
    press(app, "Move “cat” down")
    assert order(ws) == ["bird", "cat", "dog"]
    labels = [button.label for button in app.button]
    assert "Move “bird” up" not in labels, "the first one is moved up"
    assert "Move “dog” down" not in labels, "the last one is moved down"
    rows = [element.value for element in app.markdown if element.value.startswith("**")]
    assert [row for row in rows if "Training" in row] == [
        "**1. Training “bird”**", "**2. Training “cat”**", "**3. Training “dog”**"
    ]  # fmt: skip


def test_trainings_of_the_same_name_are_told_apart_by_their_number(ws: Workspace, open_page: Open) -> None:
    waiting(ws, "cat", "dog", "cat")
    app = open_page(layout.TRAINING)
    press(app, "Move “cat”, number 3 up")
    assert order(ws) == ["cat", "cat", "dog"]
    assert len({button.label for button in app.button}) == len(app.button)


def test_the_page_of_a_held_training_has_its_release_as_the_main_button(
    ws: Workspace, open_page: Open
) -> None:
    held = jobs.create(ws, "train", "cat", start=False, hold=True)
    app = open_page(layout.TRAINING)
    assert [b.label for b in app.button if b.proto.type == "primary"] == [run_actions.RELEASE]
    press(app, run_actions.RELEASE)
    assert not jobs.status(ws, held.id).held
    assert [b.label for b in app.button if b.proto.type == "primary"] == []


def test_one_that_is_held_says_so_until_it_is_released(ws: Workspace, open_page: Open) -> None:
    cat, _dog = waiting(ws, "cat", "dog")
    app = open_page(layout.TRAINING)
    app.session_state[f"later_{cat.id}"] = True
    press(app.run(), "Hold “cat”")
    assert jobs.queue(ws)[0].held
    assert "It is held until you release it." in shown(app)
    press(app, "Release “cat”")
    assert not jobs.queue(ws)[0].held


def test_what_starts_in_a_moment_is_no_list_of_what_waits(ws: Workspace, open_page: Open) -> None:
    waiting(ws, "cat")
    assert queue_list.TITLE not in [element.value for element in open_page(layout.TRAINING).subheader]
    waiting(ws, "dog")
    assert queue_list.TITLE in [element.value for element in open_page(layout.TRAINING).subheader]


def test_a_time_to_start_is_written_kept_and_taken_away(ws: Workspace, open_page: Open) -> None:
    cat, _dog = waiting(ws, "cat", "dog")
    app = open_page(layout.TRAINING)
    app.session_state[f"later_{cat.id}"] = True
    app.run()
    app.text_input(key=f"not_before_{cat.id}").set_value("half past ten").run()
    press(app, "Set the time of “cat”")
    assert "is no time of day" in app.error[0].value
    app.text_input(key=f"not_before_{cat.id}").set_value("22:05").run()
    press(app, "Set the time of “cat”")
    at = jobs.queue(ws)[0].not_before
    assert at is not None
    assert (time.time() < at, time.strftime("%H:%M", time.localtime(at))) == (True, "22:05")
    assert not app.error
    press(app, "Take the time of “cat” away")
    assert jobs.queue(ws)[0].not_before is None


@pytest.mark.parametrize(("text", "clock"), [("7:30", "07:30"), (" 22.05 ", "22:05"), ("0:00", "00:00")])
def test_a_time_of_day_is_its_next_moment(text: str, clock: str) -> None:
    now_ = time.time()
    found = queue_list.moment(text, now_)
    assert found is not None
    assert now_ < found <= now_ + 25 * 3600
    assert time.strftime("%H:%M", time.localtime(found)) == clock


@pytest.mark.parametrize("text", ["", "25:00", "7", "noon", "7:99"])
def test_what_no_clock_shows_is_no_time(text: str) -> None:
    assert queue_list.moment(text, time.time()) is None


def test_what_is_taken_out_comes_back_to_its_place(ws: Workspace, open_page: Open) -> None:
    waiting(ws, "cat", "dog", "bird")
    app = open_page(layout.TRAINING)
    press(app, "Take “dog” out")
    assert order(ws) == ["cat", "bird"]
    assert any("“dog” was taken out" in element.value for element in app.info)
    press(app, "Put “dog” back")
    assert order(ws) == ["cat", "dog", "bird"]
    assert not app.info


def test_one_that_started_meanwhile_is_not_moved_and_that_is_said(ws: Workspace, open_page: Open) -> None:
    cat, _dog = waiting(ws, "cat", "dog")
    app = open_page(layout.TRAINING)
    jobs.stop(ws, cat.id)  # by another tab
    press(app, "Move “cat” down")
    assert "does not wait" in app.error[0].value
    assert order(ws) == ["dog"]


def test_the_rule_after_a_failure_is_kept_and_names_what_it_waits_for(ws: Workspace, open_page: Open) -> None:
    first, _owl = waiting(ws, "dog", "owl")
    app = open_page(layout.TRAINING)
    app.checkbox(key="queue_rule").check().run()
    assert jobs.queue_rules(ws).stop_after_failure
    failed = made.run(ws, "cat", "failed", steps=12)
    app = open_page(layout.TRAINING, run=first.id)
    assert app.checkbox(key="queue_rule").value is True
    assert any("“cat” did not end well" in element.value for element in app.warning)
    assert jobs.stopped_by(ws) == jobs.get(ws, failed.id)
    press(app, "Go on with the queue")
    assert jobs.stopped_by(ws) is None
    assert not app.warning


def test_the_strip_tells_step_time_and_what_waits_and_leads_to_the_run(
    ws: Workspace, open_page: Open
) -> None:
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    waiting(ws, "dog", "bird")
    with made.at_work(run):
        app = open_page()
        assert strip(app) == "Training “cat”: 12 of 40 steps done. About 25 minutes left. 2 wait."
        (link,) = [one for one in app.get("page_link") if one.proto.icon == icons.RUNNING]
        assert f"run={run.id}" in link.proto.query_string


def test_the_strip_has_its_place_also_while_nothing_runs(ws: Workspace, open_page: Open) -> None:
    made.run(ws, "cat", "finished", steps=40)
    app = open_page()
    assert strip(app) == ""
    assert any(element.value == "Nothing is running." for element in app.main.caption)


def test_the_strip_looks_often_while_something_runs_seldom_while_nothing_does_and_never_while_paused(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    times: list[float | None] = []

    def fragment(run_every: float | None = None, **given: Any) -> Any:
        times.append(run_every)
        return st.fragment(run_every=run_every, **given)

    monkeypatch.setattr(activity, "st", SimpleNamespace(**{**vars(st), "fragment": fragment}))
    with made.at_work(run):
        app = open_page()
    write_status(run.folder, replace(jobs.status(ws, run.id), state="stopped", end=End(cause="As asked.")))
    app.run()
    assert strip(app) == ""
    state.pause_updates(ws, paused=True)
    app.run()
    assert times == [activity.REFRESH_S, activity.IDLE_S, activity.PAUSED_S]
    assert activity.REFRESH_S <= activity.IDLE_S <= 10, (
        "a tab that rests sees within 10 s what another one started"
    )


class _DrawnAnewError(Exception):
    pass


def test_a_later_look_draws_the_page_anew_only_when_the_first_job_began_or_the_last_one_ended(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anew() -> None:
        raise _DrawnAnewError

    drawn: list[str] = []
    quiet = {
        "rerun": anew,
        "caption": drawn.append,
        "page_link": lambda *_a, label, **_rest: drawn.append(label),
    }
    monkeypatch.setattr(activity, "st", SimpleNamespace(**quiet))
    activity._line(ws, False, False, [])
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    with made.at_work(run):
        activity._line(ws, False, True, [])
        with pytest.raises(_DrawnAnewError):
            activity._line(ws, False, False, [])
        # What the page itself has just seen never interrupts the page: a press would be lost with it.
        activity._line(ws, False, False, [now.activity(ws)])
    assert [says.startswith("Training “cat”") for says in drawn] == [False, True, True]


def test_the_strip_tells_why_the_first_one_waits(ws: Workspace, open_page: Open) -> None:
    cat, _ = waiting(ws, "cat", "dog")
    jobs.hold(ws, cat.id)
    assert strip(open_page()) == "Training “cat” waits. It is held until you release it. 1 more waits."


def test_with_updates_paused_the_strip_says_so_and_no_time_that_would_pass(
    ws: Workspace, open_page: Open
) -> None:
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    state.pause_updates(ws, paused=True)
    with made.at_work(run):
        assert strip(open_page()) == "Training “cat”: 12 of 40 steps done. Updates are paused."


def test_an_old_training_that_goes_on_is_shown_however_many_came_after_it(ws: Workspace) -> None:
    old = made.run(ws, "old", "running", steps=12, **WORKING)
    for number in range(now._LOOK_BACK + 5):
        made.run(ws, f"run {number}", "finished", steps=0)
    with made.at_work(old):
        seen = now.running_job(ws)
        assert seen is not None
        assert seen[0].id == old.id


def test_a_run_that_is_asked_to_save_says_so_until_it_has_heard(ws: Workspace, open_page: Open) -> None:
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    with made.at_work(run):
        app = open_page(layout.TRAINING)
        app.session_state[f"more_{run.id}"] = True
        app.run()
        assert "Nothing is saved yet." in shown(app)
        press(app, "Save the training now")
        press(app, "Draw samples now")
        for says in run_actions.ASKED.values():
            assert says in shown(app)
        assert requests.take(run.folder, "save")
        assert requests.take(run.folder, "sample")
        app.run()
        assert not any(says in shown(app) for says in run_actions.ASKED.values())


def test_a_press_on_pause_is_answered_by_the_state_after_it(ws: Workspace, open_page: Open) -> None:
    run = made.run(ws, "cat", "running", steps=12, **WORKING)
    with made.at_work(run):
        app = press(open_page(layout.TRAINING), run_actions.PAUSE)
        assert jobs.status(ws, run.id).state == "pausing"
        assert any("was asked to pause" in element.value for element in app.info)
        labels = [button.label for button in app.button]
        assert run_actions.PAUSE not in labels
        assert run_actions.STOP in labels
