"""Ranks, alphas and rates of single blocks of the UNet, as sd-scripts reads them.

The blocks are counted as sd-scripts counts them: 25 for SD 1.x (12 down, one in the middle, 12 up),
23 for SDXL (one in front, 9 in, 3 in the middle, 9 out, one at the end). A block whose rate is zero
gets no layers. Which block a layer belongs to says `block_number` in `network_places.py`.

Covered: the lists and their checks; loads no torch. Not covered: rates of the text encoders.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lora_core.errors import Problem, SettingsError
from lora_core.settings import NetworkSettings

_SIDE: Final = {"sd1": 12, "sdxl": 9}
"""Blocks on the way down, and as many on the way up."""
_MIDDLE: Final = {"sd1": 1, "sdxl": 3}
_ENDS: Final = {"sd1": 0, "sdxl": 1}
"""Blocks in front and at the end that have a number and never a layer."""
_SHARES: Final = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_CURVES: Final[dict[str, Callable[[float], float]]] = {
    # How far along, from 0 for the first block to 1 for the last.
    "sine": lambda place: math.sin(math.pi * place / 2),
    "cosine": lambda place: math.sin(math.pi * (1 - place) / 2),
    "linear": lambda place: place,
    "reverse_linear": lambda place: 1 - place,
    "zeros": lambda place: 0 * place,
}


@dataclass(frozen=True, slots=True)
class Blocks:
    """What each block gets, in the order of their numbers; None where blocks do not differ."""

    ranks: list[int] | None = None
    alphas: list[float] | None = None
    conv_ranks: list[int] | None = None
    conv_alphas: list[float] | None = None
    rates: list[float] | None = None
    """Factors of the rate of the UNet."""


def block_problems(settings: NetworkSettings, family: str) -> list[Problem]:
    """What is wrong with the lists for this family; empty when they can be used."""
    found: list[Problem] = []
    blocks = _read(settings, family, found)
    ends = _ENDS[family]
    ranks = [
        rank for each in (blocks.ranks, blocks.conv_ranks) if each for rank in each[ends : len(each) - ends]
    ]
    if ranks and not any(ranks) and not found and not settings.network_train_text_encoder_only:
        key = next(key for key in ("block_dims", *_SHARES) if getattr(settings, key) is not None)
        what = "No block of the image part is left to be trained: each has rank 0, or no share of the rate."
        fix = f"Give at least one block a rank and a rate, or leave {key} out."
        found.append(
            Problem(setting=key, what=what, fix=fix, mend={key: None}, mend_label=f"Leave {key} out")
        )
    return found


def blocks_of(settings: NetworkSettings, family: str) -> Blocks:
    """The lists, complete.

    Raises:
        SettingsError: a list has the wrong length or something else than numbers in it.
    """
    found: list[Problem] = []
    blocks = _read(settings, family, found)
    if found:
        raise SettingsError(found)
    return blocks


def _read(settings: NetworkSettings, family: str, found: list[Problem]) -> Blocks:
    rates = _rates(settings, family, found)
    lists = _Lists(settings, 2 * _SIDE[family] + _MIDDLE[family] + 2 * _ENDS[family], found)
    if settings.block_dims is None and rates is None:
        for key in ("block_alphas", "conv_block_dims", "conv_block_alphas"):
            if getattr(settings, key) is not None:
                lists.problem(key, "It does nothing without block_dims.", "Set block_dims, or leave it out.")
        return Blocks()
    ranks = lists.whole("block_dims", settings.network_dim)
    alphas = lists.numbers("block_alphas", settings.network_alpha)
    conv_ranks = conv_alphas = None
    if settings.conv_block_dims is not None or settings.conv_dim is not None:
        conv_ranks = lists.whole("conv_block_dims", settings.conv_dim or 0)
        conv_alphas = lists.numbers("conv_block_alphas", settings.conv_alpha or 1.0)
    elif settings.conv_block_alphas is not None:
        what = "It does nothing without ranks for the convolutions."
        lists.problem("conv_block_alphas", what, "Set conv_block_dims, or leave it out.")
    for number, rate in enumerate(rates or ()):
        if rate == 0:
            ranks[number] = 0
            if conv_ranks is not None:
                conv_ranks[number] = 0
    return Blocks(ranks, alphas, conv_ranks, conv_alphas, rates)


class _Lists:
    """Reads one list of numbers after the other; what is wrong goes into `found`."""

    def __init__(self, settings: NetworkSettings, length: int, found: list[Problem]) -> None:
        self._settings, self._length, self._found = settings, length, found

    def problem(self, key: str, what: str, fix: str) -> None:
        mend = {key: None}
        self._found.append(Problem(setting=key, what=what, fix=fix, mend=mend, mend_label=f"Leave {key} out"))

    def whole(self, key: str, otherwise: int) -> list[int]:
        return self._list(key, otherwise, int)

    def numbers(self, key: str, otherwise: float) -> list[float]:
        return self._list(key, otherwise, float)

    def _list(self, key: str, otherwise: Any, kind: Callable[[str], Any]) -> list[Any]:
        text = getattr(self._settings, key)
        if text is None:
            return [otherwise] * self._length
        values = _numbers(text, kind)
        if values is None or len(values) != self._length or min(values) < 0:
            what = f"It must be {self._length} numbers with commas between them, none below zero."
            self.problem(key, what, f"Write {self._length} numbers, or leave {key} out.")
            return [otherwise] * self._length
        return values


def _numbers(text: str, kind: Callable[[str], Any]) -> list[Any] | None:
    try:
        values = [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None


def _rates(settings: NetworkSettings, family: str, found: list[Problem]) -> list[float] | None:
    sides = dict(zip(_SHARES, (_SIDE[family], _MIDDLE[family], _SIDE[family]), strict=True))
    texts = {key: getattr(settings, key) for key in sides}
    if all(text is None for text in texts.values()):
        return None
    least = settings.block_lr_zero_threshold
    rates: list[float] = []
    for key, count in sides.items():
        text = texts[key]
        values = [1.0] * count if text is None else _side(text, count, curves=key != "mid_lr_weight")
        if values is None:
            kinds = "" if key == "mid_lr_weight" else f", or one of {', '.join(_CURVES)}"
            what = f"It must be up to {count} numbers from 0 with commas between them{kinds}."
            fix, label = f"Change {key}, or leave it out.", f"Leave {key} out"
            found.append(Problem(setting=key, what=what, fix=fix, mend={key: None}, mend_label=label))
            values = [1.0] * count
        rates += values if text is None else [rate if rate > least else 0.0 for rate in values]
    ends = [1.0] * _ENDS[family]
    return [*ends, *rates, *ends]


def _side(text: str, count: int, *, curves: bool) -> list[float] | None:
    """The factors of one side; blocks that are not named keep the whole rate."""
    name, _, lift = text.strip().partition("+")
    if curves and name in _CURVES:
        added = _numbers(lift or "0", float)
        return None if added is None else [_CURVES[name](n / (count - 1)) + added[0] for n in range(count)]
    # As in sd-scripts, nothing between two commas is a zero.
    values = _numbers(",".join(part.strip() or "0" for part in text.split(",")), float)
    if values is None or len(values) > count or min(values) < 0:
        return None
    return values + [1.0] * (count - len(values))
