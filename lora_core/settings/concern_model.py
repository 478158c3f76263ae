"""Settings of the frozen base model.

Covered: types, hard limits, starting values and help. Not covered: what goes with what (see
`lora_core.planning`) and what files look like (see `files.py`).
"""

from lora_core.settings._description import EVERY_UNET_FAMILY, Concern, PathValue, all_but, described
from lora_core.settings.concern_model_parts import PartSettings


class BaseSettings(Concern):
    """The base model itself."""

    pretrained_model_name_or_path: PathValue = described(
        ...,
        label="Base model",
        what="The model that your LoRA builds on. It is read and never changed.",
        why="Pick the model that you will make pictures with, or one close to it.",
        level="basic",
        part="target",
    )
    vae: PathValue | None = described(
        None,
        label="Another VAE",
        what="A VAE of its own: the part that turns pictures into small codes and back. If it is empty, "
        "the one of the base model is used.",
        why="Name one if the base model has none, or if its pictures come out pale or broken.",
        level="expert",
        part="target",
        families=all_but("flux1", "chroma", "lumina"),
    )
    no_half_vae: bool = described(
        True,  # sd-scripts: off, at which SDXL's own VAE gives no numbers in fp16
        label="VAE in full precision",
        what="Lets the VAE work with full numbers, also where the rest works with half.",
        why="Leave it on. Off saves a bit of memory, but some VAEs then fail.",
        higher="The VAE works with full numbers. It needs a bit more memory, and every VAE works.",
        lower="The VAE needs less memory. Some VAEs then give broken pictures.",
        level="expert",
        part="target",
    )
    v_parameterization: bool = described(
        False,
        label="Base model predicts v",
        what="Trains for models that guess v, a mix of noise and picture. Most models guess the noise. "
        "A base model that says so itself is trained in this way even if this is off.",
        why="Turn it on only if the page of the base model says v-prediction.",
        higher="The LoRA is trained to guess v.",
        lower="The LoRA is trained to guess the noise, unless the base model itself says v.",
        level="expert",
        part="target",
        families=EVERY_UNET_FAMILY,
    )
    zero_terminal_snr: bool = described(
        False,
        label="Last noise level is noise alone",
        what="Changes the noise so that nothing of the picture is left at the last level. "
        "A base model that says so itself is trained in this way even if this is off.",
        why="Turn it on only if the page of the base model says zero terminal SNR.",
        higher="The last noise level is noise alone. The LoRA can learn very dark and very bright pictures.",
        lower="A little of the picture is left at the last noise level. The base model may still ask for "
        "none.",
        level="expert",
        part="target",
        families=EVERY_UNET_FAMILY,
    )
    tokenizer_cache_dir: PathValue | None = described(
        None,
        label="Folder of the tokenizer",
        what="Where the word list lies that cuts a caption into tokens. A base model in one file does not "
        "bring it. If this is empty, it is looked for beside the model.",
        why="Name a folder if the app says that it found none.",
        level="expert",
        part="target",
    )


class ModelSettings(PartSettings, BaseSettings):
    """The frozen model that the LoRA is trained on."""
