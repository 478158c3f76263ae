"""How one setting is described, and how a description becomes a field and a `Setting`.

Covered: `described`, the only way in which a settings field is made, and `Setting`, the record
that forms, files, checks, commands and docs read. Not covered: the settings themselves (see the
`concern_*` modules) and reading values from files (see `files.py`).
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

Level = Literal["basic", "advanced", "expert"]
Place = Literal["argument", "network_args", "optimizer_args", "lr_scheduler_args", "dataset", "subset"]
Part = Literal["recipe", "target"]
Kind = Literal[
    "flag", "whole", "number", "steps_or_share", "text", "choice", "path", "pair", "size", "prompts",
    "numbers", "paths",
]  # fmt: skip
Scalar = bool | int | float | str

BUILT_IN: Final = "diffusers"
SD_SCRIPTS: Final = "sd-scripts"
EVERY_ENGINE: Final = (BUILT_IN, SD_SCRIPTS)
EVERY_UNET_FAMILY: Final = ("sd15", "sd2", "sdxl")
"""Families that learn to guess noise."""
FLOW_FAMILIES: Final = ("sd3", "flux1", "chroma", "lumina", "hunyuan-image", "anima")
"""Families that learn a flow from noise to picture; sd-scripts alone trains them."""
EVERY_FAMILY: Final = (*EVERY_UNET_FAMILY, *FLOW_FAMILIES)


def all_but(*families: str) -> tuple[str, ...]:
    """Every family but these."""
    return tuple(family for family in EVERY_FAMILY if family not in families)


LONGEST_NAME: Final = 255
"""Bytes of one name in a path."""


class Concern(BaseModel):
    """Base of all settings records: frozen, exact about types, closed to unknown names."""

    # Strict, because sd-scripts converts nothing: text where a number belongs must not pass here
    # and then fail there.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _as_path(value: object) -> object:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return value
    path = Path(value)
    # No file system has longer names, and asking it for one raises an error.
    fits = all(len(part.encode(errors="replace")) <= LONGEST_NAME for part in path.parts)
    return path if fits else value


def as_tuple(value: object) -> object:
    """A list, which is all that TOML has, as the tuple that a frozen record holds."""
    return tuple(value) if isinstance(value, list) else value


PathValue = Annotated[Path, BeforeValidator(_as_path)]
"""A path; text is taken as one, as files and forms have nothing else."""
PairValue = Annotated[tuple[float, float], BeforeValidator(as_tuple)]
"""Two numbers."""
TextsValue = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
"""Lines of text."""


def _as_numbers(value: object) -> object:
    # sd-scripts takes one number for a list of one, and so do people.
    single = isinstance(value, int | float) and not isinstance(value, bool)
    return (value,) if single else as_tuple(value)


NumbersValue = Annotated[tuple[float, ...], BeforeValidator(_as_numbers), Field(min_length=1)]
"""One number or several."""
PathsValue = Annotated[tuple[PathValue, ...], BeforeValidator(as_tuple), Field(min_length=1)]
"""One path or several."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The range that works for most people. It is shown and never enforced."""

    low: float | None
    high: float | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of a training run: all that any part of the app knows about it."""

    key: str
    """The name that sd-scripts gives it."""
    label: str
    what: str
    """What it does, in plain words."""
    why: str
    """When one would change it."""
    higher: str
    """What a higher value, a switch turned on or a fuller field does; empty where there is no such order."""
    lower: str
    """What a lower value, a switch turned off or an empty field does."""
    unit: str
    level: Level
    place: Place
    """Where it is written: an argument, a `key=value` list, the dataset table or a subset table."""
    part: Part
    """`recipe` says how to train and travels with a preset; `target` says what, and stays."""
    concern: str
    """Attribute of `RunConfig` that holds it; `datasets` and `subsets` for the dataset file."""
    engines: tuple[str, ...]
    families: tuple[str, ...]
    kind: Kind
    optional: bool
    """True when it may be left out, which then means something."""
    default: Any
    choices: tuple[Scalar, ...] = ()
    engine_choices: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    """Engines that take fewer values than `choices`, or than the type allows."""
    suggestions: tuple[Scalar, ...] = ()
    """Values that a form offers where any other may be typed too."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    advice: Advice | None = None
    only: Mapping[str, tuple[Scalar | None, ...]] = field(default_factory=dict)
    """It acts only where each of these settings has one of these values; elsewhere it is neither shown nor
    written. An optimizer, a schedule or a network type owns its arguments in this way."""
    argument: str | None = None
    """For dataset and subset settings: the argument that is used where no table names the setting."""
    annotation: Any = None
    """The field's type with its limits, for a validator of this one value."""

    def choices_for(self, engine: str) -> tuple[Scalar, ...]:
        """The values that `engine` takes; empty when the type alone decides."""
        return tuple(self.engine_choices.get(engine, self.choices))

    @property
    def full_name(self) -> str:
        """Place and key in one, as docs and messages name it."""
        return self.key if self.place in {"argument", "dataset", "subset"} else f"{self.place}: {self.key}"


