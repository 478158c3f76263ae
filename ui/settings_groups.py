"""Which settings the form shows: the groups, the search, the filters.

Covered: what fits the engine and the other settings now, what was changed, what a search finds. Not
covered: drawing (`ui/settings_form.py`). Nothing here imports Streamlit.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lora_core import projects, settings
from lora_core.projects import Project
from lora_core.settings import Setting
from ui.project import IMAGES, MODEL, NAME, TRIGGER

PROMPTS: Final = "sample_prompts"
ON_TOP: Final = (MODEL, IMAGES, NAME, TRIGGER, PROMPTS)
"""What is chosen for each LoRA, outside of the box with all settings."""
BY_THE_APP: Final = frozenset({"resume"})
"""Settings that the app fills in itself when a run goes on."""

GROUPS: Final = {
    "network": "The LoRA itself",
    "optimizer": "How it learns",
    "schedule": "How long it learns",
    "batch": "Batches and seed",
    "text": "How captions are read",
    "loss": "Noise, and how mistakes count",
    "datasets": "How pictures are used",
    "subsets": "Captions and repeats",
    "model": "The base model",
    "precision": "Precision and memory",
    "speed": "Speed of this computer",
    "saving": "What is saved",
    "continuing": "Where it goes on from",
    "sampling": "Sample pictures",
    "validation": "Tests on pictures held back",
    "metadata": "Notes in the file",
    "notes": "More notes in the file",
}

DETAIL: Final = {
    "basic": "Basic settings",
    "advanced": "Basic and advanced settings",
    "expert": "All settings, also those for experts",
}
"""How much the form shows, by the last level that it shows."""
_LEVELS: Final = ("basic", "advanced", "expert")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a person wants to see."""

    search: str = ""
    level: str = "expert"
    changed_only: bool = False

    @property
    def narrow(self) -> bool:
        """Whether groups are opened by themselves, because little is left in them."""
        return bool(self.search.strip()) or self.changed_only


def value_of(opened: Project) -> Callable[[str], Any]:
    """The project's values, as the rules on what goes with what take them."""

    def value(key: str) -> Any:
        found = opened.value(key)
        return tuple(found) if isinstance(found, list) else found

    return value


def shown_now(opened: Project, family: str | None) -> list[Setting]:
    """The settings that act, or could act, in this project; in the order of the catalogue.

    One that the family of the base model ignores is shown while it has a value: it is in the engine's files,
    so there is a field that says that it does nothing.
    """
    value = value_of(opened)
    here = {s.key for s in settings.shown_settings(value, opened.engine, family)}
    return [
        s
        for s in settings.shown_settings(value, opened.engine, None)
        if (s.key in here or not projects.same_value(opened.value(s.key), s.default))
        and s.key not in ON_TOP
        and s.key not in BY_THE_APP
        and len(s.choices_for(opened.engine)) != 1
    ]


def places(concern: str, engine: str) -> list[str]:
    """The keys of all settings of a group that this engine could ever show, in their order."""
    return [s.key for s in settings.catalogue() if s.concern == concern and engine in s.engines]


def comes_with(opened: Project, key: str, value: Any) -> Mapping[str, Any]:
    """Values that come with a choice, such as the learning rate of an optimizer that wants 1."""
    return settings.on_choice(key, value, value_of(opened))


@dataclass(frozen=True, slots=True)
class Group:
    """One group as it is now."""

    concern: str
    members: tuple[Setting, ...]
    idle: Mapping[str, str]
    """Members that do nothing now, with the reason."""
    changed: frozenset[str]
    """Members that are not as the preset has them."""
    meanings: Mapping[str, str]
    """Members that mean something else beside the chosen optimizer than their help says."""
    hidden: int
    """Members that the wish for less detail leaves out."""

    @property
    def title(self) -> str:
        return GROUPS[self.concern]


def groups(
    opened: Project, family: str | None, wanted: Wanted, among: Collection[str] = tuple(GROUPS)
) -> list[Group]:
    """The groups among these that have something to show, in their order."""
    values, shown = value_of(opened), shown_now(opened, family)
    idle = settings.no_effect(values, opened.engine, family)
    changed = frozenset(changed_keys(opened))
    found = []
    for concern in among:
        here = [s for s in shown if s.concern == concern]
        members = tuple(
            replace(s, advice=settings.advice_for(s, values)) for s in here if _wanted(s, wanted, changed)
        )
        if members:
            mine = {s.key for s in here}
            why = {key: text for key, text in idle.items() if key in mine}
            means = {key: text for key in mine if (text := settings.meaning(key, values))}
            hidden = len(here) - len(members)
            found.append(Group(concern, members, why, changed & mine, means, hidden))
    return found


def group(opened: Project, family: str | None, wanted: Wanted, concern: str) -> Group | None:
    """One group as it is now; None when it has nothing to show."""
    return next(iter(groups(opened, family, wanted, (concern,))), None)


def changed_keys(opened: Project) -> list[str]:
    """Settings that are not as the preset has them, or not as they start where no preset has a say."""
    changed = set(projects.changed_from_preset(opened))
    if opened.repeats:
        changed.add(projects.REPEATS)
    return [
        s.key
        for s in settings.catalogue()
        if s.key in changed
        or (s.part == "target" and not projects.same_value(opened.value(s.key), s.default))
    ]


def _wanted(setting: Setting, wanted: Wanted, changed: frozenset[str]) -> bool:
    if wanted.changed_only and setting.key not in changed:
        return False
    if wanted.search.strip():
        return found_by(setting, wanted.search)  # in all levels: who searches knows what for
    # What was changed acts, and is never hidden.
    return setting.key in changed or _LEVELS.index(setting.level) <= _LEVELS.index(wanted.level)


def found_by(setting: Setting, search: str) -> bool:
    """Whether each word of the search is somewhere in its names or its help."""
    texts = (setting.key, setting.label, setting.what, setting.why, setting.higher, setting.lower)
    where = " ".join((*texts, setting.key.replace("_", " "), *map(str, setting.choices))).casefold()
    return all(word in where for word in search.casefold().split())


def not_shown(opened: Project, family: str | None, search: str) -> Iterator[tuple[Setting, str]]:
    """What a search finds that has no field now, each with the reason."""
    shown = {s.key for s in shown_now(opened, family)}
    idle = settings.no_effect(value_of(opened), opened.engine, family)
    for s in settings.catalogue():
        here = opened.engine in s.engines  # what only an engine has that is not offered is not shown
        if here and s.key not in shown and s.key in idle and found_by(s, search):
            yield s, idle[s.key]
