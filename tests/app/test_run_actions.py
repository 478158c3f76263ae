"""What the page offers for a run in each state: saved states, cheaper settings, another computer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import made_runs as made
import pytest
from streamlit.testing.v1 import AppTest

from lora_core import demo, jobs, projects, settings
from lora_core.errors import JobError, LoraError
from lora_core.jobs import Job, Status, choices, hosts, notify
from lora_core.jobs.addresses import Address
from lora_core.jobs.states import SavedState
from lora_core.runs import ladder
from lora_core.workspace import Workspace
from ui import job_settings, layout, queue_list, run_actions, run_resume, state

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def alone(ws: Workspace) -> Iterator[None]:
    with made.no_runner(ws):
        yield


def shown(app: AppTest) -> str:
    kinds = ("markdown", "caption", "error", "warning", "info", "success")
    found = [f"{getattr(e, 'title', '')} {e.value}" for kind in kinds for e in app.get(kind)]
    return " ".join(found).replace("\\", "")


def main_buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.proto.type == "primary"]


def saved(step: int, loss: float | None = None) -> SavedState:
    name = f"x-step{step:08d}-state"
    return SavedState(name=name, path=Path(name), step=step, epoch=1, saved_at=0.0, loss=loss)


def test_going_on_begins_at_the_newest_state_and_others_can_be_chosen(ws: Workspace, open_page: Open) -> None:
    run = made.run(ws, "cat", "paused", steps=30)
    asked = []
    found = [saved(30, 0.25), saved(20), saved(10)]
    with (
        patch.object(jobs, "states", return_value=found),
        patch.object(run_resume, "broken", return_value=["x-step00000040-state"]),
        patch.object(jobs, "resume", side_effect=lambda _ws, job, name: asked.append((job, name))),
    ):
        app = open_page(layout.TRAINING)
        assert main_buttons(app) == ["Go on from step 30"]
        assert "The saved state x-step00000040-state is not whole, so it is left out." in shown(app)
        box = app.selectbox(key=f"state_{run.id}")
        assert [option.split(",")[0] for option in box.options] == ["Step 30", "Step 20", "Step 10"]
        assert box.options[0].endswith("loss 0.25")
        box.set_value(found[2].name).run()
        assert main_buttons(app) == ["Go on from step 10"]
        app.button(key=f"resume_{run.id}").click().run()
    assert asked == [(run.id, found[2].name)]


def test_after_the_memory_ran_out_the_main_button_is_the_cheaper_setting(
    ws: Workspace, open_page: Open
) -> None:
    run = made.run(ws, "cat", "failed", steps=12, cause="The memory of the graphics card was full.")
    for name, text in settings.run_files(demo.create_demo(ws)).items():
        (run.folder / name).write_text(text, "utf-8")
    record = json.loads((run.folder / "status.json").read_text("utf-8"))
    record["end"] |= {"row": "cuda_oom", "evidence": "CUDA out of memory. Tried to allocate 2 GiB"}
    (run.folder / "status.json").write_text(json.dumps(record), "utf-8")
    offered = ladder.offer(ws, run, jobs.status(ws, run.id))
    assert offered, "the demo has something that can be cheaper"
    app = open_page(layout.TRAINING)
    assert main_buttons(app) == [f"Try again with {offered[0].label}"]
    assert any("Tried to allocate 2 GiB" in block.value for block in app.code)
    labels = [button.label for button in app.button]
    assert all(f"Try again with {rung.label}" in labels for rung in offered)
    assert "Start this training again with the same settings" in labels
    app.button(key=f"rung_{offered[0].key}_{run.id}").click().run()
    assert not app.exception
    assert jobs.status(ws, run.id).state == "queued"
    assert [taken.key for taken in ladder.taken(run)] == [offered[0].key]


def test_a_failure_that_a_setting_mends_offers_the_form_with_that_setting(
    ws: Workspace, open_page: Open
) -> None:
    run = made.run(ws, "cat", "failed", steps=12, cause="The loss was not a number any more.")
    as_it_was = demo.create_demo(ws)
    for name, text in settings.run_files(as_it_was).items():
        (run.folder / name).write_text(text, "utf-8")
    record = json.loads((run.folder / "status.json").read_text("utf-8"))
    record["end"] |= {"row": "captions_cached", "evidence": "ValueError: captions change at each use"}
    (run.folder / "status.json").write_text(json.dumps(record), "utf-8")
    app = open_page(layout.TRAINING)
    assert not [button for button in app.button if button.key.startswith("mend_")], "these are so already"

    cached = settings.with_values(as_it_was, {"cache_text_encoder_outputs": True})
    for name, text in settings.run_files(cached).items():
        (run.folder / name).write_text(text, "utf-8")
    app = open_page(layout.TRAINING)
    button = app.button(key="mend_cache_text_encoder_outputs")
    assert button.label == "Train again with “Read captions once”: off"
    assert main_buttons(app) == [button.label], "what helps is the one main button"
    assert "Start this training again with the same settings" in [one.label for one in app.button]
    button.click().run()
    assert not app.exception
    (name,) = projects.names(ws)
    assert projects.load(ws, name).values.get("cache_text_encoder_outputs") is not True


def elsewhere(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("LORA_HOST", "attic")
    run = made.run(ws, "cat", "running", steps=12, phase="Training")
    monkeypatch.setenv("LORA_HOST", "desk")
    return run


def test_a_run_of_another_computer_has_no_button_that_could_harm(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = elsewhere(ws, monkeypatch)
    app = open_page(layout.TRAINING)
    assert "Running on attic. Last sign" in shown(app)
    labels = [button.label for button in app.button]
    assert not {run_actions.STOP, run_actions.PAUSE, "Take it over"} & set(labels)
    app.session_state[f"elsewhere_{run.id}"] = True
    app.run()
    app.button(key=f"take_over_{run.id}").click().run()
    assert "may be at work on attic" in shown(app)
    assert jobs.status(ws, run.id).state == "running"
    app.run()
    app.button(key=f"take_over_{run.id}").click().run()
    assert not app.exception
    seen = jobs.status(ws, run.id)
    assert (seen.state, seen.elsewhere) == ("lost", None)


def test_the_choices_for_trainings_are_kept_and_shown(ws: Workspace, open_page: Open) -> None:
    made.machine(ws)
    app = open_page(layout.SETUP)
    app.checkbox(key="keep_awake").uncheck().run()
    assert not choices.kept_awake(ws)
    assert "You switched this off" in shown(app)
    app.checkbox(key="retry_ladder").check().run()
    assert state.retry_ladder(ws)
    app.checkbox(key="queue_rule_setup").check().run()
    assert jobs.queue_rules(ws).stop_after_failure
    app.text_input(key="end_command").set_value("notify-send 'all done'").run()
    app.checkbox(key="end_also").check().run()
    assert choices.at_end(ws).command == ("notify-send", "all done")
    assert choices.at_end(ws).also_after_failure
    app.text_input(key="end_command").set_value("it's").run()
    assert "has no partner" in shown(app)
    fresh = open_page(layout.SETUP)
    assert fresh.text_input(key="end_command").value == "notify-send 'all done'"
    assert [fresh.checkbox(key=k).value for k in ("keep_awake", "retry_ladder", "end_also")] == [
        False,
        True,
        True,
    ]
    assert queue_list.RULE in [box.label for box in fresh.checkbox]


def test_an_address_is_added_tested_and_removed_and_is_never_shown(ws: Workspace, open_page: Open) -> None:
    made.machine(ws)
    kept: list[Address] = []
    secret = "ntfy://a-secret-topic"

    def add(_ws: Workspace, url: str) -> Address:
        if not url.startswith("ntfy"):
            raise JobError("The address was not added.", why="It is none.", fix="Enter another one.")
        kept.append(Address(service="ntfy", fingerprint="a1b2c3", place="file"))
        return kept[0]

    def remove(_ws: Workspace, fingerprint: str) -> Address:
        assert fingerprint == "a1b2c3"
        return kept.pop()

    with (
        patch.object(notify, "add", add),
        patch.object(notify, "remove", remove),
        patch.object(notify, "addresses", lambda _ws: list(kept)),
    ):
        app = open_page(layout.SETUP)
        app.text_input(key="notify_address").set_value("nonsense")
        next(b for b in app.button if b.label == "Add this address").click().run()
        assert "The address was not added." in shown(app)
        app.text_input(key="notify_address").set_value(secret)
        next(b for b in app.button if b.label == "Add this address").click().run()
        assert "The address of ntfy was added." in shown(app)
        assert secret not in shown(app)
        app.checkbox(key="notify_stall").uncheck().run()
        assert notify.events(ws) == notify.Events(stall=False)
        app.button(key="notify_test").click().run()
        (test,) = jobs.jobs(ws, kind=job_settings.TEST_KIND)
        assert jobs.status(ws, test.id).state == "queued"
        assert "is being sent" in shown(app)
        app.button(key="notify_remove_a1b2c3").click().run()
        assert kept == []
        assert "The address of ntfy was removed." in shown(app)


def test_a_state_in_the_list_is_said_in_words() -> None:
    assert run_resume.in_words(saved(400)).startswith("Step 400, saved ")
    assert run_resume.left_out([]) == ""
    assert run_resume.left_out(["a", "b"]).endswith("left out: a, b.")


def test_offers_of_a_run_elsewhere_end_when_it_has_ended() -> None:
    assert run_actions.offer(Status(state="running", elsewhere="attic")) == "elsewhere"
    assert run_actions.offer(Status(state="stopped", elsewhere="attic")) == "go on"
    assert issubclass(JobError, LoraError)
    assert hosts.here()


def test_what_a_restart_cut_off_goes_on_by_itself_only_where_that_was_chosen(
    ws: Workspace, open_page: Open
) -> None:
    made.machine(ws)
    jobs.set_queue_rules(ws, jobs.QueueRules(stop_after_failure=True))
    app = open_page(layout.SETUP)
    assert app.checkbox(key="after_restart").value is False
    app.checkbox(key="after_restart").check().run()
    assert not app.exception
    assert jobs.queue_rules(ws) == jobs.QueueRules(stop_after_failure=True, resume_after_restart=True)
    app.checkbox(key="queue_rule_setup").uncheck().run()
    assert jobs.queue_rules(ws) == jobs.QueueRules(resume_after_restart=True)


def test_setup_says_where_locks_are_kept_when_the_disk_of_the_workspace_has_none(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.machine(ws)
    monkeypatch.setenv("LORA_LOCKS", "local")
    assert "are kept on this computer's own disk" in shown(open_page(layout.SETUP))
