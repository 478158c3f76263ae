"""Settings of noise and guidance for families that learn a flow: SD3 and all that came after it.

Covered: types, hard limits, starting values and help. Not covered: the noise of SD 1.x, SD 2 and SDXL (see
`concern_loss.py`) and what goes with what (see `lora_core.planning`).
"""

from typing import Any, Final, Literal

from lora_core.settings._description import FLOW_FAMILIES, SD_SCRIPTS, Advice, Concern, described

_ONE: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert"}
_SAMPLED: Final = ("flux1", "chroma", "lumina", "hunyuan-image", "anima")
"""Families whose noise levels are drawn in a way that can be chosen; SD3 has one way."""


class FlowSettings(Concern):
    """How noise levels are drawn for families that learn a flow, and how mistakes count there."""

    timestep_sampling: (
        Literal["sigma", "uniform", "sigmoid", "shift", "flux_shift", "nextdit_shift"] | None
    ) = described(
        None,  # sd-scripts: sigma for FLUX and HunyuanImage, shift for Lumina, sigmoid for Anima
        label="How noise levels are drawn",
        what="Which noise levels come up more often. If it is empty, sd-scripts takes sigma for FLUX and "
        "HunyuanImage, shift for Lumina and sigmoid for Anima. Only Lumina has nextdit_shift.",
        why="For FLUX take flux_shift. For Chroma and Anima take sigmoid. For Lumina take nextdit_shift.",
        engines=(SD_SCRIPTS,),
        families=_SAMPLED,
    )
    sigmoid_scale: float = described(
        1.0,
        label="Spread of noise levels",
        what="How far the noise levels lie from the middle one. It counts for sigmoid, shift and flux_shift.",
        why="Leave it at 1, unless a recipe names it.",
        higher="Very low and very high noise levels come up more often.",
        lower="Noise levels near the middle come up more often.",
        families=_SAMPLED,
        only={"timestep_sampling": ("sigmoid", "shift", "flux_shift", None)},
        **_ONE,
        gt=0,
        advice=Advice(0.5, 2, "Recipes use 1."),
    )
    discrete_flow_shift: float | None = described(
        None,  # sd-scripts: 3 for FLUX, 6 for Lumina, 5 for HunyuanImage, 1 for Anima
        label="Shift of noise levels",
        what="Moves the noise levels toward more noise. It counts for shift and sigma. If it is empty, "
        "sd-scripts takes 3 for FLUX, 6 for Lumina, 5 for HunyuanImage and 1 for Anima.",
        why="Recipes with shift take 3.1582 for FLUX.",
        higher="High noise comes up more often. The LoRA learns more of the layout.",
        lower="Low noise comes up more often. The LoRA learns more of fine detail.",
        families=_SAMPLED,
        only={"timestep_sampling": ("shift", "sigma", None)},
        **_ONE,
        gt=0,
        advice=Advice(1, 7, "Recipes use 1 to 6."),
    )
    training_shift: float = described(
        1.0,
        label="Shift of noise levels for SD3",
        what="Moves the noise levels toward more noise. At 1 they stay as they are drawn.",
        why="Leave it at 1, unless a recipe names it.",
        higher="High noise comes up more often. The LoRA learns more of the layout.",
        lower="Low noise comes up more often. The LoRA learns more of fine detail.",
        families=("sd3",),
        **_ONE,
        gt=0,
        advice=Advice(0.5, 3, "Recipes use 1."),
    )
    weighting_scheme: Literal["sigma_sqrt", "logit_normal", "mode", "cosmap", "none", "uniform"] = described(
        "uniform",
        label="Weights of noise levels",
        what="How much each noise level counts. logit_normal and mode change how often a level comes up, and "
        "count only where levels are drawn by sigma, as SD3 does. sigma_sqrt and cosmap change how much "
        "a mistake counts. Only SD3 and Anima use these two where the guess is not sigma_scaled.",
        why="Leave it as it is, unless a recipe names it.",
        families=FLOW_FAMILIES,
        **_ONE,
    )
    logit_mean: float = described(
        0.0,
        label="Middle of the noise levels",
        what="Where most noise levels lie for logit_normal. At 0 it is the middle.",
        why="Leave it at 0, unless a recipe names it.",
        higher="High noise comes up more often.",
        lower="Low noise comes up more often.",
        families=FLOW_FAMILIES,
        only={"weighting_scheme": ("logit_normal",)},
        **_ONE,
    )
    logit_std: float = described(
        1.0,
        label="Width of the noise levels",
        what="How far the noise levels lie from their middle for logit_normal.",
        why="Leave it at 1, unless a recipe names it.",
        higher="Very low and very high noise comes up more often.",
        lower="Noise near the middle comes up more often.",
        families=FLOW_FAMILIES,
        only={"weighting_scheme": ("logit_normal",)},
        **_ONE,
        ge=0,
    )
    mode_scale: float = described(
        1.29,
        label="Strength of mode",
        what="How strongly mode prefers the noise levels in the middle.",
        why="Leave it at 1.29, unless a recipe names it.",
        higher="Levels in the middle come up more often.",
        lower="All levels come up more alike. At 0 they are alike.",
        families=FLOW_FAMILIES,
        only={"weighting_scheme": ("mode",)},
        **_ONE,
    )
    model_prediction_type: Literal["raw", "additive", "sigma_scaled"] | None = described(
        None,  # sd-scripts: sigma_scaled for FLUX, raw for Lumina and HunyuanImage
        label="How the guess is read",
        what="What is done with the guess of the model before its mistake is measured. With raw it is taken "
        "as it is. If it is empty, sd-scripts takes sigma_scaled for FLUX and raw for the others.",
        why="Recipes take raw.",
        engines=(SD_SCRIPTS,),
        families=("flux1", "chroma", "lumina", "hunyuan-image"),
    )
    guidance_scale: float | None = described(
        None,  # sd-scripts: 3.5, which is not what its own recipe says
        label="Guidance while training",
        what="The guidance that FLUX is told while it learns. If it is empty, sd-scripts takes 3.5.",
        why="Set it to 1 for FLUX and to 0 for Chroma, as the recipes say.",
        higher="The model acts as if it followed the prompt more closely.",
        lower="The model acts as if it followed the prompt less closely.",
        engines=(SD_SCRIPTS,),
        families=("flux1", "chroma"),
        ge=0,
        advice=Advice(0, 3.5, "Recipes use 1 for FLUX and 0 for Chroma."),
    )
