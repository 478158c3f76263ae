"""What to do next: the one button of Home.

Covered: choosing the step from what is on disk. Not covered: drawing it (see `ui/home.py`).
"""

from dataclasses import dataclass
from typing import Final, Literal

from lora_core import runs
from lora_core.workspace import Workspace
from ui import guide_steps, icons, layout, now, project

Does = Literal["demo", "new", "go"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to do, with the sentence that says why."""

    says: str
    label: str
    icon: str = icons.GO
    does: Does = "go"
    page: layout.PageName = layout.TRAINING
    run: str | None = None
    """The run that the page shall show."""
    step: str | None = None
    """The step to a training that the page shall show."""


DEMO: Final = Step(
    says="Train a small LoRA on pictures that come with the app. This takes about two minutes. "
    "You can stop at any time.",
    label="Train the demo LoRA",
    icon=icons.START,
    does="demo",
)
OWN: Final = Step(
    says="Bring in your own pictures.", label="Go to my own pictures", icon=icons.DATASET, page=layout.DATASET
)
NEW: Final = Step(
    says="Make another LoRA.",
    label="Make a new project",
    icon=icons.ADD,
    does="new",
    page=layout.TRAINING,
    step=guide_steps.GOAL.id,
)


def steps(ws: Workspace) -> tuple[Step, tuple[Step, ...]]:
    """The next step, and what else one may do."""
    main, others = _steps(ws)
    return main, (*others, NEW) if project.open_one(ws) else others


def _steps(ws: Workspace) -> tuple[Step, tuple[Step, ...]]:
    live, last = now.running_job(ws), now.last_ended(ws)
    if live:
        job, status = live
        if job.kind == "train" and status.state == "queued":
            return _waiting(job.id, status.held), (OWN,)
        if job.kind == "train":
            return Step(says="Watch the training.", label="Look at the training", run=job.id), (OWN,)
        if job.kind == "smoke":
            return Step(
                says="Two steps are tried.", label="Look at the two steps", step=guide_steps.REVIEW.id
            ), ()
        if job.kind == runs.EXPORT:
            return Step(
                says="A zip of a run is being written.", label="Look at the zip", step=guide_steps.REVIEW.id
            ), ()
        return Step(
            says="Wait for it, or go on in the meantime.", label="Look at the import", page=layout.DATASET
        ), ()
    if last and last[0].kind == "train":
        return _after_training(last[0].id, last[1].state)
    if last and last[0].kind == "import" and last[1].state == "finished":
        return _settings(ws), (OWN, DEMO)
    if project.open_one(ws):
        return _settings(ws), (OWN, DEMO)
    return DEMO, (OWN,)


def _waiting(run: str, held: bool) -> Step:
    says = (
        "The training is held, so it does not start by itself. Release it in the queue."
        if held
        else "The training waits in the queue. It starts by itself."
    )
    return Step(says=says, label="Look at the queue", run=run)


def _settings(ws: Workspace) -> Step:
    """Going on where something is left to choose."""
    opened = project.open_one(ws)
    step = guide_steps.first(opened) if opened else guide_steps.GOAL
    number = guide_steps.STEPS.index(step) + 1
    return Step(
        says=f"A training takes four steps to start. Step {number} is next: {step.title}.",
        label="Go on with the training",
        step=step.id,
    )


def _after_training(run: str, ended: str) -> tuple[Step, tuple[Step, ...]]:
    if ended == "finished":
        look = Step(
            says="Your LoRA is finished. Look at it.",
            label="Look at the finished LoRA",
            page=layout.UTILITIES,
        )
        return look, (Step(says="See how it was trained.", label="Look at the training", run=run), OWN)
    says, label = _NOT_AT_ITS_END.get(
        ended, ("The last training did not come to its end.", "See what happened")
    )
    return Step(says=says, label=label, run=run), (OWN, DEMO)


_NOT_AT_ITS_END: Final = {
    "paused": (
        "The last training is paused. You can go on with it at any time.",
        "Go to the paused training",
    ),
    "stopped": ("The last training was stopped, as asked. It can go on.", "Look at the training"),
}
"""What a training that a person ended is called: nothing went wrong with it."""
