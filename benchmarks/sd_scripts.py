"""Where sd-scripts is, if it takes part.

`LORA_SD_SCRIPTS` names a checkout of sd-scripts, and `LORA_SD_SCRIPTS_PYTHON` the Python of an
environment in which it runs; without that, the Python of this environment is tried.

Not covered: getting sd-scripts or the packages that it needs.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.processes import CannotMeasureError

CHECKOUT: Final = "LORA_SD_SCRIPTS"
PYTHON: Final = "LORA_SD_SCRIPTS_PYTHON"


def checkout(environ: Mapping[str, str]) -> Path:
    """The checkout of sd-scripts.

    Raises:
        CannotMeasureError: none is named, or there is none.
    """
    named = environ.get(CHECKOUT, "")
    if not named:
        raise CannotMeasureError(f"sd-scripts is left out: set {CHECKOUT} to a checkout of it.")
    folder = Path(named).absolute()
    if not (folder / "train_network.py").is_file():
        raise CannotMeasureError(f"sd-scripts is left out: {folder} has no train_network.py.")
    return folder


def python_of(environ: Mapping[str, str]) -> Path:
    """The Python that runs sd-scripts."""
    return Path(environ.get(PYTHON) or sys.executable)
