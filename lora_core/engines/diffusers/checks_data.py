"""What the built-in trainer refuses about pictures and caches, from the settings alone.

Covered: switches that shut each other out, as in sd-scripts. Not covered: the files themselves (see
`pictures.py`, which refuses before a model is loaded, and `lora_core.planning`).
"""

from collections.abc import Iterator

from lora_core.datasets.captions import SEPARATOR
from lora_core.errors import Problem
from lora_core.settings import RunConfig


def data_problems(run: RunConfig) -> Iterator[Problem]:
    """Every reason in the settings of pictures why a run would not start."""
    subsets = [subset for dataset in run.dataset.datasets for subset in dataset.subsets]
    kept = [key for key in ("cache_latents", "cache_latents_to_disk") if getattr(run.precision, key)]
    for key in ("random_crop", "color_aug"):
        if kept and any(getattr(subset, key) for subset in subsets):
            what = f"It changes a picture at each use, and {kept[0]} keeps it as it was at first."
            fix = f"Turn off {key}, or turn off {' and '.join(kept)}."
            yield Problem(setting=key, what=what, fix=fix, mend={key: False}, mend_label=f"Turn off {key}")
    if any(not subset.caption_separator for subset in subsets):
        what = "Nothing stands between the tags of a caption, so they cannot be told apart."
        yield Problem(
            setting="caption_separator",
            what=what,
            fix="Set it to a comma.",
            mend={"caption_separator": SEPARATOR},
            mend_label="Use a comma",
        )
    if not run.batch.masked_loss and any(subset.conditioning_data_dir for subset in subsets):
        what = "The folder of masks is not used, because masks are turned off."
        fix = "Turn on masked_loss, or leave conditioning_data_dir out."
        mend = {"masked_loss": True}
        yield Problem(
            setting="conditioning_data_dir", what=what, fix=fix, mend=mend, mend_label="Turn on masks"
        )