def described(
    default: Any,
    *,
    label: str,
    what: str,
    why: str,
    higher: str = "",
    lower: str = "",
    unit: str = "",
    level: Level = "advanced",
    place: Place = "argument",
    part: Part = "recipe",
    engines: tuple[str, ...] = EVERY_ENGINE,
    families: tuple[str, ...] = EVERY_FAMILY,
    engine_choices: Mapping[str, tuple[Scalar, ...]] | None = None,
    suggestions: tuple[Scalar, ...] = (),
    advice: Advice | None = None,
    only: Mapping[str, tuple[Scalar | None, ...]] | None = None,
    argument: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """A pydantic field that carries its whole description; `default=...` makes it required.

    `ge`, `gt`, `le`, `lt` are hard: beyond them the engine would fail. Everything softer is `advice`.
    """
    about = {
        "label": label,
        "what": what,
        "why": why,
        "higher": higher,
        "lower": lower,
        "unit": unit,
        "level": level,
        "place": place,
        "part": part,
        "engines": engines,
        "families": families,
        "engine_choices": dict(engine_choices or {}),
        "suggestions": suggestions,
        "advice": advice,
        "only": dict(only or {}),
        "argument": argument,
        "ge": ge,
        "gt": gt,
        "le": le,
        "lt": lt,
    }
    # pydantic keeps this mapping with the field; no schema is ever drawn from it.
    extra = cast("JsonDict", {"setting": about})
    return Field(default, ge=ge, gt=gt, le=le, lt=lt, json_schema_extra=extra)


def settings_of(model: type[Concern], concern: str) -> tuple[Setting, ...]:
    """The described fields of one record, in their order."""
    found = []
    for key, info in model.model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and "setting" in extra:
            found.append(_setting(key, info, concern, cast("dict[str, Any]", extra["setting"])))
    return tuple(found)


def _setting(key: str, info: FieldInfo, concern: str, about: dict[str, Any]) -> Setting:
    inner, optional = _without_none(info.annotation)
    kind, choices = _kind(inner)
    return Setting(
        key=key,
        concern=concern,
        kind=kind,
        optional=optional,
        default=None if info.is_required() else info.default,
        choices=choices,
        annotation=Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
        **about,
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        optional = len(members) < len(get_args(annotation))
        return (members[0] if len(members) == 1 else tuple(members)), optional
    return annotation, False


_SIMPLE_KINDS: Final[Mapping[Any, Kind]] = {
    bool: "flag",
    int: "whole",
    float: "number",
    str: "text",
    Path: "path",
    tuple[float, float]: "pair",
}


def _kind(inner: Any) -> tuple[Kind, tuple[Scalar, ...]]:
    """What a form needs to know of a type, and its choices if it lists them."""
    if isinstance(inner, tuple):
        bare = {_bare(member) for member in inner}
        if bare == {int, float}:
            return "steps_or_share", ()
        return "prompts", ()
    if get_origin(inner) is Literal:
        return "choice", get_args(inner)
    bare_type = _bare(inner)
    if get_args(bare_type)[1:] == (...,):
        return ("numbers" if get_args(bare_type)[0] is float else "paths"), ()
    # The one other pair is of whole numbers with limits of their own: a size in pixels.
    return _SIMPLE_KINDS.get(bare_type, "size"), ()


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
