"""Files that base models of newer families are made of, and what only their model has.

Covered: types, hard limits and help of what sd-scripts takes beside the base model's own file. Not covered:
the base model itself (see `concern_model.py`) and which of these a family cannot do without (see
`lora_core.planning`).
"""

from typing import Any, Final, Literal

from lora_core.settings._description import SD_SCRIPTS, Advice, Concern, PathValue, described

_FILE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "advanced", "part": "target"}
_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}


class PartSettings(Concern):
    """The other files of a base model."""

    v2: bool = described(
        False,
        label="Base model is SD 2.x",
        what="Reads the base model as one of Stable Diffusion 2.",
        why="Turn it on for such a model, and leave it off for all others.",
        higher="The model is read as Stable Diffusion 2.",
        lower="The model is read as Stable Diffusion 1.",
        families=("sd2",),
        **_FILE,
    )
    model_type: Literal["flux", "chroma"] = described(
        "flux",
        label="FLUX or Chroma",
        what="Which of the two models the file holds. Chroma is a model made from FLUX.",
        why="Take chroma for a Chroma model. It also needs the mask for T5 and a guidance of 0.",
        families=("flux1", "chroma"),
        **_FILE,
    )
    clip_l: PathValue | None = described(
        None,
        label="File of CLIP-L",
        what="The small text encoder of FLUX and SD3. If it is empty, SD3 looks for it in the base model.",
        why="FLUX cannot do without it. SD3 needs it if the base model does not hold it.",
        families=("sd3", "flux1"),
        **_FILE,
    )
    clip_g: PathValue | None = described(
        None,
        label="File of CLIP-G",
        what="The second text encoder of SD3. If it is empty, it is looked for in the base model.",
        why="Name it if the base model does not hold it.",
        families=("sd3",),
        **_FILE,
    )
    t5xxl: PathValue | None = described(
        None,
        label="File of T5",
        what="The large text encoder of SD3, FLUX and Chroma. If it is empty, SD3 looks for it in the base "
        "model.",
        why="FLUX and Chroma cannot do without it. SD3 needs it if the base model does not hold it.",
        families=("sd3", "flux1", "chroma"),
        **_FILE,
    )
    ae: PathValue | None = described(
        None,
        label="File of the autoencoder",
        what="The VAE of FLUX, Chroma and Lumina, which they call autoencoder.",
        why="These models cannot do without it.",
        families=("flux1", "chroma", "lumina"),
        **_FILE,
    )
    gemma2: PathValue | None = described(
        None,
        label="File of Gemma 2",
        what="The text encoder of Lumina.",
        why="Lumina cannot do without it.",
        families=("lumina",),
        **_FILE,
    )
    text_encoder: PathValue | None = described(
        None,
        label="File of Qwen 2.5",
        what="The large text encoder of HunyuanImage. It should be a file in bf16.",
        why="HunyuanImage cannot do without it.",
        families=("hunyuan-image",),
        **_FILE,
    )
    byt5: PathValue | None = described(
        None,
        label="File of ByT5",
        what="The text encoder of HunyuanImage for words that stand in the picture. It should be a file in "
        "fp16.",
        why="HunyuanImage cannot do without it.",
        families=("hunyuan-image",),
        **_FILE,
    )
    qwen3: PathValue | None = described(
        None,
        label="File of Qwen 3",
        what="The text encoder of Anima, as a file or a folder.",
        why="Anima cannot do without it.",
        families=("anima",),
        **_FILE,
    )
    t5_tokenizer_path: PathValue | None = described(
        None,
        label="Folder of the T5 tokenizer",
        what="The list of words of T5, which Anima uses too. If it is empty, the one of sd-scripts is used.",
        why="Leave it empty, unless sd-scripts says that it found none.",
        families=("anima",),
        engines=(SD_SCRIPTS,),
        level="expert",
        part="target",
    )
    pos_emb_random_crop_rate: float = described(
        0.0,
        label="Moved places",
        what="How often the model is told that a picture lies at a place drawn by chance. "
        "It is made for SD 3.5 Medium.",
        why="Leave it at 0, unless a recipe names it.",
        higher="It is done more often. The LoRA learns less about where things stand.",
        lower="It is done less often. At 0 this is off.",
        unit="share from 0.0 to 1.0",
        families=("sd3",),
        **_ONE,
        ge=0,
        le=1,
        advice=Advice(0, 0.5, "Higher values leave little of the real places."),
    )
    enable_scaled_pos_embed: bool = described(
        False,
        label="Places that fit the size",
        what="Fits the table of places to the size of each picture. It is made for SD 3.5 Medium.",
        why="Turn it on if you train SD 3.5 Medium on images of several sizes.",
        higher="Each size has places of its own.",
        lower="All sizes share one table of places.",
        families=("sd3",),
        **_ONE,
    )
