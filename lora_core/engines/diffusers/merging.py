"""LoRA files built into a base model: what they would add while drawing becomes a part of its weights.

Covered: every kind of file that this app can train, in the layouts of sd-scripts, LyCORIS and diffusers,
with a strength. Not covered: taking a LoRA out again; load the base model anew.
"""

from pathlib import Path

import torch

from lora_core.engines.diffusers.lora_file import read_lora
from lora_core.engines.diffusers.network_places import Base, with_own_names
from lora_core.errors import LoraFileError


@torch.no_grad()
def apply_lora(base: Base, path: Path, multiplier: float = 1.0) -> None:
    """Build the LoRA in `path` into the weights of `base` at the strength `multiplier`.

    Raises:
        LoraFileError: the file cannot be read or does not fit; `base` is as it was.
    """
    # Here and not above: most runs do not need it, and it takes seconds to load.
    from lora_core.engines.diffusers.network_lycoris import layers_of, merged_weight

    try:
        layers = layers_of(base, with_own_names(base, read_lora(path, base.family)))
    except LoraFileError as error:
        raise LoraFileError(
            f"The LoRA {path.name} was not built in.", why=error.why, fix=error.fix
        ) from error
    for layer in layers:
        host = layer.org_module[0]
        layer.to(host.weight.device)
        host.weight.copy_(merged_weight(layer, multiplier))
