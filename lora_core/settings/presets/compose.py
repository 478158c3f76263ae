"""Recipes put together: base model, goal, captions, memory, images, time and machine, one over the other.

Covered: which layers there are, laying them over each other so that each value knows which layer set it
and why. Not covered: whether the run as a whole can start (see `lora_core.planning`), reading one file
(see `layers.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from lora_core.errors import Problem, SettingsError
from lora_core.settings.presets.bases import BASES, CaptionStyle
from lora_core.settings.presets.goals import EPOCHS, GOALS, captions_for, length_for, offered
from lora_core.settings.presets.layers import EVIDENCE, PRESETS, Evidence, read_preset
from lora_core.settings.presets.machines import Facts, changes_for, memory_of
from lora_core.settings.run import RunConfig, with_values

Time = Literal["short", "usual", "long"]
_SHORT_OF_NAME: Final = 0.9
"""A card tells a bit less than its name: one sold with 16 GB tells 14.6 to 15.9."""

_LENGTHS: Final[Evidence] = "reported"
"""Of the exposures of the goals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One part that a recipe is put together from."""

    id: str
    """Such as `goal.style`."""
    title: str
    evidence: Evidence
    values: Mapping[str, Any]
    why: Mapping[str, str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """A whole recipe, and where each of its values comes from."""

    id: str
    """Base and goal, such as `sdxl.style`."""
    title: str
    sentence: str
    base: str
    goal: str
    values: Mapping[str, Any]
    """Recipe settings by key; None for one that is left empty."""
    why: Mapping[str, str]
    """One sentence for each value."""
    set_by: Mapping[str, str]
    """The id of the layer that set each value."""
    target: Mapping[str, Any]
    """Settings of the base model that go with its kind. They are not part of the recipe."""
    evidence: Evidence
    """The weakest of all layers."""
    evidence_text: str
    """What that means, for its card."""
    needs: tuple[str, ...]
    """What one has to have, one sentence each."""
    layers: tuple[Layer, ...]
    """In the order in which they were laid over each other."""

    def applied(self, run: RunConfig) -> RunConfig:
        """`run` by this recipe, on a base model of this kind; the rest of what to train stays."""
        return with_values(run, {**self.values, **self.target})


def composed(
    base: str,
    goal: str,
    *,
    memory_gb: float | None = None,
    images: int | None = None,
    time: Time = "usual",
    captions: CaptionStyle | None = None,
    hold_back: bool = False,
    facts: Facts | None = None,
) -> Composed:
    """The recipe for a goal on a kind of base model.

    Args:
        base: id in `BASES`.
        goal: id in `GOALS`, one that is offered for this base.
        memory_gb: of the GPU; without it, what the facts say, and without these no layer for memory.
        images: how many there are; without it, ten epochs.
        time: a short or a long run has fewer or more exposures.
        captions: what the captions are, where they are not what the base model wants.
        hold_back: hold some images back for tests.
        facts: what torch said of this machine (`lora_core.machine.read_facts`).

    Raises:
        SettingsError: there is no such recipe.
    """
    if goal not in offered(base):
        raise _no_recipe(f"{base}.{goal}")
    layers = [*_files(base, goal, captions, memory_of(facts) if memory_gb is None else memory_gb)]
    layers += _lengths(base, goal, images, time, hold_back=hold_back)
    values, why, set_by = _laid(layers)
    # sd-scripts has packages of its own, and it may train on another machine than this one.
    if BASES[base].here and (changes := changes_for(values, facts)):
        layers.append(
            Layer(
                id="machine",
                title="This machine",
                evidence="documented",
                values={key: value for key, (value, _) in changes.items()},
                why={key: reason for key, (_, reason) in changes.items()},
            )
        )
        values, why, set_by = _laid(layers)
    about, evidence = GOALS[goal], max((layer.evidence for layer in layers), key=list(EVIDENCE).index)
    return Composed(
        id=f"{base}.{goal}",
        title=f"{about.title} on {BASES[base].title}",
        sentence=about.sentence,
        base=base,
        goal=goal,
        values=values,
        why=why,
        set_by=set_by,
        target=BASES[base].target,
        evidence=evidence,
        evidence_text=EVIDENCE[evidence],
        needs=(*(need for layer in layers for need in layer.needs), *_needs(base, goal, captions)),
        layers=tuple(layers),
    )


def composed_by_id(preset: str, **choices: Any) -> Composed:
    """The recipe of this id, such as `sdxl.style`; `choices` as in `composed`.

    Raises:
        SettingsError: there is no such recipe.
    """
    base, _, goal = preset.rpartition(".")
    if goal not in offered(base):
        raise _no_recipe(preset)
    return composed(base, goal, **choices)


def all_ids() -> tuple[str, ...]:
    """The ids of all recipes that come with the app."""
    return tuple(f"{base}.{goal}" for base in BASES for goal in offered(base))


def _no_recipe(preset: str) -> SettingsError:
    what = f"There is no recipe {preset[:60]!r}."
    fix = "Choose a goal and a base model from the lists."
    return SettingsError([Problem(setting="", what=what, fix=fix)], what="No recipe was chosen.")


def _needs(base: str, goal: str, captions: CaptionStyle | None) -> Iterator[str]:
    about = GOALS[goal]
    yield f"Best with {about.images_text}."
    yield f"Captions made of {captions or captions_for(base, goal)}."
    if about.trigger == "needed":
        yield "A trigger word."


def _laid(layers: list[Layer]) -> tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, str]]:
    values: dict[str, Any] = {}
    why: dict[str, str] = {}
    set_by: dict[str, str] = {}
    for layer in layers:
        for key, value in layer.values.items():
            values[key], why[key], set_by[key] = value, layer.why.get(key, ""), layer.id
    return MappingProxyType(values), MappingProxyType(why), MappingProxyType(set_by)


def _files(base: str, goal: str, captions: CaptionStyle | None, memory_gb: float | None) -> Iterator[Layer]:
    yield layer("base/common", base)
    yield layer(f"base/{base}", base)
    yield layer(f"captions/{captions or captions_for(base, goal)}", base)
    yield layer(f"goal/{goal}", base)
    if memory_gb is not None:
        yield layer(f"memory/{memory_tier(memory_gb)}", base)


def _lengths(base: str, goal: str, images: int | None, time: Time, *, hold_back: bool) -> Iterator[Layer]:
    if images is not None and images >= _thousands():
        yield layer("size/thousands", base)
    if hold_back:
        yield layer("size/hold_back", base)
    share, why, name = 1.0, "", "size/images"
    title, evidence = "Your images", _LENGTHS
    if time != "usual":
        found = read_preset(PRESETS / "time" / f"{time}.toml", base)
        share, why, name = float(found.head["share"]), found.why["max_train_epochs"], f"time/{time}"
        title, evidence = found.title, found.evidence
    epochs = _epochs(goal, images, share)
    if epochs != EPOCHS:
        yield Layer(
            id=_id(name),
            title=title,
            evidence=evidence,
            values={"max_train_epochs": epochs},
            why={"max_train_epochs": why or _many(goal, epochs)},
        )


def _epochs(goal: str, images: int | None, share: float) -> int:
    usual = EPOCHS if images is None else length_for(goal, images).epochs
    return max(1, round(usual * share))


def _many(goal: str, epochs: int) -> str:
    passes = "one pass" if epochs == 1 else f"{epochs} passes"
    return f"You have many images, so {passes} through them come to about {GOALS[goal].exposures} uses."


@lru_cache(maxsize=256)
def layer(name: str, base: str) -> Layer:
    """The layer in `presets/NAME.toml`, as it counts for this kind of base model.

    Raises:
        SettingsError: the file is not what it should be.
    """
    found = read_preset(PRESETS / f"{name}.toml", base)
    return Layer(
        id=_id(name),
        title=found.title,
        evidence=found.evidence,
        values=MappingProxyType(dict(found.values)),
        why=MappingProxyType(dict(found.why)),
        needs=found.needs,
    )


def _id(name: str) -> str:
    return name.replace("/", ".")


@lru_cache(maxsize=1)
def memory_tiers() -> Mapping[int, str]:
    """Gigabytes and the name of the file of every layer for memory, smallest first."""
    found = {int(read_preset(path).head["gb"]): path.stem for path in _in("memory")}
    return MappingProxyType(dict(sorted(found.items())))


def memory_tier(memory_gb: float) -> str:
    """The name of the layer for a card with this much memory: the largest that it has, else the smallest."""
    tiers = memory_tiers()
    fitting = [gb for gb in tiers if memory_gb >= gb * _SHORT_OF_NAME]
    return tiers[max(fitting, default=min(tiers))]


@lru_cache(maxsize=1)
def _thousands() -> int:
    return int(read_preset(PRESETS / "size" / "thousands.toml").head["images"])


def _in(folder: str) -> list[Path]:
    return sorted((PRESETS / folder).glob("*.toml"))
