"""Settings of how captions are read: tokens, layers, weights, and what is kept of them.

Covered: types, hard limits, starting values and help. Not covered: what captions say (see
`concern_subset.py`), and training the text encoders (see `concern_network.py`).
"""

from typing import Literal

from lora_core.settings._description import Advice, Concern, described


class TextSettings(Concern):
    """How a caption becomes numbers."""

    clip_skip: int | None = described(
        None,
        label="Clip skip",
        what="Takes what the text encoder says some layers before its end. 1 is the last layer, 2 the one "
        "before. If it is empty, the last is used.",
        why="Set it to 2 for anime models that were made so. Set the same when you make pictures.",
        families=("sd15",),
        ge=1,
        le=12,
        advice=Advice(1, 2, "Models of this family are made for 1 or 2."),
    )
    max_token_length: Literal[150, 225] | None = described(
        None,
        label="Longest caption",
        what="How many tokens of a caption are read. The rest is cut off. If it is empty, 75 are read. "
        "A word is one token or more.",
        why="Raise it if your captions are long. Each step then takes a bit more time.",
        unit="tokens",
    )
    weighted_captions: bool = described(
        False,
        label="Weights in captions",
        what="Reads (word:1.2) as a word that counts more, and [word] as one that counts less.",
        why="Turn it on only if your captions use such brackets on purpose.",
        level="expert",
    )
    cache_text_encoder_outputs: bool = described(
        False,
        label="Read captions once",
        what="Reads all captions before the first step and then puts the text encoders away. "
        "Captions must then stay as they are: no shuffling and no dropped tags.",
        why="Turn it on to save GPU memory, above all with SDXL.",
    )
    cache_text_encoder_outputs_to_disk: bool = described(
        False,
        label="Keep read captions on disk",
        what="Also keeps what was read on disk for the next run. A caption that you change is read anew.",
        why="Turn it on if you train often on the same large dataset.",
        level="expert",
    )
