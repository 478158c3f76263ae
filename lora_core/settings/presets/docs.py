"""The page `docs/presets.md`, from goals, bases and files: `python -m lora_core.settings.presets.docs`.

Covered: how recipes are put together, every goal, base model and layer with reasons and sources, the form
of users' presets. Not covered: what the settings themselves do (see `lora_core.settings.docs`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lora_core.settings._values import typed_number
from lora_core.settings.presets.bases import BASES
from lora_core.settings.presets.compose import composed
from lora_core.settings.presets.goals import EPOCHS, GOALS, offered
from lora_core.settings.presets.layers import EVIDENCE, PRESETS, read_preset
from lora_core.settings.presets.machines import ENGINE_RULES
from lora_core.workspace import APP_ROOT, write_atomic

PAGE: Final = APP_ROOT / "docs" / "presets.md"
FOLDERS: Final = ("base", "captions", "goal", "memory", "size", "time")
"""The layers, in the order in which they are laid over each other."""

_INTRO: Final = """# Presets

This page is written by `python -m lora_core.settings.presets.docs`; a test keeps it true.

A recipe says how to train. It is put together from small files in `presets/`, one over the other, and what
comes later counts:

1. `base/common.toml`, then the file of the kind of base model
2. `captions/`: tags or sentences
3. `goal/`: the learning rates, and the rank where it differs
4. `memory/`: the largest card that is not larger than yours; only if a GPU is known
5. `size/` and `time/`: the number of images, a short or a long run
6. this machine: what it cannot do is replaced, with the reason

Each value keeps which layer set it and why. What is trained (base model, images, name, trigger word) is no
part of a recipe. Recipes for `anima` and `flux1-dev` need sd-scripts, which this app does not start: it
writes their files. `presets/demo.toml` is a recipe of its own, for the bundled base model.

What the evidence of a recipe means; the weakest of its layers counts:

{evidence}

## Rates

Learning rate of the image part / of the text part, then rank / alpha. "off" means that the text part is not
trained. They go with AdamW.

{rates}

## Goals

{goals}

Length is planned in exposures: images × repeats × epochs. Repeats are exposures / (images × {epochs}),
rounded and never below 1, and there are {epochs} epochs. With so many images that this would be more than
twice the exposures, there are fewer epochs.

## Base models

Addresses, sizes and licences are what the models' own pages say. Nothing is fetched by choosing one here.

{bases}

## Layers

{layers}
## The default engine

The first line that fits counts, if its engine is installed.

{engines}

## Your own presets

They are files in `presets/` of the workspace, beside `projects/`. The bundled ones are never changed.

```
format = 1
title = "Soft ink"
evidence = "reported"
base = "sdxl"                      # what it was made for; may be empty
goal = "style"
left_empty = ["text_encoder_lr"]   # settings without a value

[recipe]
learning_rate = 0.0003
```

- A preset holds settings that say how to train, and nothing else: no base model, no images, no name, no
  trigger word, no path of this machine. So the file can be given away as it is.
