"""Base models that only sd-scripts trains: the page says so before one of them could be chosen."""

from collections.abc import Callable
from dataclasses import replace

import made_runs as made
from streamlit.testing.v1 import AppTest

from lora_core import projects
from lora_core.workspace import Workspace
from ui import guide_elsewhere, guide_steps, layout, project

Open = Callable[..., AppTest]


def told(app: AppTest) -> str:
    return " ".join(str(element.value) for element in app.get("markdown")).replace("\\", "")


def files(app: AppTest) -> list[str]:
    return [one.label for one in app.get("download_button")]


def test_models_for_sd_scripts_say_that_the_app_cannot_start_them_and_give_their_files(
    ws: Workspace, open_page: Open
) -> None:
    made.machine(ws)
    bare = projects.load_or_new(ws, project.NEW)
    project.save(ws, replace(bare, goal="person"))
    app = open_page(layout.TRAINING, step=guide_steps.MODEL.id)
    assert guide_elsewhere.TITLE in {one.label for one in app.expander}
    assert "sd-scripts" not in told(app), "a closed box is not built"
    app.session_state[guide_elsewhere.BOX] = True
    app.run()
    assert not app.exception, app.exception[0].value
    text = told(app)
    assert text.index("This app cannot start a training on these. sd-scripts can.") < text.index("FLUX.1 dev")
    assert "We have not measured it" in text
    assert "There is no recipe for this goal on this base model." in text  # a person on Anima
    assert files(app) == ["Download the files for FLUX.1 dev"]
    project.save(ws, replace(projects.load_or_new(ws, project.NEW), goal="style"))
    app.run()
    assert files(app) == ["Download the files for Anima", "Download the files for FLUX.1 dev"]
    project.save(ws, replace(projects.load_or_new(ws, project.NEW), goal=""))
    app.run()
    assert files(app) == []
