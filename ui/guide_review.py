"""Step 4: what the training will take, what stands against it, every setting, and the start.

Covered: the order of the screen, its summary, the problems with their mending buttons. Not covered: the card
and two tried steps (`ui/guide_card.py`), recipes as files (`ui/guide_files.py`), the box with all settings
(`ui/settings_form.py`).
"""

from functools import partial
from typing import Final

import streamlit as st

from lora_core import planning, projects, settings
from lora_core.errors import Problem
from lora_core.models import BaseModel
from lora_core.models.available import DEMO_NAME
from lora_core.settings.presets import GOALS
from lora_core.workspace import Workspace
from ui import (
    charts,
    engine_choice,
    engine_view,
    feedback,
    guide_card,
    guide_files,
    guide_recipe,
    guide_steps,
    icons,
    parts,
    project,
    recipe_text,
    run_actions,
    settings_form,
    settings_look,
    training_form,
)
from ui.charts import Line
from ui.project import IMAGES, MODEL, NAME, TRIGGER, Project
from ui.settings_fields import Fields
from ui.settings_groups import PROMPTS

_LEADS: Final = {MODEL: guide_steps.MODEL, IMAGES: guide_steps.DATASET, TRIGGER: guide_steps.GOAL}
"""Where a setting is chosen that stands on a screen of its own."""
_CHOOSE: Final = {MODEL: "Choose a base model", IMAGES: "Choose a dataset", TRIGGER: "Choose a trigger word"}


def draw(ws: Workspace, opened: Project) -> None:
    """The screen, from what will happen to the start."""
    st.markdown(_chosen(ws, opened))
    settings_form.summary(partial(_summary, ws, opened.name))
    parts.part(settings_form.RATE, partial(_rate, ws, opened.name))
    Fields(ws=ws, opened=opened, place="review step").one(settings.setting(PROMPTS))
    check = partial(training_form.problems, ws)
    settings_form.draw(ws, opened.name, check=check)
    engine_view.draw(ws, opened.name)
    recipe_text.draw(ws, opened.name)
    guide_files.draw(ws, opened)
    settings_form.late(ws, opened.name, check=check)
    with st.container(horizontal=True, key="guide_ways"):
        pressed = run_actions.start_button()
        guide_steps.back(guide_steps.REVIEW)
    if pressed:
        newest = project.open_or_new(ws, opened.name)
        looked = training_form.look(ws, newest, whole=False)
        run_actions.start(ws, newest, missing=[p for p in looked.problems if p.severity == "error"])


def _chosen(ws: Workspace, opened: Project) -> str:
    """The choices of the steps before, as text: nobody has to remember them."""
    base, goal = guide_recipe.base_of(opened), GOALS.get(opened.goal)
    trigger = f"“{feedback.spoken(opened.trigger_word)}”" if opened.trigger_word else "none"
    lines = [
        f"- Goal: {goal.title if goal else 'not chosen'}",
        f"- Name: “{feedback.spoken(str(opened.value(NAME)))}”. Trigger word: {trigger}",
        f"- Base model: {feedback.spoken(_base_name(base)) if base else 'not chosen'}",
        f"- Dataset: {feedback.spoken(opened.dataset.name) if opened.dataset else 'not chosen'}",
        f"- Recipe: {feedback.spoken(guide_recipe.about(ws, opened))}",
    ]
    return "\n".join(lines)


def _base_name(base: BaseModel) -> str:
    return DEMO_NAME if guide_recipe.is_demo(base) else base.name


def _summary(ws: Workspace, name: str) -> None:
    opened = project.open_or_new(ws, name)
    found = settings_look.checked(partial(training_form.problems, ws), opened)
    looked = training_form.look(ws, opened, found=found)
    if looked.plan is not None:
        st.write(training_form.length(looked.plan))
    guide_card.draw(ws, opened, looked)
    st.write(feedback.spoken(engine_choice.sentence(ws, opened)))
    _problems(ws, opened, looked.problems)


def _problems(ws: Workspace, opened: Project, found: tuple[Problem, ...]) -> None:
    feedback.problem_list(found)
    mendable = [problem for problem in found if problem.mend or problem.setting in _LEADS]
    if not mendable:
        return
    with st.container(horizontal=True, key="guide_mends"):
        for number, problem in enumerate(mendable):
            if problem.mend:
                st.button(
                    feedback.spoken(problem.mend_label), key=f"mend_{problem.setting}_{number}",
                    icon=icons.MEND, on_click=mend, args=(ws, opened.name, problem), wrap=True,
                )  # fmt: skip
            elif not opened.value(problem.setting):
                step = _LEADS[problem.setting]
                st.button(
                    _CHOOSE[problem.setting], key=f"lead_{problem.setting}", icon=icons.GO,
                    on_click=_lead, args=(step,),
                )  # fmt: skip


def _lead(step: guide_steps.Step) -> None:
    guide_steps.go(step)
    st.rerun()  # the whole page: this button stands in a part of it


def mend(ws: Workspace, name: str, problem: Problem) -> None:
    """Set what ends a problem, as one step that can be taken back."""
    with feedback.user_errors():
        before = projects.load_or_new(ws, name)
        project.save(ws, projects.with_values(before, problem.mend), what=f"{problem.mend_label}.")
    st.rerun()  # any field of the page may be another one now


def _rate(ws: Workspace, name: str) -> None:
    looked = training_form.look(ws, project.open_or_new(ws, name), found=())
    if looked.run is None or looked.plan is None:
        return
    course = planning.course(looked.run, looked.plan.steps)
    if not course.steps:
        st.write(f"The learning rate cannot be drawn. {course.why}")
        return
    st.caption("The learning rate is the size of each step of learning. This is how it will go.")
    charts.draw(
        [Line(name="Learning rate", steps=course.steps, values=course.rates)],
        sentence=_said(course),
        y_title="Learning rate",
        from_zero=True,
        key="rate_before",
        table="The planned learning rate in numbers",
    )


def _said(course: planning.Course) -> str:
    rates, last = course.rates, course.steps[-1]
    highest = max(rates)
    at = course.steps[rates.index(highest)]
    if min(rates) == highest:
        return f"The learning rate stays at {charts.short(highest)} for all {last} steps."
    rise = (
        f"rises to {charts.short(highest)} at step {at}" if at > 1 else f"begins at {charts.short(highest)}"
    )
    return f"The learning rate {rise}. At the end, after {last} steps, it is {charts.short(rates[-1])}."