- A file that cannot be read is listed with its reason. The others are not touched by it.
- A file with a `format` above 1 was written by a newer version of the app and is left alone.
- A deleted preset lies in `presets/.deleted/` until it is brought back.
"""


def page() -> str:
    """The whole page as Markdown."""
    return _INTRO.format(
        evidence="\n".join(f"- **{word}**: {meaning}" for word, meaning in EVIDENCE.items()),
        rates=_rows(("base", *GOALS), _rates()),
        goals=_rows(
            ("goal", "what it is", "trigger word", "images", "exposures", "captions", "advice"), _goals()
        ),
        epochs=EPOCHS,
        bases=_rows(("id", "what it is", "family", "pixels", "captions", "recommended", "licence"), _bases()),
        layers="\n".join(_layer(path) for folder in FOLDERS for path in layer_files(folder)),
        engines=_rows(
            ("family", "device", "network", "engine", "reason"),
            (
                (
                    _any(r.families),
                    _any(r.devices),
                    "one that the built-in trainer lacks" if r.beyond else "any",
                    f"`{r.engine}`",
                    r.reason,
                )
                for r in ENGINE_RULES
            ),
        ),
    )


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def _any(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "any"


def _rates() -> Iterator[list[str]]:
    for base in BASES:
        yield [f"`{base}`", *(_rate(base, goal) if goal in offered(base) else "–" for goal in GOALS)]


def _rate(base: str, goal: str) -> str:
    values = composed(base, goal).values
    rate, alpha = typed_number(values["learning_rate"]), typed_number(values["network_alpha"])
    text = "off" if values["network_train_unet_only"] else typed_number(values["text_encoder_lr"][0])
    return f"{rate} / {text}, {values['network_dim']} / {alpha}"


def _goals() -> Iterator[list[str]]:
    for goal in GOALS.values():
        trigger = f"{goal.trigger}. {goal.trigger_note}"
        images = goal.images_text.replace(" images", "")
        yield [
            f"**{goal.title}** `{goal.id}`",
            goal.sentence,
            trigger,
            images,
            str(goal.exposures),
            goal.caption_policy,
            goal.advice,
        ]


def _bases() -> Iterator[list[str]]:
    for base in BASES.values():
        best = base.recommended[0]
        yield [
            f"`{base.id}`",
            base.sentence,
            base.family,
            str(base.resolution),
            base.caption_note,
            f"[{best.label}]({best.address}), about {best.size_gb:g} GB",
            best.licence,
        ]


def layer_files(folder: str) -> list[Path]:
    """The files of one kind of layer, in the order of the page."""
    wanted = list(BASES) if folder == "base" else list(GOALS) if folder == "goal" else []
    order = ["common", *wanted]
    paths = sorted((PRESETS / folder).glob("*.toml"))
    return sorted(paths, key=lambda path: order.index(path.stem) if path.stem in order else len(order))


def _layer(path: Path) -> str:
    found = read_preset(path)
    head = [f"### `{path.parent.name}/{path.name}`: {found.title}", "", f"Evidence: {found.evidence}."]
    head += [f"Needs: {need}" for need in found.needs]
    rows = [
        [f"`{key}`", f"`{value}`", _scope(table), why, source]
        for table, key, value, why, source in lines_of(path)
    ]
    if not rows:
        about = " ".join(f"{key} = {value}." for key, value in found.head.items() if key == "share")
        return "\n".join([*head, about, *found.why.values(), ""])
    return "\n".join([*head, "", _rows(("setting", "value", "for", "why", "source"), rows), ""])


def _scope(table: str) -> str:
    return table.removesuffix("recipe").strip(".").replace(".", " ") or "all"


_HEADER: Final = re.compile(r"^\[([\w.-]+)\]$")
_LINE: Final = re.compile(r"^(\w+) = (.+?)(?:\s+# (.+))?$")


def lines_of(path: Path) -> list[tuple[str, str, str, str, str]]:
    """Every value in a file as written: table, key, value, reason, and the source in its comment."""
    table = ""
    values: list[tuple[str, str, str, str]] = []
    why: dict[str, Mapping[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines():
        if header := _HEADER.match(line):
            table = header[1]
        elif found := _LINE.match(line):
            if table.endswith("why"):
                reasons = dict(why.get(table.removesuffix("why"), {}))
                why[table.removesuffix("why")] = {**reasons, found[1]: found[2].strip('"')}
            elif table.endswith("recipe"):
                values.append((table, found[1], found[2], found[3] or ""))
    return [
        (table, key, value, str(why.get(table.removesuffix("recipe"), {}).get(key, "")), source)
        for table, key, value, source in values
    ]


def main(target: Path = PAGE) -> None:
    """Write the page."""
    write_atomic(target, page())


if __name__ == "__main__":
    main()
