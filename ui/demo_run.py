"""Starting the demo: the same training as any other, on what comes with the app.

Covered: making the demo's dataset and project, starting its run once. Not covered: what the demo is
(`lora_core.demo`).
"""

from dataclasses import replace
from typing import Final

from lora_core import demo, runs
from lora_core.volumes import locked
from lora_core.workspace import Workspace
from ui import guide_recipe, now, project
from ui.project import Project

NAME: Final = "Demo"
GOAL: Final = "concept"
"""Its pictures show one thing in many colours and on many backgrounds."""


def start(ws: Workspace) -> str:
    """Start the demo and return the id of its run; of one that is under way already, its id.

    Raises:
        LoraError: it could not be started; with what to do.
    """
    ws.projects.mkdir(parents=True, exist_ok=True)
    with locked(ws.projects / ".demo.lock"):  # pressed in two tabs at the same moment
        live = now.running_job(ws)
        if live and live[0].project == NAME:
            return live[0].id
        run = demo.create_demo(ws)
        project.save(ws, _with_recipe(ws, project.of_run(NAME, run)))
        return runs.start_run(ws, run, project=NAME).id


def _with_recipe(ws: Workspace, made: Project) -> Project:
    """The same project with its goal and its recipe named, so that the review tells what it rests on."""
    aimed = replace(made, goal=GOAL)
    recipe = guide_recipe.recipe_for(ws, aimed)
    return replace(aimed, preset=recipe.id, preset_values=recipe.values) if recipe else aimed
