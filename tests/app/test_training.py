"""Training: what is typed is saved at once, what is wrong is said, and a run's true state is shown."""

import json
from collections.abc import Callable
from dataclasses import replace

import made_runs as made
import pytest
from streamlit.testing.v1 import AppTest

from lora_core import demo, jobs, planning, projects, settings
from lora_core.errors import SettingsError
from lora_core.jobs import records
from lora_core.jobs.look import UNSETTLED
from lora_core.projects import Project
from lora_core.workspace import Workspace
from ui import address, guide_steps, layout, live_run, now, project, run_actions, run_choice, settings_groups

Open = Callable[..., AppTest]


def field(key: str, name: str = project.NEW) -> str:
    return f"run_{name}_{key}"


REVIEW = guide_steps.REVIEW.id


def with_all_settings(app: AppTest) -> AppTest:
    app.session_state["all_settings"] = True
    for concern in settings_groups.GROUPS:
        app.session_state[f"group_{concern}"] = True
    app.run()
    assert not app.exception
    return app


def test_what_is_typed_is_in_the_project_file_at_once(ws: Workspace, open_page: Open) -> None:
    app = with_all_settings(open_page(layout.TRAINING, step=REVIEW))
    app.text_input(key=field("learning_rate")).set_value("0,0002").run()
    app.run()  # a change in a group draws no more than the group; the next look is at all of the page
    app.text_area(key=field("sample_prompts")).set_value("a blip\na star").run()
    goal = open_page(layout.TRAINING, step=guide_steps.GOAL.id)
    goal.text_input(key=field("metadata_trigger_phrase")).set_value("blip").run()
    kept = projects.load(ws, project.NEW)
    assert kept.value("metadata_trigger_phrase") == "blip"
    assert kept.value("learning_rate") == 0.0002
    assert list(kept.value("sample_prompts")) == ["a blip", "a star"]

    fresh = with_all_settings(open_page(layout.TRAINING, step=REVIEW))
    assert fresh.text_input(key=field("learning_rate")).value == "0,0002"
    assert fresh.text_area(key=field("sample_prompts")).value == "a blip\na star"


def test_text_that_does_not_fit_is_kept_told_and_not_saved(ws: Workspace, open_page: Open) -> None:
    app = with_all_settings(open_page(layout.TRAINING, step=REVIEW))
    app.text_input(key=field("network_dim")).set_value("many").run()
    assert app.text_input(key=field("network_dim")).value == "many"
    assert any("a whole number" in error.value for error in app.error)
    assert projects.load(ws, project.NEW).values == {}


def test_pressing_start_too_early_says_what_is_missing(open_page: Open) -> None:
    app = open_page(layout.TRAINING, step=REVIEW)
    app.button(key="start").click().run()
    said = " ".join(warning.value for warning in app.warning)
    assert "No base model is chosen." in said
    assert "No dataset is chosen." in said
    assert "It was not started." in said


def test_the_demo_trained_again_from_the_form_is_the_same_training(ws: Workspace) -> None:
    run = demo.create_demo(ws)
    project.save(ws, project.of_run("Demo", run))
    again = project.run_of(projects.load(ws, "Demo"))
    assert settings.run_files(again) == settings.run_files(run)


def test_each_folder_of_a_dataset_has_repeats_of_its_own(ws: Workspace, open_page: Open) -> None:
    run = demo.create_demo(ws)
    planned = [subset.num_repeats for subset in run.dataset.datasets[0].subsets]
    project.save(ws, project.of_run("Demo", run))
    app = with_all_settings(open_page(layout.TRAINING, step=REVIEW))
    fields = [app.text_input(key=f"run_Demo_num_repeats_demo/{name}") for name in ("concept", "ordinary")]
    assert [field.value for field in fields] == [str(times) for times in planned]
    fields[1].set_value(str(planned[1] + 6)).run()
    app.run()
    changed = project.run_of(projects.load(ws, "Demo"))
    subsets = changed.dataset.datasets[0].subsets
    assert [subset.num_repeats for subset in subsets] == [planned[0], planned[1] + 6]
    plan = planning.plan(changed)
    assert plan is not None
    assert any(f"an epoch of {plan.steps_per_epoch} steps" in element.value for element in app.markdown)


