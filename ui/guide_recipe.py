"""The recipe that goal and base model call for, put into a project without losing what a person typed.

Covered: which kinds of recipes fit a base model, putting one in, and what follows other choices until it is
changed: trigger word, prompts, repeats. Not covered: the recipes (`lora_core.settings.presets`), drawing.

Settings that differ from the recipe before are a person's own. They stay, and the sentence names them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lora_core import demo, machine, models, projects, runs, settings
from lora_core.datasets.images import SUFFIXES
from lora_core.datasets.library import picture_folders
from lora_core.errors import ModelError
from lora_core.models import BaseModel
from lora_core.projects import REPEATS, TRIGGER
from lora_core.settings.presets import BASES, GOALS, BaseGuess, composed, offered, prompts_for, repeats_for
from lora_core.workspace import Workspace
from ui import state
from ui.project import NAME, Project
from ui.settings_groups import PROMPTS

DEMO: Final = "demo"
"""Id of the recipe for the base model that comes with the app."""
_DEMO_FLAGS: Final = "--w 64 --h 64 --s 12 --l 2.5"
_FLAGS: Final = re.compile(r" --w .*$")
_NAMED: Final = 3
_TRIGGER_LIMIT: Final = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is put into a project."""

    id: str
    title: str
    values: Mapping[str, Any]
    target: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the base model itself that go with its kind."""
    evidence_text: str = ""


def base_of(opened: Project) -> BaseModel | None:
    """The base model of the project; None while there is none, or none that can be used."""
    try:
        return models.inspect_base(opened.base_model) if opened.base_model else None
    except ModelError:
        return None


def is_demo(base: BaseModel) -> bool:
    """Whether it is the tiny one that comes with the app, which has a recipe of its own."""
    return base.path == models.DEMO_BASE


def kinds_for(family: str, goal: str) -> list[str]:
    """The kinds of a family that there is a recipe of this goal for; without a goal all of the family."""
    return [
        kind.id for kind in BASES.values() if kind.family == family and (not goal or goal in offered(kind.id))
    ]


def kind_of(opened: Project, base: BaseModel) -> str:
    """The kind of base model that the recipe is for: as it was chosen, else as it is guessed."""
    possible = kinds_for(base.family, opened.goal)
    chosen, guess = opened.preset.rpartition(".")[0], models.kind_of(base)
    wanted = (chosen, guess.kind if guess else "")
    return next((kind for kind in wanted if kind in possible), possible[0] if possible else "")


def guess_of(base: BaseModel) -> BaseGuess | None:
    """What the model probably is, and what that rests on."""
    return models.kind_of(base)


def recipe_for(ws: Workspace, opened: Project, kind: str = "") -> Recipe | None:
    """The recipe of the project's goal for its base model, or for another `kind` of it."""
    base = base_of(opened)
    if base is None or not opened.goal:
        return None
    if is_demo(base):
        return _demo()
    kind = kind or kind_of(opened, base)
    if opened.goal not in offered(kind):
        return None
    found = composed(
        kind, opened.goal, images=pictures_in(opened.dataset) or None, facts=machine.read_facts(ws)
    )
    return Recipe(
        id=found.id,
        title=found.title,
        values=found.values,
        target=found.target,
        evidence_text=found.evidence_text,
    )


def _demo() -> Recipe:
    run = demo.demo_run(Path())
    values = {
        key: value
        for key, value in runs.recipe_of(run).items()
        if not projects.same_value(value, settings.setting(key).default)
    }
    return Recipe(
        id=DEMO, title="Demo", values=values, evidence_text="We ran it and measured how well it does."
    )


def pictures_in(dataset: Path | None) -> int:
    """How many pictures a dataset has, by the endings of its files."""
    if dataset is None:
        return 0
    count = 0
    for folder in picture_folders(dataset):
        try:
            count += sum(entry.suffix.lower() in SUFFIXES for entry in folder.iterdir())
        except OSError:
            continue  # the check of the whole run says what is wrong with it
    return count


@dataclass(frozen=True, slots=True)
class Laid:
    """A project with its recipe, and what changed in one or two sentences."""

    project: Project
    sentence: str


def laid(before: Project, recipe: Recipe) -> Laid:
    """`before` with another recipe; what differed from the recipe before it stays."""
    own = projects.changed_from_preset(before)
    after = projects.with_preset(before, recipe)
    after = projects.with_values(after, {key: before.value(key) for key in own})
    texts = {place: text for place, text in before.texts.items() if place.partition(":")[0] in own}
    after = replace(after, texts={**after.texts, **texts})
    after = projects.with_values(
        after, {key: value for key, value in recipe.target.items() if before.value(key) != value}
    )
    changed = [
        s.key
        for s in settings.catalogue()
        if not projects.same_value(before.value(s.key), after.value(s.key))
    ]
    said = f"The recipe “{recipe.title}” was put in. {_counted(len(changed))}"
    kept = [key for key in own if not projects.same_value(after.value(key), after.preset_value(key))]
    if kept:
        number = "1 setting" if len(kept) == 1 else f"{len(kept)} settings"
        said += f" Your own {number} stayed: {named(kept)}."
    return Laid(after, said)


