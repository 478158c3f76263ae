"""Settings of how newer families read captions: length, masks, dropped parts, words in front.

Covered: types, hard limits, starting values and help of what only sd-scripts has. Not covered: the text
encoders of SD 1.x, SD 2 and SDXL (see `concern_text.py`) and their files (see `concern_model_parts.py`).
"""

from typing import Any, Final

from lora_core.settings._description import FLOW_FAMILIES, SD_SCRIPTS, Advice, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}
_MORE_READ: Final = "More of a long caption is read. This takes a bit more memory and time."
_LESS_READ: Final = "Less of a long caption is read. The rest is cut off."
_DROPPED: Final = "It is left out more often, so the LoRA leans more on the others."
_KEPT: Final = "It is left out less often. At 0 it is always read."


class FamilyTextSettings(Concern):
    """How the text encoders of newer families read a caption."""

    text_encoder_batch_size: int | None = described(
        None,
        label="Captions read at once",
        what="How many captions are read at once before the first step. If it is empty, it is as many as "
        "there "
        "are images in a batch.",
        why="Lower it if memory runs out while captions are read.",
        higher="The captions are read sooner. This needs more GPU memory.",
        lower="This needs less GPU memory. At 1 they are read one by one.",
        unit="captions",
        families=FLOW_FAMILIES,
        only={"cache_text_encoder_outputs": (True,)},
        **_ONE,
        ge=1,
    )
    t5xxl_max_token_length: int | None = described(
        None,  # sd-scripts: 256 for SD3 and FLUX schnell, 512 for FLUX dev and Chroma
        label="Longest caption for T5",
        what="How many tokens T5 reads. If it is empty, 256 are read for SD3 and FLUX schnell, and 512 for "
        "FLUX dev and Chroma.",
        why="Lower it to save memory if your captions are short.",
        higher=_MORE_READ,
        lower=_LESS_READ,
        unit="tokens",
        families=("sd3", "flux1", "chroma"),
        **_ONE,
        ge=1,
        advice=Advice(77, 512, "The models were made with 256 or 512."),
    )
    apply_t5_attn_mask: bool = described(
        False,
        label="Mask for T5",
        what="Hides the empty places behind a caption from the model. Else they count as words.",
        why="Turn it on for Chroma, which cannot do without it. Leave it off for the others, unless a recipe "
        "names it.",
        higher="Only the words of the caption count.",
        lower="The empty places behind a caption count too.",
        families=("sd3", "flux1", "chroma"),
        **_ONE,
    )
    apply_lg_attn_mask: bool = described(
        False,
        label="Mask for both CLIP encoders",
        what="Hides the empty places behind a caption from CLIP-L and CLIP-G.",
        why="Leave it off, unless a recipe names it.",
        higher="Only the words of the caption count.",
        lower="The empty places behind a caption count too.",
        families=("sd3",),
        **_ONE,
    )
    clip_l_dropout_rate: float = described(
        0.0,
        label="Leave out CLIP-L",
        what="How often the words of CLIP-L are left out for an image.",
        why="Leave it at 0, unless a recipe names it.",
        higher=_DROPPED,
        lower=_KEPT,
        unit="share from 0.0 to 1.0",
        families=("sd3",),
        **_ONE,
        ge=0,
        le=1,
    )
    clip_g_dropout_rate: float = described(
        0.0,
        label="Leave out CLIP-G",
        what="How often the words of CLIP-G are left out for an image.",
        why="Leave it at 0, unless a recipe names it.",
        higher=_DROPPED,
        lower=_KEPT,
        unit="share from 0.0 to 1.0",
        families=("sd3",),
        **_ONE,
        ge=0,
        le=1,
    )
    t5_dropout_rate: float = described(
        0.0,
        label="Leave out T5",
        what="How often the words of T5 are left out for an image.",
        why="Leave it at 0, unless a recipe names it. Then pictures can be made without T5 too.",
        higher=_DROPPED,
        lower=_KEPT,
        unit="share from 0.0 to 1.0",
        families=("sd3",),
        **_ONE,
        ge=0,
        le=1,
    )
    gemma2_max_token_length: int | None = described(
        None,  # sd-scripts: 256
        label="Longest caption for Lumina",
        what="How many tokens Gemma 2 reads. If it is empty, 256 are read.",
        why="Raise it if your captions are long.",
        higher=_MORE_READ,
        lower=_LESS_READ,
        unit="tokens",
        families=("lumina",),
        **_ONE,
        ge=1,
        advice=Advice(77, 512, "The model was made with 256."),
    )
    system_prompt: str | None = described(
        None,
        label="Words before each caption",
        what="Is put before each caption, with a mark that says where the caption starts.",
        why="Lumina was made with such words. Its recipe names the two that it knows.",
        higher="The model reads these words before each caption.",
        lower="The model reads the caption alone.",
        families=("lumina",),
        engines=(SD_SCRIPTS,),
    )
    qwen3_max_token_length: int = described(
        512,
        label="Longest caption for Qwen 3",
        what="How many tokens of a caption the text encoder of Anima reads.",
        why="Leave it at 512. Lower it to save memory if your captions are short.",
        higher=_MORE_READ,
        lower=_LESS_READ,
        unit="tokens",
        families=("anima",),
        **_ONE,
        ge=1,
        advice=Advice(77, 512, "The model was made with 512."),
    )
    t5_max_token_length: int = described(
        512,
        label="Longest caption in pieces of T5",
        what="How many tokens of a caption Anima takes from the word list of T5.",
        why="Leave it at 512. Lower it to save memory if your captions are short.",
        higher=_MORE_READ,
        lower=_LESS_READ,
        unit="tokens",
        families=("anima",),
        **_ONE,
        ge=1,
        advice=Advice(77, 512, "The model was made with 512."),
    )
