"""The four steps to a training: their names, their place in the address, the buttons from one to the next.

Covered: which step is shown, going on and going back. Not covered: what is on a step's screen
(`ui/guide_goal.py`, `ui/guide_model.py`, `ui/guide_dataset.py`, `ui/guide_review.py`).

The step is kept in the address, so that a reload, a link and the browser's back button show the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import streamlit as st

from ui import address, icons, layout
from ui.layout import Parts
from ui.project import Project

ADDRESS: Final = "step"
"""Name of the address's part that holds the step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One screen with one decision."""

    id: str
    title: str
    """As the end of `Go on to …`."""
    does: str
    needs: Sequence[str]


GOAL: Final = Step(
    id="goal",
    title="the goal",
    does="Here you choose what the LoRA shall learn. A LoRA is a small file that teaches a picture model "
    "something new. You also give it a name.",
    needs=["An idea of what the pictures have in common.", "About a minute. Nothing is started here."],
)
MODEL: Final = Step(
    id="model",
    title="the base model",
    does="Here you choose the base model. That is the large model that your LoRA is added to. It is read and "
    "never changed.",
    needs=[
        "A base model on this computer. The demo base comes with the app.",
        "About a minute. Nothing is started here.",
    ],
)
DATASET: Final = Step(
    id="dataset",
    title="the dataset",
    does="Here you choose the dataset. That is the folder with the pictures and captions that the LoRA "
    "learns from. A caption is a text that says what a picture shows.",
    needs=[
        "Pictures of what the LoRA shall learn.",
        "About a minute, and longer if pictures must be brought in.",
    ],
)
REVIEW: Final = Step(
    id="review",
    title="the review",
    does="Here you see what the training will take. You can change any setting. Then you start it.",
    needs=[
        "The choices of the steps before. What is missing is listed.",
        "Time. You can stop at any time and keep the result. The training goes on when you close the tab.",
    ],
)
STEPS: Final = (GOAL, MODEL, DATASET, REVIEW)


def asked() -> Step | None:
    """The step that the address names."""
    wanted = address.part(ADDRESS)
    return next((step for step in STEPS if step.id == wanted), None)


def first(opened: Project) -> Step:
    """The first step where something is left to choose."""
    if opened.base_model and opened.dataset:
        return REVIEW
    if not opened.goal:
        return GOAL
    return DATASET if opened.base_model else MODEL


def go(step: Step) -> None:
    """Show this step from now on; nothing else stays in the address."""
    address.show(**{ADDRESS: step.id})


def screen(step: Step) -> Parts:
    """The frame of a step's screen, with its number."""
    number = STEPS.index(step) + 1
    does = f"Step {number} of {len(STEPS)}: {step.title}. {step.does}"
    return layout.step_page(layout.TRAINING, does=does, needs=step.needs)


def ways(step: Step, *, main: bool = True) -> None:
    """The buttons to the next step and to the one before; always in this order, at the end of the screen.

    `main`: going on is what to do here; it is not where the screen has something to do first.
    """
    at = STEPS.index(step)
    with st.container(horizontal=True, key="guide_ways"):
        if at + 1 < len(STEPS):
            after = STEPS[at + 1]
            st.button(
                f"Go on to {after.title}", key="guide_next", icon=icons.GO,
                type="primary" if main else "secondary",
                on_click=go, args=(after,),
            )  # fmt: skip
        back(step)


def back(step: Step) -> None:
    """The button to the step before."""
    at = STEPS.index(step)
    if at:
        before = STEPS[at - 1]
        st.button(
            f"Go back to {before.title}", key="guide_back", icon=icons.EARLIER, on_click=go, args=(before,)
        )
