"""Settings of how captions are read: tokens, layers, weights, and what is kept of them.

Covered: types, hard limits, starting values and help. Not covered: what captions say (see
`concern_subset.py`), and training the text encoders (see `concern_network.py`).
"""

from typing import Literal

from lora_core.settings._description import EVERY_UNET_FAMILY, Advice, Concern, all_but, described
from lora_core.settings.concern_text_families import FamilyTextSettings


class CaptionSettings(Concern):
    """How captions are read."""

    clip_skip: int | None = described(
        None,
        label="Clip skip",
        what="Takes what the text encoder says some layers before its end. 1 is the last layer, 2 the one "
        "before. If it is empty, the last is used.",
        why="Set it to 2 for anime models and to 1 for photo models. Set the same when you make pictures.",
        higher="What the text encoder says is taken earlier. Its last layers are not used.",
        lower="More layers of the text encoder are used. At 1 all of them are.",
        unit="layers from the end",
        families=("sd15", "sd2"),
        ge=1,
        le=12,
        advice=Advice(1, 2, "Models for photos are made for 1, and models for anime for 2."),
    )
    max_token_length: Literal[150, 225] | None = described(
        None,
        label="Longest caption",
        what="How many tokens of a caption are read. The rest is cut off. If it is empty, 75 are read. "
        "A word is one token or more.",
        why="Raise it if your captions are long. Most recipes for SD 1.5 and SDXL use 225.",
        higher="More of a long caption is read. Each step takes a bit more time.",
        lower="Less of a long caption is read. Each step takes a bit less time.",
        unit="tokens",
        families=EVERY_UNET_FAMILY,
    )
    weighted_captions: bool = described(
        False,
        label="Weights in captions",
        what="Reads (word:1.2) as a word that counts more, and [word] as one that counts less.",
        why="Turn it on only if your captions use such brackets on purpose.",
        higher="Such brackets change how much a word counts.",
        lower="Brackets are read as plain text.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )
    cache_text_encoder_outputs: bool = described(
        False,
        label="Read captions once",
        what="Reads all captions before the first step and then puts the text encoders away. "
        "Captions must then stay as they are: no shuffling and no dropped tags.",
        why="Turn it on to save GPU memory, above all with SDXL.",
        higher="It takes less GPU memory and each step is faster. Captions stay the same all the time.",
        lower="Captions are read at each step. They may change, and the text encoder may learn.",
        families=all_but("sd2"),
    )
    cache_text_encoder_outputs_to_disk: bool = described(
        False,
        label="Keep read captions on disk",
        what="Also keeps what was read on disk for the next time. A caption that you change is read anew.",
        why="Turn it on if you train often on the same large dataset.",
        higher="The next training starts sooner. The files take some space on the disk.",
        lower="Nothing is kept on disk. Each training reads all captions again.",
        level="expert",
        families=all_but("sd2"),
    )


class TextSettings(FamilyTextSettings, CaptionSettings):
    """How a caption becomes numbers."""