def _counted(number: int) -> str:
    return f"It changed {state.counted(number, 'setting')}." if number else "All settings were so already."


def named(keys: list[str]) -> str:
    """The labels of settings in a sentence."""
    labels = [settings.setting(key).label for key in keys[:_NAMED]]
    rest = len(keys) - len(labels)
    return ", ".join(labels) + (f" and {rest} more" if rest else "")


def about(ws: Workspace, opened: Project) -> str:
    """The name of the project's recipe, and what it rests on."""
    if not opened.preset:
        changed = len(projects.changed_from_preset(opened))
        if not changed:
            return "none. All settings have their start values."
        return f"none. {state.counted(changed, 'setting')} changed from the start values."
    found = recipe_for(ws, opened) if bundled(opened.preset) else None
    if found is not None and found.id == opened.preset:
        return f"{found.title}. {found.evidence_text}"
    return f"{opened.preset.partition('.')[2] or opened.preset}. It is your own. We have not measured it."


def bundled(preset: str) -> bool:
    """Whether a project's recipe is one of ours, which may follow goal, base model and number of pictures."""
    kind, _, goal = preset.rpartition(".")
    return not preset or preset == DEMO or (kind in BASES and goal in GOALS)


def suggested_trigger(name: str) -> str:
    """A trigger word from the name of the LoRA: its letters and numbers as one word."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())[:_TRIGGER_LIMIT]


def suggested_prompts(opened: Project, base: BaseModel | None) -> tuple[str, ...]:
    """Prompts for samples from goal, trigger word and base model; the last one has no trigger word."""
    if not opened.goal or base is None:
        return ()
    kind = kind_of(opened, base)
    if not kind:
        return ()
    found = prompts_for(opened.goal, opened.trigger_word or "", kind)
    return tuple(_FLAGS.sub(f" {_DEMO_FLAGS}", prompt) for prompt in found) if is_demo(base) else found


def suggested_repeats(opened: Project) -> int | None:
    """Repeats with which ten epochs reach what the goal wants; None where nothing can be said."""
    count = pictures_in(opened.dataset)
    return repeats_for(opened.goal, count) if opened.goal and count and opened.preset != DEMO else None


def follow(before: Project, after: Project) -> Project:
    """`after` with what was suggested before suggested anew; what a person wrote stays."""
    trigger, name = after.value(TRIGGER) or "", str(after.value(NAME))
    optional = after.goal in GOALS and GOALS[after.goal].trigger == "optional"
    untouched = before.value(TRIGGER) == after.value(TRIGGER)
    if (
        name != str(before.value(NAME))
        and untouched
        and trigger in {"", suggested_trigger(str(before.value(NAME)))}
        and not (optional and not trigger)
    ):
        after = projects.with_value(after, TRIGGER, suggested_trigger(name) or None)
    old, new = suggested_prompts(before, base_of(before)), suggested_prompts(after, base_of(after))
    prompts = _lines(after.value(PROMPTS))
    if new and old != new and prompts in ((), old):
        after = projects.with_value(after, PROMPTS, new)
    was, times = suggested_repeats(before), suggested_repeats(after)
    start = settings.setting(REPEATS).default
    if times is not None and after.value(REPEATS) in {start, was} and not after.repeats:
        after = projects.with_value(after, REPEATS, times)
    return after


def _lines(prompts: Any) -> tuple[str, ...]:
    return tuple(prompts) if isinstance(prompts, list | tuple) else ((str(prompts),) if prompts else ())


def chosen(ws: Workspace, before: Project, after: Project, kind: str = "") -> Laid:
    """`after` with all that its new goal, base model, kind or dataset calls for."""
    recipe = recipe_for(ws, after, kind)
    same = before.goal == after.goal and before.base_model == after.base_model and not kind
    # A recipe from a file or of one's own gives way to another goal or base model, not to other pictures.
    if recipe is None or (same and not bundled(after.preset)):
        return Laid(follow(before, after), "")
    found = laid(after, recipe)
    if same and projects.same_value(dict(found.project.values), dict(after.values)):
        return Laid(follow(before, after), "")
    return Laid(follow(before, found.project), found.sentence)
