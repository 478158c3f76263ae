"""The environment of the alternative trainers: made once, thrown away at will.

`LORA_SD_SCRIPTS` names a checkout of sd-scripts. `LORA_SD_SCRIPTS_PYTHON` may name the Python of an
environment in which it runs; without that, one is made in the user's cache folder from rivals.txt.

Covered: an environment that lies over this one, so that both use the same torch. Not covered:
getting sd-scripts itself.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.processes import CannotMeasureError
from benchmarks.record import tell

WANTED: Final = Path(__file__).with_name("rivals.txt")
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


def rival_python(environ: Mapping[str, str]) -> Path:
    """The Python that runs sd-scripts; its environment is made if need be.

    Raises:
        CannotMeasureError: the packages could not be installed.
    """
    if named := environ.get(PYTHON):
        return Path(named)
    ours = sysconfig.get_path("purelib")
    wanted = hashlib.sha256(f"{WANTED.read_text('utf-8')}{ours}{sys.version}".encode()).hexdigest()[:12]
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "lora-easy-trainer" / f"rivals-{wanted}"
    if not folder.is_dir():
        tell(f"Making an environment for sd-scripts in {folder} …")
        try:
            _make(folder, ours)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            said = getattr(error, "stderr", None) or str(error)
            raise CannotMeasureError(f"sd-scripts is left out: {said[-1500:]}") from error
    return folder / "bin" / "python"


def _make(folder: Path, ours: str) -> None:
    python = folder / "bin" / "python"
    _run("-m", "venv", "--without-pip", str(folder))
    # --no-deps: whatever is not listed is found in our own environment, through the line below.
    _run("-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "-r", str(WANTED))
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(asked.stdout.strip(), "app.pth").write_text(f"{ours}\n", "utf-8")


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
