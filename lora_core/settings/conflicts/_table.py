"""How a conflict between settings is written down: one row, and how a row becomes a problem.

Covered: the row, the settings as a row sees them, the button that mends it. Not covered: the rows
themselves (see the modules beside) and conflicts that images, files or the machine decide.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lora_core.errors import Problem
from lora_core.settings._description import EVERY_FAMILY
from lora_core.settings._values import typed_number
from lora_core.settings.ignored import finds_its_rate, schedule_free
from lora_core.settings.run import RunConfig, setting, value_in


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as the rows see it: its values by their keys, and its family."""

    run: RunConfig
    family: str | None
    """None while it is not known; rows of single families then say nothing."""

    def __getitem__(self, key: str) -> Any:
        return value_in(self.run)(key)

    def any(self, key: str) -> bool:
        """True where one of the datasets or folders has `key` set."""
        return any(self.each(key))

    def each(self, key: str) -> Iterator[Any]:
        """The values of a setting of datasets or folders, in their order."""
        for dataset in self.run.dataset.datasets:
            if setting(key).place == "dataset":
                yield getattr(dataset, key)
            else:
                yield from (getattr(subset, key) for subset in dataset.subsets)

    @property
    def read_once(self) -> bool:
        """True where captions are read once; the switch for the disk turns the other one on."""
        return bool(self["cache_text_encoder_outputs"] or self["cache_text_encoder_outputs_to_disk"])

    @property
    def keeps_one_rate(self) -> bool:
        """True for a schedule-free optimizer."""
        return schedule_free(self["optimizer_type"])

    @property
    def finds_its_rate(self) -> bool:
        """True for an Adafactor that sets its own rate."""
        return finds_its_rate(value_in(self.run))

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of all parts that are trained, text parts last."""
        first, found = self["learning_rate"], []
        if not self["network_train_text_encoder_only"]:
            found.append(first if self["unet_lr"] is None else self["unet_lr"])
        if not self["network_train_unet_only"] and self.family != "hunyuan-image":
            found += self["text_encoder_lr"] or (first,)
        return tuple(found)


Mend = Callable[[Seen], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """One row: settings that do not go together with this engine."""

    name: str
    """What is wrong, in a few words; unique."""
    key: str
    """The setting that the problem stands at."""
    when: Callable[[Seen], bool]
    what: str
    fix: str
    mend: Mapping[str, Any] | Mend = field(default_factory=dict)
    """The change that ends it; empty where only a person can."""
    families: tuple[str, ...] = EVERY_FAMILY
    severity: Literal["error", "advice"] = "error"
    source: tuple[str, str] = ("", "")
    """For an error: the file of sd-scripts that refuses it, and words that stand there at that place.

    An empty file is a library that sd-scripts calls, and the words are the library's."""

    def problem(self, seen: Seen) -> Problem:
        """The row as a problem of this run."""
        mend = self.mend(seen) if callable(self.mend) else self.mend
        return Problem(
            setting=self.key,
            what=self.what.replace("{value}", _shown(seen[self.key]) if "{value}" in self.what else ""),
            fix=self.fix,
            severity=self.severity,
            mend=mend,
            mend_label=_label(mend),
        )

    def holds(self, seen: Seen) -> bool:
        """True where it is wrong in this run."""
        whole = self.families == EVERY_FAMILY
        return (whole or seen.family in self.families) and self.when(seen)


_SWITCHES: Final = {True: "Turn on {}", False: "Turn off {}"}


def _label(mend: Mapping[str, Any]) -> str:
    if not mend:
        return ""
    key, value = next(iter(mend.items()))
    if isinstance(value, bool):
        return _SWITCHES[value].format(key)
    return f"Leave {key} out" if value is None else f"Set {key} to {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(each) for each in value)
    return typed_number(value) if isinstance(value, float) else str(value)
