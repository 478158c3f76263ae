"""LoRA files: what they are, whether they are sound, which are finished. Loads no torch.

Import from here. Not covered yet: resizing, merging, converting, editing notes.
"""

from lora_core.loras.finished import FinishedLora, list_finished
from lora_core.loras.header import Header, Tensor, header_in, read_header
from lora_core.loras.info import DROPS_DORA, LoraInfo, inspect, tag_counts
from lora_core.loras.sound import check_sound

__all__ = [
    "DROPS_DORA",
    "FinishedLora",
    "Header",
    "LoraInfo",
    "Tensor",
    "check_sound",
    "header_in",
    "inspect",
    "list_finished",
    "read_header",
    "tag_counts",
]
