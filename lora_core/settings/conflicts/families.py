"""What a family of base models needs of sd-scripts: files, switches, and values that its recipe names.

Covered: rows, read in its code and its documentation at 48d368f. Not covered: whether the files are there.
"""

from collections.abc import Mapping
from typing import Final

from lora_core.settings._description import FLOW_FAMILIES
from lora_core.settings.conflicts._table import Conflict

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "clip_l": ("flux1",),
    "t5xxl": ("flux1", "chroma"),
    "ae": ("flux1", "chroma", "lumina"),
    "gemma2": ("lumina",),
    "text_encoder": ("hunyuan-image",),
    "byt5": ("hunyuan-image",),
    "vae": ("hunyuan-image", "anima"),
    "qwen3": ("anima",),
}
"""Files that a family needs beside the base model. Those of SD3 may stand in the base model itself."""


def _file(key: str) -> Conflict:
    return Conflict(
        name=f"no {key}",
        key=key,
        when=lambda seen: seen[key] is None,
        what="This family needs the file, and none is named.",
        fix=f"Name it in {key}.",
        families=FILES[key],
        source=("", "NoneType"),
    )


RECIPES: Final = (
    *(_file(key) for key in FILES),
    Conflict(
        name="Chroma without its mask",
        key="apply_t5_attn_mask",
        when=lambda seen: not seen["apply_t5_attn_mask"],
        what="Chroma is trained with apply_t5_attn_mask only.",
        fix="Turn on apply_t5_attn_mask.",
        mend={"apply_t5_attn_mask": True},
        families=("chroma",),
        source=("flux_train_network.py", "apply_t5_attn_mask must be True for Chroma"),
    ),
    Conflict(
        name="SDXL as SD 2",
        key="v2",
        when=lambda seen: seen["v2"],
        what="The switch v2 is for SD 2, and this base model is SDXL.",
        fix="Turn off v2.",
        mend={"v2": False},
        families=("sdxl",),
        source=("library/sdxl_train_util.py", "v2 cannot be enabled in SDXL training"),
    ),
    Conflict(
        name="SD 2 without its switch",
        key="v2",
        when=lambda seen: not seen["v2"],
        what="This base model is SD 2, and the switch v2 is off.",
        fix="Turn on v2.",
        mend={"v2": True},
        families=("sd2",),
        source=("", "size mismatch for"),
    ),
    Conflict(
        name="SD 1 as SD 2",
        key="v2",
        when=lambda seen: seen["v2"],
        what="The switch v2 is for SD 2, and this base model is SD 1.",
        fix="Turn off v2.",
        mend={"v2": False},
        families=("sd15",),
        source=("", "size mismatch for"),
    ),
    Conflict(
        name="FLUX at another guidance",
        key="guidance_scale",
        when=lambda seen: seen["guidance_scale"] != 1,
        what="sd-scripts trains FLUX at a guidance of 1. If it is empty, 3.5 is used.",
        fix="Set it to 1.",
        mend={"guidance_scale": 1.0},
        families=("flux1",),
        severity="advice",
    ),
    Conflict(
        name="Chroma at another guidance",
        key="guidance_scale",
        when=lambda seen: seen["guidance_scale"] != 0,
        what="sd-scripts trains Chroma at a guidance of 0. If it is empty, 3.5 is used.",
        fix="Set it to 0.",
        mend={"guidance_scale": 0.0},
        families=("chroma",),
        severity="advice",
    ),
    Conflict(
        name="FLUX with scaled guesses",
        key="model_prediction_type",
        when=lambda seen: seen["model_prediction_type"] != "raw",
        what="Recipes for FLUX take raw. If it is empty, sigma_scaled is used.",
        fix="Set it to raw.",
        mend={"model_prediction_type": "raw"},
        families=("flux1", "chroma"),
        severity="advice",
    ),
    Conflict(
        name="levels of Lumina in another family",
        key="timestep_sampling",
        when=lambda seen: seen["timestep_sampling"] == "nextdit_shift",
        what="Only Lumina has nextdit_shift. Here sigma is taken without a word.",
        fix="Take flux_shift, shift or sigmoid.",
        mend={"timestep_sampling": None},
        families=("flux1", "chroma", "hunyuan-image", "anima"),
        severity="advice",
    ),
    Conflict(
        name="Lumina without its first sentence",
        key="system_prompt",
        when=lambda seen: not seen["system_prompt"],
        what="Lumina was made with a sentence before each prompt, and none is set.",
        fix="Set one of the two sentences that sd-scripts lists for Lumina.",
        families=("lumina",),
        severity="advice",
    ),
    Conflict(
        name="a flow in full precision",
        key="mixed_precision",
        when=lambda seen: seen["mixed_precision"] == "no",
        what="These large models are trained in bf16. In full precision they need twice the memory.",
        fix="Set mixed_precision to bf16.",
        mend={"mixed_precision": "bf16"},
        families=FLOW_FAMILIES,
        severity="advice",
    ),
)
