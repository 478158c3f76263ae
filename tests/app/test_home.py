"""Home: where am I, what is happening now, what is the next step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import made_runs as made
import pytest
from streamlit.testing.v1 import AppTest

from lora_core import jobs, projects, runs, settings
from lora_core.workspace import Workspace
from ui import demo_run, project

Open = Callable[..., AppTest]


def main_buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.proto.type == "primary"]


def texts(app: AppTest) -> str:
    return " ".join(str(element.value) for element in app.markdown)


def test_at_the_first_visit_the_one_main_button_trains_the_demo(open_page: Open) -> None:
    app = open_page()
    assert main_buttons(app) == ["Train the demo LoRA"]
    assert "Nothing is running." in texts(app)


def test_after_a_failure_the_next_step_is_to_see_what_happened(ws: Workspace, open_page: Open) -> None:
    made.run(ws, "my cat", "failed", steps=12, cause="The memory was full.")
    app = open_page()
    assert main_buttons(app) == ["See what happened"]
    assert "Training “my cat” ended with a problem" in texts(app)


def test_a_training_that_a_person_paused_or_stopped_is_not_called_a_failure(
    ws: Workspace, open_page: Open
) -> None:
    made.run(ws, "my cat", "paused", steps=12)
    app = open_page()
    assert main_buttons(app) == ["Go to the paused training"]
    assert "Training “my cat” was paused" in texts(app)
    made.run(ws, "my dog", "stopped", steps=12)
    app = open_page()
    assert main_buttons(app) == ["Look at the training"]
    assert "stopped, as asked" in texts(app)


def test_while_a_zip_is_written_the_next_step_leads_to_it(ws: Workspace, open_page: Open) -> None:
    with made.no_runner(ws):
        jobs.create(ws, "export", "my cat", start=False)
        assert main_buttons(open_page()) == ["Look at the zip"]


def test_the_project_of_the_demo_has_its_goal_and_its_recipe(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Mock()
    monkeypatch.setattr(runs, "start_run", start)
    demo_run.start(ws)
    opened = projects.load(ws, demo_run.NAME)
    assert (opened.goal, opened.preset) == ("concept", "demo")
    assert projects.changed_from_preset(opened) == []
    assert settings.run_files(project.run_of(opened)) == settings.run_files(start.call_args.args[1])


def test_after_a_training_the_next_step_is_to_look_at_its_lora(ws: Workspace, open_page: Open) -> None:
    made.run(ws, "my cat", "finished", steps=40)
    assert main_buttons(open_page()) == ["Look at the finished LoRA"]


def test_for_a_training_that_is_held_the_next_step_is_to_release_it(ws: Workspace, open_page: Open) -> None:
    with made.no_runner(ws):
        held, free = (jobs.create(ws, "train", name, start=False) for name in ("held", "free"))
        jobs.hold(ws, held.id)
        app = open_page()
        assert "The training waits in the queue. It starts by itself." in texts(app)
        jobs.hold(ws, free.id)
        app.run()
    assert main_buttons(app) == ["Look at the queue"]
    assert "Release it in the queue." in texts(app)
    assert "is held. It starts when you release it." in texts(app)
    assert "Watch the training" not in texts(app)


def test_without_sign_in_home_says_so_and_how_to_turn_it_on(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not open_page().warning
    monkeypatch.setenv("LORA_NO_TOKEN", "1")
    (warning,) = open_page().warning
    assert "Sign-in is off" in warning.value
    assert "without --no-token" in warning.value


def test_a_workspace_that_cannot_be_used_is_told_with_what_to_do(
    ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = ws.root.parent / "a file"
    in_the_way.write_text("no folder")
    monkeypatch.setenv("LORA_WORKSPACE", str(in_the_way / "workspace"))
    (error,) = open_page().error
    assert "Choose another folder" in error.value


def test_two_presses_at_the_same_moment_start_one_demo(ws: Workspace) -> None:
    with ThreadPoolExecutor() as pool:  # a tab has a thread
        ids = set(pool.map(lambda _: demo_run.start(ws), range(3)))
    try:
        assert len(ids) == len(jobs.jobs(ws)) == 1
    finally:
        for started in ids:
            jobs.stop(ws, started, force=True)


def test_the_sidebar_shows_names_as_they_are(ws: Workspace, open_page: Open) -> None:
    made.run(ws, "**x** $y$", "finished", steps=4)
    last = next(c.value for c in open_page().sidebar.caption if c.value.startswith("Last"))
    assert "“\\*\\*x\\*\\* \\$y\\$”" in last
