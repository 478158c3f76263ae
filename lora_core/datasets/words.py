"""What a caption becomes each time it is used: prefix, dropout, choices, shuffling, separators.

The steps, their order and the order of the draws are those of `process_caption` in sd-scripts at
48d368f; only the source of chance is the caller's. So a prefix stands before everything, also before
the tags that stay in front, and a dropped caption has none of it.

Covered: one caption at one moment of a run. Not covered: reading files (see `captions.py`),
counting tokens, and replacements for textual inversion.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lora_core.datasets.captions import JOINT
from lora_core.settings import SubsetSettings

_CHOICES: Final = re.compile(r"\{([^}]+)\}")
# Private use: no keyboard types them, and no caption of ours holds them.
_OPEN, _CLOSE = "\ue000", "\ue001"


class Chance(Protocol):
    """What `numpy.random.Generator` has; `integers(n)` is 0 to n - 1."""

    def random(self) -> float: ...

    def shuffle(self, x: Any, /) -> None: ...

    def integers(self, low: int, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in a run a caption is used."""

    epoch: int
    """From 1 on, as sd-scripts counts them."""
    step: int
    """Steps done before this one."""
    steps: int
    """Steps of the whole run."""


def words(caption: str, settings: SubsetSettings, moment: Moment, rng: Chance) -> str:
    """The text that `caption` is learned with at `moment`; chance is drawn only for what is switched on.

    `caption` has several lines only where choices are on. An empty result means: without words.
    """
    if settings.caption_prefix:
        caption = f"{settings.caption_prefix} {caption}"
    if settings.caption_suffix:
        caption = f"{caption} {settings.caption_suffix}"
    if _dropped(settings, moment, rng):
        return ""
    caption = _chosen(caption, rng) if settings.enable_wildcard else caption.split("\n")[0]
    if settings.shuffle_caption or settings.token_warmup_step > 0 or settings.caption_tag_dropout_rate > 0:
        caption = _rearranged(caption, settings, moment, rng)
    if settings.secondary_separator:
        caption = caption.replace(settings.secondary_separator, settings.caption_separator)
    return caption


def changes(settings: SubsetSettings) -> bool:
    """True when the same caption can become different texts in the course of a run."""
    return bool(
        settings.shuffle_caption
        or settings.enable_wildcard
        or settings.caption_dropout_rate
        or settings.caption_dropout_every_n_epochs
        or settings.caption_tag_dropout_rate
        or settings.token_warmup_step
    )


def _dropped(settings: SubsetSettings, moment: Moment, rng: Chance) -> bool:
    rate, every = settings.caption_dropout_rate, settings.caption_dropout_every_n_epochs
    return (rate > 0 and rng.random() < rate) or (every > 0 and moment.epoch % every == 0)


def _chosen(caption: str, rng: Chance) -> str:
    """One line of several, and one of `{a|b}`; `{{` and `}}` stand for braces."""
    if "\n" in caption:
        caption = _one_of(caption.split("\n"), rng)
    caption = caption.replace("{{", _OPEN).replace("}}", _CLOSE)
    caption = _CHOICES.sub(lambda found: _one_of(found.group(1).split("|"), rng), caption)
    return caption.replace(_OPEN, "{").replace(_CLOSE, "}")


def _one_of(choices: Sequence[str], rng: Chance) -> str:
    return choices[int(rng.integers(len(choices)))]


def _rearranged(caption: str, settings: SubsetSettings, moment: Moment, rng: Chance) -> str:
    front, loose, back = _parts(caption, settings)
    loose = loose[: _tags_by_now(len(loose), settings, moment)]
    if settings.shuffle_caption:
        rng.shuffle(loose)
    if settings.caption_tag_dropout_rate > 0:
        loose = [tag for tag in loose if rng.random() >= settings.caption_tag_dropout_rate]
    # The joint is a comma whatever the separator is; sd-scripts does so too.
    return JOINT.join(front + loose + back)


def _parts(caption: str, settings: SubsetSettings) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that move, tags that stay last."""
    sign = settings.keep_tokens_separator
    if sign and sign in caption:
        # At most two signs part it; a third one belongs to the last tags.
        pieces = [_tags(piece, settings) for piece in caption.split(sign, 2)]
        front, loose, back = ([tag for tag in tags if tag] for tags in [*pieces, []][:3])
        return front, loose, back
    tags = _tags(caption.strip(), settings)
    return tags[: settings.keep_tokens], tags[settings.keep_tokens :], []


def _tags(text: str, settings: SubsetSettings) -> list[str]:
    return [tag.strip() for tag in text.split(settings.caption_separator)]


def _tags_by_now(count: int, settings: SubsetSettings, moment: Moment) -> int:
    """How many of the tags that move are used yet."""
    until = settings.token_warmup_step
    if until < 1:
        until = math.floor(until * moment.steps)
    if not until or moment.step >= until:
        return count
    least = settings.token_warmup_min
    return math.floor(moment.step * ((count - least) / until)) + least
