"""The demo dataset: a folder of pictures of the concept and a folder of ordinary ones, with captions.

Covered: drawing both with a fixed seed, as a person would have them: PNG files with a text file of
the same name. The ordinary pictures hold on to what the base already draws (regularisation).

Not covered: training settings (see the package itself).
"""

from io import BytesIO
from pathlib import Path
from typing import Final

from lora_core.demo.shapes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TRIGGER,
    Scene,
    caption,
    draw,
    random_scene,
    seeded,
)
from lora_core.workspace import write_atomic

CONCEPT_FOLDER: Final = "concept"
ORDINARY_FOLDER: Final = "ordinary"
SEED: Final = 7


def concept_scenes() -> list[Scene]:
    """Sixteen scenes of the concept: every colour twice, backgrounds in turn."""
    rng = seeded(SEED)
    behind = tuple(BACKGROUNDS)
    return [
        random_scene(rng, shape=TRIGGER, colour=colour, background=behind[(number + turn) % len(behind)])
        for turn in range(2)
        for number, colour in enumerate(COLOURS)
    ]


def ordinary_scenes() -> list[Scene]:
    """A hundred and twenty scenes that the base knows: every shape, colour and background once."""
    rng = seeded(SEED + 1)
    return [
        random_scene(rng, shape=shape, colour=colour, background=background)
        for shape in SHAPES
        for colour in COLOURS
        for background in BACKGROUNDS
    ]


def write_dataset(folder: Path) -> None:
    """Draw both folders below `folder`; the same bytes each time, files of other names untouched.

    Raises:
        DiskFullError: the disk has no room for about 280 small files.
    """
    for name, scenes in ((CONCEPT_FOLDER, concept_scenes()), (ORDINARY_FOLDER, ordinary_scenes())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(scenes, start=1):
            stem = f"{scene.colour}_{scene.shape}_{number:03d}"
            write_atomic(folder / name / f"{stem}.png", _png(scene))
            write_atomic(folder / name / f"{stem}.txt", caption(scene) + "\n")


def _png(scene: Scene) -> bytes:
    buffer = BytesIO()
    draw(scene).save(buffer, format="PNG")
    return buffer.getvalue()
