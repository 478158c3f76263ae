"""The kinds of base models that recipes are made for, and a guess of the kind of a model file.

Covered: what each kind is, where a recommended model of it is published, what must be set for it, how
it wants its captions. Not covered: its numbers (see `presets/base/`), downloads, and what a file is by
its tensors (see `lora_core.models`).

Addresses, sizes and licences are what the models' own pages say. Nothing here fetches anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from lora_core.settings._description import BUILT_IN, SD_SCRIPTS

CaptionStyle = Literal["tags", "sentences"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommended:
    """A published model to begin with."""

    label: str
    address: str
    """Where the file is. A fact for a page or a download; nothing is fetched by knowing it."""
    size_gb: float
    """Of the file, about."""
    licence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """One kind of base model."""

    id: str
    title: str
    sentence: str
    family: str
    """The family that engines know, such as sdxl."""
    resolution: int
    """Side of the square that it was made for, in pixels."""
    captions: Literal["tags", "sentences", "either"]
    caption_note: str
    """How it wants its captions, in one sentence."""
    recommended: tuple[Recommended, ...]
    """Best first."""
    target: Mapping[str, Any]
    """Settings of the base model itself that go with this kind. No recipe can hold them."""
    prompt_start: str = ""
    """What its prompts begin with. It is not needed in captions."""
    prompt_flags: str = ""
    """Flags of sample prompts besides the size."""
    engine: str = BUILT_IN
    """The engine that its recipes need."""
    parts: Mapping[str, Recommended] = field(default_factory=dict)
    """Files that it needs besides the base model, by the setting that names each."""

    @property
    def here(self) -> bool:
        """Whether this app itself can train on it."""
        return self.engine == BUILT_IN


_NOISE: Final = MappingProxyType({"v_parameterization": False, "zero_terminal_snr": False})
_V: Final = MappingProxyType({"v_parameterization": True, "zero_terminal_snr": True})
_HUB: Final = "https://huggingface.co/"
_FAIR: Final = "Fair AI Public License 1.0-SD"
_TAGS: Final = "It wants tags as on Danbooru, with commas between them."

_ALL: Final = (
    Base(
        id="sd15",
        title="Stable Diffusion 1.5",
        sentence="The small, old family. It takes the least memory and time.",
        family="sd15",
        resolution=512,
        captions="either",
        caption_note="Drawn models of this family want tags. Photo models want sentences.",
        recommended=(
            Recommended(
                label="Stable Diffusion 1.5",
                address=_HUB + "stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/main/"
                "v1-5-pruned-emaonly.safetensors",
                size_gb=4,
                licence="CreativeML OpenRAIL-M",
            ),
            Recommended(
                label="Stable Diffusion 1.5 (small)",
                address=_HUB + "hollowstrawberry/stable-diffusion-guide/resolve/main/models/"
                "sd-v1-5-pruned-noema-fp16.safetensors",
                size_gb=2,
                licence="CreativeML OpenRAIL-M",
            ),
        ),
        target=_NOISE,
    ),
    Base(
        id="sdxl",
        title="Stable Diffusion XL",
        sentence="Larger pictures and finer detail, for photos and any style. 8 GB can work.",
        family="sdxl",
        resolution=1024,
        captions="sentences",
        caption_note="It wants plain sentences.",
        recommended=(
            Recommended(
                label="SDXL 1.0 base",
                address=_HUB + "stabilityai/stable-diffusion-xl-base-1.0/resolve/main/"
                "sd_xl_base_1.0.safetensors",
                size_gb=6.94,
                licence="CreativeML OpenRAIL++-M",
            ),
        ),
        target=_NOISE,
    ),
    Base(
        id="illustrious",
        title="Illustrious XL",
        sentence="An SDXL model for anime and other drawn pictures. It knows many tags.",
        family="sdxl",
        resolution=1024,
        captions="tags",
        caption_note=_TAGS,
        recommended=(
            Recommended(
                label="Illustrious XL 0.1",
                address=_HUB + "OnomaAIResearch/Illustrious-xl-early-release-v0/resolve/main/"
                "Illustrious-XL-v0.1.safetensors",
                size_gb=6.9,
                licence=f"{_FAIR}, with further terms",
            ),
            Recommended(
                label="Illustrious XL 1.0",
                address=_HUB + "OnomaAIResearch/Illustrious-XL-v1.0/resolve/main/"
                "Illustrious-XL-v1.0.safetensors",
                size_gb=6.9,
                licence="Read its page: sources differ.",
            ),
        ),
        target=_NOISE,
    ),
    Base(
        id="noobai-eps",
        title="NoobAI XL",
        sentence="An SDXL model for drawn pictures that grew out of Illustrious. It predicts the noise.",
        family="sdxl",
        resolution=1024,
        captions="tags",
        caption_note=f"{_TAGS} Their order: count, character, series, artist, special, general.",
        recommended=(
            Recommended(
                label="NoobAI XL 1.1",
                address=_HUB + "Laxhar/noobai-XL-1.1/resolve/main/NoobAI-XL-v1.1.safetensors",
                size_gb=7,
                licence=_FAIR,
            ),
            Recommended(
                label="NoobAI XL 1.0",
                address=_HUB + "Laxhar/noobai-XL-1.0/resolve/main/NoobAI-XL-v1.0.safetensors",
                size_gb=7,
                licence=_FAIR,
            ),
        ),
        target=_NOISE,
        prompt_flags="--s 28 --l 5.5",
    ),
    Base(
        id="noobai-vpred",
        title="NoobAI XL v-prediction",
        sentence="NoobAI that predicts v, a mix of noise and picture. It can draw very dark pictures.",
        family="sdxl",
        resolution=1024,
        captions="tags",
        caption_note=f"{_TAGS} Their order: count, character, series, artist, special, general.",
        recommended=(
            Recommended(
                label="NoobAI XL v-prediction 1.0",
                address=_HUB + "Laxhar/noobai-XL-Vpred-1.0/resolve/main/NoobAI-XL-Vpred-v1.0.safetensors",
                size_gb=7,
                licence=_FAIR,
            ),
        ),
        target=_V,
    ),
    Base(
        id="pony",
        title="Pony Diffusion XL",
        sentence="An SDXL model for drawn figures of all kinds. Its prompts begin with score tags.",
        family="sdxl",
        resolution=1024,
        captions="either",
        caption_note="It takes tags or sentences. Score tags belong in prompts; captions do not need them.",
        recommended=(
            Recommended(
                label="Pony Diffusion V6 XL",
                address="https://civitai.com/api/download/models/290640",
                size_gb=6.94,
                licence=f"{_FAIR}, changed: no paid drawing services without permission",
            ),
        ),
        target=_NOISE,
        prompt_start="score_9, score_8_up, score_7_up, ",
        prompt_flags="--s 25",
    ),
    Base(
        id="anima",
        title="Anima",
        sentence="A newer, larger kind of model for drawn pictures. It knows tags and sentences.",
        family="anima",
        resolution=1024,
        captions="either",
        caption_note="It takes tags, sentences or both. Order of tags: quality, count, character, series, "
        "artist, general.",
        recommended=(
            Recommended(
                label="Anima 1.0 base",
                address=_HUB + "circlestone-labs/Anima/resolve/main/split_files/diffusion_models/"
                "anima-base-v1.0.safetensors",
                size_gb=4.2,
                licence="CircleStone Non-Commercial 1.2; its owners let people sell their LoRA files",
            ),
        ),
        target={},
        prompt_flags="--s 30 --l 4.5",
        engine=SD_SCRIPTS,
        parts=MappingProxyType(
            {
                "qwen3": Recommended(
                    label="Text encoder Qwen3",
                    address=_HUB + "circlestone-labs/Anima/resolve/main/split_files/text_encoders/"
                    "qwen_3_06b_base.safetensors",
                    size_gb=1.2,
                    licence="As for Anima",
                ),
                "vae": Recommended(
                    label="VAE of Qwen-Image",
                    address=_HUB + "circlestone-labs/Anima/resolve/main/split_files/vae/"
                    "qwen_image_vae.safetensors",
                    size_gb=0.25,
                    licence="As for Anima",
                ),
            }
        ),
    ),
    Base(
        id="flux1-dev",
        title="FLUX.1 dev",
        sentence="A very large model for photos and any style. It follows sentences closely.",
        family="flux1",
        resolution=1024,
        captions="sentences",
        caption_note="It wants plain sentences.",
        recommended=(
            Recommended(
                label="FLUX.1 dev",
                address=_HUB + "black-forest-labs/FLUX.1-dev/resolve/main/flux1-dev.safetensors",
                size_gb=24,
                licence="FLUX.1 dev Non-Commercial. You have to log in there and accept it.",
            ),
        ),
        target={},
        prompt_flags="--s 20 --g 3.5",
        engine=SD_SCRIPTS,
        parts=MappingProxyType(
            {
                "clip_l": Recommended(
                    label="Text encoder CLIP-L",
                    address=_HUB + "comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors",
                    size_gb=0.25,
                    licence="Read its page.",
                ),
                "t5xxl": Recommended(
                    label="Text encoder T5-XXL",
                    address=_HUB + "comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",
                    size_gb=9.8,
                    licence="Read its page.",
                ),
                "ae": Recommended(
                    label="VAE of FLUX.1",
                    address=_HUB + "Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/"
                    "ae.safetensors",
                    size_gb=0.34,
                    licence="Read its page.",
                ),
            }
        ),
    ),
)
BASES: Final[Mapping[str, Base]] = MappingProxyType({base.id: base for base in _ALL})
"""Every kind, by id, in the order in which a page shows them."""


@dataclass(frozen=True, slots=True)
class BaseGuess:
    """Which kind a model probably is."""

    kind: str
    """Id in `BASES`."""
    sentence: str
    """What the guess rests on."""


_NAMED: Final = (
    # (what the name of a file holds, kind, what is said); NoobAI grew out of Illustrious, so it comes first
    (re.compile(r"noob", re.IGNORECASE), "noobai-eps", "NoobAI"),
    (
        re.compile(r"illustrious|(?<![a-z])(?:illu|ilxl)(?![a-z])", re.IGNORECASE),
        "illustrious",
        "Illustrious",
    ),
    (re.compile(r"pony|(?<![a-z])pdxl", re.IGNORECASE), "pony", "Pony"),
)
_V_IN_NAME: Final = re.compile(r"v[-_ ]?pred", re.IGNORECASE)


def base_kind_of(name: str, family: str, *, predicts_v: bool = False) -> BaseGuess | None:
    """The kind that a model of this name, family and way to predict probably is; None if no recipe fits.

    A name proves nothing, so the page lets the user change it.
    """
    of_family = [base for base in BASES.values() if base.family == family]
    if not of_family:
        return None
    if len(of_family) == 1:
        named = "Stable Diffusion 1.x" if family == "sd15" else of_family[0].title
        return BaseGuess(of_family[0].id, f"It is of the family {named}.")
    kind, said = next(((kind, said) for pattern, kind, said in _NAMED if pattern.search(name)), ("sdxl", ""))
    if kind in {"noobai-eps", "sdxl"} and predicts_v:
        why = f"Its name says {said} and it" if said else "It"
        rest = "" if said else ", as the models of NoobAI do that were made so"
        return BaseGuess("noobai-vpred", f"This is a guess: {why[0].lower()}{why[1:]} predicts v{rest}.")
    if kind == "noobai-eps" and _V_IN_NAME.search(name):
        return BaseGuess("noobai-vpred", "This is a guess: its name says NoobAI and v-prediction.")
    if said:
        return BaseGuess(kind, f"This is a guess: its name says {said}.")
    return BaseGuess("sdxl", "It is of the family SDXL, and its name says nothing more.")
