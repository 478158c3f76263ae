"""Settings of what one training sample asks for: its noise, and how its mistake counts.

Covered: types, hard limits, starting values and help; the formulas are in the engines. Not
covered: what goes with what (see `lora_core.planning`) and what files look like (see `files.py`).
"""

from typing import Literal

from lora_core.settings._description import EVERY_UNET_FAMILY, Advice, Concern, all_but, described
from lora_core.settings.concern_loss_flow import FlowSettings


class NoiseSettings(Concern):
    """Noise and weights of mistakes."""

    noise_offset: float | None = described(
        None,
        label="Noise offset",
        what="Makes whole areas of the noise a bit brighter or darker. If it is empty, this is off.",
        why="With it a LoRA learns very dark and very bright pictures better. Recipes use 0.05 for SD 1.5, "
        "0.0357 "
        "for SDXL and 0.03 for Pony. They leave it off for Illustrious and NoobAI.",
        higher="Very dark and very bright pictures are learned better. Too much makes all pictures harsh.",
        lower="The noise is changed less. At 0 it is plain noise.",
        ge=0,
        advice=Advice(0, 0.15, "Published recipes use 0.03 to 0.05. Above 0.1, pictures can get harsh."),
        families=EVERY_UNET_FAMILY,
    )
    noise_offset_random_strength: bool = described(
        False,
        label="Noise offset of random strength",
        what="Draws the noise offset anew each time, from 0 up to its value.",
        why="It keeps some of the normal noise. Leave it off, unless a recipe names it.",
        higher="Offsets from 0 up to your value come up. In sd-scripts the images of a batch share one.",
        lower="Each use of a picture has the same offset, which is your value.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )
    adaptive_noise_scale: float | None = described(
        None,
        label="Noise offset by brightness",
        what="Adds to the noise offset by this part of how bright or dark a picture is. It needs an offset.",
        why="Leave it empty, unless a recipe names it.",
        higher="Very bright and very dark pictures get a larger offset than others.",
        lower="Very bright and very dark pictures get less on top. Below 0 they get less than others.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )
    multires_noise_iterations: int | None = described(
        None,
        label="Layers of coarse noise",
        what="Adds this many layers of coarser noise. If it is empty, this is off.",
        why="It can help with dark and bright pictures, as the noise offset does. Use one of the two. "
        "A good start is 6.",
        unit="layers",
        higher="More layers are added, and the last ones change whole areas. Dark and bright pictures are "
        "learned more.",
        lower="Fewer layers are added. The noise stays closer to plain noise.",
        level="expert",
        ge=1,
        le=100,
        advice=Advice(1, 10, "Published recipes use 5 or 6."),
        families=EVERY_UNET_FAMILY,
    )
    multires_noise_discount: float = described(
        0.3,
        label="Strength of coarse noise",
        what="How strong each coarser layer is against the one before.",
        why="Leave it at 0.3.",
        higher="The coarse layers are stronger. Near 1 each is as strong as the one before.",
        lower="The coarse layers are weaker. At 0 nothing coarse is added.",
        unit="share from 0.0 to 1.0",
        level="expert",
        ge=0,
        le=1,
        advice=Advice(0.1, 0.4, "Published recipes use 0.25 to 0.3."),
        families=EVERY_UNET_FAMILY,
    )
    ip_noise_gamma: float | None = described(
        None,
        label="Extra noise in the input",
        what="Adds some noise to what the model sees, but not to what it should find. "
        "If it is empty, this is off.",
        why="A value of 0.1 can help against learning the pictures by heart.",
        higher="The LoRA learns less by heart. Too much makes pictures soft.",
        lower="Less is added. At 0 this is off.",
        level="expert",
        ge=0,
        advice=Advice(0, 0.2, "Published recipes use 0.05. The paper behind it uses 0.1."),
        families=all_but("sd3"),
    )
    ip_noise_gamma_random_strength: bool = described(
        False,
        label="Extra noise of random strength",
        what="Draws the strength of the extra noise anew each time, from 0 up to its value.",
        why="Leave it off, unless a recipe names it.",
        higher="Strengths from 0 up to your value come up. In sd-scripts the images of a batch share one.",
        lower="Each use of a picture has the same strength, which is your value.",
        level="expert",
        families=all_but("sd3"),
    )
    min_timestep: int | None = described(
        None,
        label="Least noise",
        what="Trains only at this noise level and above. Levels go from 0 to 999. Empty means 0.",
        why="A high value leaves fine detail out and learns the large forms.",
        higher="More of the low noise levels are left out. Fine detail is learned less.",
        lower="More noise levels are used. At 0 none is left out at this end.",
        unit="noise level",
        level="expert",
        ge=0,
        le=999,
        families=(*EVERY_UNET_FAMILY, "sd3"),
    )
    max_timestep: int | None = described(
        None,
        label="Most noise",
        what="Trains only below this noise level. Levels go from 0 to 999. Empty means 1000, which is all.",
        why="A low value leaves the large forms out and learns fine detail.",
        higher="More noise levels are used. At 1000 none is left out at this end.",
        lower="More of the high noise levels are left out. Large forms are learned less.",
        unit="noise level",
        level="expert",
        ge=1,
        le=1000,
        families=(*EVERY_UNET_FAMILY, "sd3"),
    )
    loss_type: Literal["l2", "l1", "huber", "smooth_l1"] = described(
        "l2",
        label="How mistakes are measured",
        what="The rule for the size of a mistake. l2 makes large mistakes count most. The others do so less.",
        why="Leave it at l2. Huber can help if some of your pictures do not fit the rest.",
        level="expert",
    )
    huber_schedule: Literal["constant", "exponential", "snr"] = described(
        "snr",
        label="Course of the Huber limit",
        what="How the limit moves with the noise level. It counts for huber and smooth_l1.",
        why="Leave it at snr.",
        level="expert",
    )
    huber_c: float = described(
        0.1,
        label="Huber limit",
        what="Mistakes above this size count less than their square. It counts for huber and smooth_l1.",
        why="Leave it at 0.1.",
        higher="Only very large mistakes count less. It acts more like l2.",
        lower="Smaller mistakes count less too. It acts more like l1.",
        level="expert",
        gt=0,
    )
    huber_scale: float = described(
        1.0,
        label="Scale of the Huber limit",
        what="Makes the limit larger or smaller. With the course snr it is not used.",
        why="Leave it at 1.",
        higher="The limit is larger. It acts more like l2.",
        lower="The limit is smaller. It acts more like l1.",
        level="expert",
        gt=0,
    )
    min_snr_gamma: float | None = described(
        None,
        label="Min-SNR gamma",
        what="Makes steps with little noise count less. If it is empty, all count the same.",
        why="A value of 5 makes a training learn faster and more evenly. Recipes for SD 1.5 and SDXL use it.",
        higher="Fewer steps are weighed down. It changes less.",
        lower="More steps are weighed down. Fine detail counts less beside large forms.",
        gt=0,
        advice=Advice(1, 20, "5 is the value of the paper and of most recipes. Some use 8."),
        families=EVERY_UNET_FAMILY,
    )
    debiased_estimation_loss: bool = described(
        False,
        label="Even out noise levels",
        what="Makes steps with much noise count more.",
        why="It can teach large forms and colors better. Use this or min-SNR, not both.",
        higher="Steps with much noise count more. Large forms and colors are learned more.",
        lower="All steps count the same, unless another setting weighs them.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )
    scale_v_pred_loss_like_noise_pred: bool = described(
        False,
        label="Weigh v like noise",
        what="Weighs the mistakes of a v model as those of a noise model. It is for v models only.",
        why="Leave it off, unless a recipe for a v model names it.",
        higher="Steps with much noise count less, as they do in a noise model.",
        lower="Mistakes of a v model count as they are.",
        level="expert",
        families=EVERY_UNET_FAMILY,
    )
    v_pred_like_loss: float | None = described(
        None,
        label="Part weighed like v",
        what="Adds this part of the mistake, weighed as a v model would. It is not for v models.",
        why="Leave it empty, unless a recipe names it.",
        higher="Steps with much noise count more.",
        lower="Steps with much noise count less. The normal mistake then counts most.",
        level="expert",
        gt=0,
        families=EVERY_UNET_FAMILY,
    )


class LossSettings(FlowSettings, NoiseSettings):
    """The noise that hides the pictures, and how mistakes are weighed."""
