"""How large the sample pictures of a run are, from its prompts.

Covered: the flags `--w` and `--h`, the training size where a prompt has none. Not covered: everything else
that a prompt says (see the engines), prompts as .toml and .json, which count with the training size.
"""

import re
from typing import Final

from lora_core.errors import SettingsError
from lora_core.settings import RunConfig, prompt_lines

_FLAG: Final = re.compile(r" --([wh])\s+(\d{1,5})(?=\s|$)", re.IGNORECASE)


def sample_pixels(run: RunConfig) -> tuple[int, ...]:
    """Pixels of each sample picture; none without prompts, or when their file cannot be read."""
    try:
        lines = prompt_lines(run)
    except SettingsError:  # told by `check`
        return ()
    width, height = run.dataset.datasets[0].resolution
    found = []
    for line in lines:
        sides = {"w": width, "h": height} | {key.lower(): int(side) for key, side in _FLAG.findall(line)}
        found.append(sides["w"] * sides["h"])
    return tuple(found)