def test_a_run_whose_folders_differ_in_more_than_repeats_is_no_project(ws: Workspace) -> None:
    run = demo.create_demo(ws)
    (dataset,) = run.dataset.datasets
    concept, ordinary = dataset.subsets
    odd = dataset.model_copy(update={"subsets": (concept, ordinary.model_copy(update={"keep_tokens": 1}))})
    with pytest.raises(SettingsError):
        project.of_run("x", run.model_copy(update={"dataset": settings.DatasetFile(datasets=(odd,))}))


def test_every_setting_with_a_choice_has_a_field(open_page: Open) -> None:
    app = with_all_settings(open_page(layout.TRAINING, step=REVIEW))
    wanted = {s.key for s in settings_groups.shown_now(Project(name=project.NEW), None)}
    assert [key for key in sorted(wanted) if field(key) not in app.session_state] == []


def test_a_failed_run_says_what_why_and_what_to_do(ws: Workspace, open_page: Open) -> None:
    notes = ["The picture cat_7.png was left out."]
    made.run(
        ws, "cat", "failed", steps=12, cause="The memory was full.", fix="Lower the batch size.", notes=notes
    )
    app = open_page(layout.TRAINING)
    (error,) = app.error
    assert "The memory was full." in error.value
    assert "Lower the batch size." in error.value
    assert any("cat\\_7.png was left out" in element.value for element in app.markdown)
    assert [b.label for b in app.button if b.proto.type == "primary"] == ["Start this training again"]


def test_the_run_in_the_address_is_the_one_that_is_shown(ws: Workspace, open_page: Open) -> None:
    older = made.run(ws, "older", "failed", steps=12)
    made.run(ws, "newer", "finished", steps=40)
    assert open_page(layout.TRAINING, run=older.id).selectbox(key="run_looked_at").value == older.id
    assert open_page(layout.TRAINING).selectbox(key="run_looked_at").value != older.id


def test_without_a_run_in_the_address_the_one_at_work_is_shown_and_stays_when_it_ends(
    ws: Workspace, open_page: Open
) -> None:
    with made.no_runner(ws):
        first = made.run(ws, "first", "running", steps=12)
        waits = made.run(ws, "waits", "queued", steps=0)
        with made.at_work(first):
            app = open_page(layout.TRAINING)
            assert app.selectbox(key="run_looked_at").value == first.id
            records.write_status(
                first.folder, replace(of(first), state="stopped", end=jobs.End(cause="As asked."))
            )
            records.write_status(waits.folder, replace(of(waits), state="running"))
            with made.at_work(waits):
                # Else the button that stopped the one would stop the other a moment later.
                assert app.run().selectbox(key="run_looked_at").value == first.id
                assert open_page(layout.TRAINING).selectbox(key="run_looked_at").value == waits.id


def of(job: jobs.Job) -> jobs.Status:
    status = records.read_status(job.folder)
    assert status is not None
    return status


