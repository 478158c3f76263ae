"""What to do next: the one button of Home.

Covered: choosing the step from what is on disk. Not covered: drawing it (see `ui/home.py`).
"""

from dataclasses import dataclass
from typing import Final, Literal

from lora_core.workspace import Workspace
from ui import icons, layout, now, project

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
    says="Make another LoRA.", label="Make a new project", icon=icons.ADD, does="new", page=layout.TRAINING
)
_SETTINGS: Final = Step(
    says="Choose a base model and a dataset. Then start the training.", label="Go on with the training"
)


def steps(ws: Workspace) -> tuple[Step, tuple[Step, ...]]:
    """The next step, and what else one may do."""
    main, others = _steps(ws)
    return main, (*others, NEW) if project.open_one(ws) else others


def _steps(ws: Workspace) -> tuple[Step, tuple[Step, ...]]:
    live, last = now.running_job(ws), now.last_ended(ws)
    if live:
        job, _ = live
        if job.kind == "train":
            return Step(says="Watch the training.", label="Look at the training", run=job.id), (OWN,)
        return Step(
            says="Wait for it, or go on in the meantime.", label="Look at the import", page=layout.DATASET
        ), ()
    if last and last[0].kind == "train":
        return _after_training(last[0].id, last[1].state)
    if last and last[0].kind == "import" and last[1].state == "finished":
        return _SETTINGS, (OWN, DEMO)
    if project.open_one(ws):
        return _SETTINGS, (OWN, DEMO)
    return DEMO, (OWN,)


def _after_training(run: str, ended: str) -> tuple[Step, tuple[Step, ...]]:
    if ended == "finished":
        look = Step(
            says="Your LoRA is finished. Look at it.",
            label="Look at the finished LoRA",
            page=layout.UTILITIES,
        )
        return look, (Step(says="See how it was trained.", label="Look at the training", run=run), OWN)
    again = Step(says="The last training did not come to its end.", label="See what happened", run=run)
    return again, (OWN, DEMO)