def test_a_message_from_before_a_press_does_not_bring_the_old_view_back(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = made.run(ws, "shown", "finished", steps=4)
    app = open_page(layout.TRAINING, step=REVIEW)

    def comes_with_the_old_address() -> AppTest:
        app.query_params.clear()
        app.query_params[guide_steps.ADDRESS] = REVIEW
        return app.run()

    app.button(key="guide_look").click().run()
    comes_with_the_old_address()
    assert app.selectbox(key="run_looked_at").value == shown.id
    assert app.query_params == {run_choice.ADDRESS: shown.id}
    monkeypatch.setattr(address, "LATE_S", 0.0)  # later it is the browser's way back
    comes_with_the_old_address()
    assert app.button(key="guide_look")


def test_what_the_engine_reported_stands_beside_what_was_asked(ws: Workspace, open_page: Open) -> None:
    job = made.run(ws, "my cat", "finished", steps=40)
    asked = settings.with_values(demo.create_demo(ws), {"learning_rate": 1e-3, "lr_warmup_steps": 0})
    for wanted, told in ((1e-3, []), (2e-3, ["asked for 0.002, reported 0.001"])):
        for name, text in settings.run_files(settings.with_values(asked, {"learning_rate": wanted})).items():
            (job.folder / name).write_text(text, "utf-8")
        app = open_page(layout.TRAINING, run=job.id)
        assert "What the engine reported" in [box.label for box in app.expander]
        different = [box.value for box in app.warning if "reported" in box.value]
        assert len(different) == len(told)
        assert all(part in box for part, box in zip(told, different, strict=True))


def test_several_chosen_runs_share_one_chart(ws: Workspace, open_page: Open) -> None:
    one, two = made.run(ws, "cat", "finished", steps=40), made.run(ws, "dog", "failed", steps=12)
    app = open_page(layout.TRAINING)
    before = len(app.get("plotly_chart"))
    app.checkbox(key=f"compare_{one.id}").check().run()
    app.checkbox(key=f"compare_{two.id}").check().run()
    charts = app.get("plotly_chart")
    assert len(charts) == before + 1
    traces = json.loads(charts[-1].proto.spec)["data"]
    assert {trace["name"] for trace in traces} == {"cat", "dog"}


def test_of_two_chosen_runs_it_is_told_how_their_settings_differ(ws: Workspace, open_page: Open) -> None:
    asked = demo.create_demo(ws)
    chosen = [made.run(ws, name, "finished", steps=40) for name in ("cat", "dog")]
    app = open_page(layout.TRAINING)
    for job, dim in zip(chosen, (16, 8), strict=True):
        for name, text in settings.run_files(settings.with_values(asked, {"network_dim": dim})).items():
            (job.folder / name).write_text(text, "utf-8")
        app.checkbox(key=f"compare_{job.id}").check().run()
    told = [element.value.replace("\\", "") for element in app.markdown]
    assert any("Settings of “dog” beside “cat”" in text for text in told)
    assert any("Rank: 8 instead of 16." in text for text in told)
    (chosen[0].folder / "config.toml").write_text("network_dim = [", "utf-8")
    assert any("cannot be compared" in box.proto.title for box in app.run().warning)


def test_updates_stay_paused_after_a_restart(ws: Workspace, open_page: Open) -> None:
    made.run(ws, "cat", "finished", steps=40)
    open_page(layout.TRAINING).checkbox(key="pause_updates").check().run()
    assert open_page(layout.TRAINING).checkbox(key="pause_updates").value is True


def test_a_training_that_stops_does_not_say_how_long_its_work_would_take(ws: Workspace) -> None:
    job = made.run(ws, "cat", "running", steps=12, phase="Training", steps_per_s=0.5, eta_s=500.0)
    working = jobs.status(ws, job.id)
    assert live_run.progress_text(job, replace(working, state="running", end=None)).endswith("minutes left.")
    ending = live_run.progress_text(job, replace(working, state="stopping", end=None))
    assert ending == "Training. 12 of 40 steps done."


def test_two_long_names_are_told_apart_by_their_ends() -> None:
    names = [f"a training with many words in its name, number {number}" for number in (1, 2)]
    short = [now.short(name) for name in names]
    assert len(set(short)) == 2
    assert all(len(name) <= 44 for name in short)
    assert now.short("cat") == "cat"


def test_another_button_is_offered_in_each_kind_of_state() -> None:
    offered = {state: run_actions.offer(jobs.Status(state=state)) for state in jobs.STATES}
    assert {state for state, one in offered.items() if one == "go on"} == jobs.RESUMABLE
    assert {state for state, one in offered.items() if one == "stop"} == {"starting", "running", "pausing"}
    assert (offered["queued"], offered["stopping"], offered["finished"]) == ("take out", "force", "look")
    assert run_actions.offer(jobs.Status(state="lost", end=UNSETTLED)) == "wait"
