"""Where the chosen torch build comes from, and what was installed in the end.

Covered: asking PyTorch's own index whether it has the exact wheel; falling back to the package index that
pip is set up for; the record `lora-torch.json` that the app reads.

Not covered: the choice of the build (graphics.py) and running pip (pip_run.py).
"""

import json
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from launcher.graphics import TORCH_VERSION, TorchChoice

PYTORCH_INDEX: Final = "https://download.pytorch.org/whl"
RECORD_NAME: Final = "lora-torch.json"
PROBE_TIMEOUT_S: Final = 8.0

# Room that the whole environment takes while it is made, in GiB: torch's wheels are there twice for a moment,
# packed and unpacked. Measured for the CPU (2.4 with the test tools); CUDA and ROCm from their wheels' sizes.
NEED_CPU_GIB: Final = 3
NEED_GPU_GIB: Final = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchSource:
    """What to ask pip for."""

    requirement: str
    index: str = ""
    """An index beside the one that pip is set up for; empty for that one alone."""
    note: str = ""
    """Why it is not PyTorch's own index where that was wanted."""
    need_gib: int = NEED_CPU_GIB


def find_source(choice: TorchChoice, system: str, machine: str) -> TorchSource:
    """Where to take the build from. Asks PyTorch's index once, with a short timeout."""
    plain = f"torch=={TORCH_VERSION}"
    if choice.build == "default":
        return TorchSource(requirement=plain)
    need = NEED_CPU_GIB if choice.build == "cpu" else NEED_GPU_GIB
    index = f"{PYTORCH_INDEX}/{choice.build}"
    page = _read_page(f"{index}/torch/")
    if page is None:
        note = "PyTorch's own package index did not answer, so torch comes from pip's usual index."
        return TorchSource(requirement=plain, note=note, need_gib=need)
    if not lists_wheel(page, choice.build, sys.version_info[:2], system, machine):
        note = (
            f"PyTorch's own package index has no {choice.build} build of torch {TORCH_VERSION} for this "
            "system and this Python, so torch comes from pip's usual index."
        )
        return TorchSource(requirement=plain, note=note, need_gib=need)
    # The exact label exists on that index alone, so pip's usual index stays the source of all else.
    return TorchSource(requirement=f"{plain}+{choice.build}", index=index, need_gib=need)


def _read_page(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310 - a constant https address
            text: bytes = answer.read()
    except OSError:  # URLError, timeouts and refused certificates are all kinds of OSError
        return None
    return text.decode("utf-8", "replace")


def lists_wheel(page: str, build: str, python: tuple[int, int], system: str, machine: str) -> bool:
    """Does this index page list the torch wheel for the build, the Python and the system?"""
    tag = f"cp{python[0]}{python[1]}"
    kind = "win" if system == "Windows" else r"(?:manylinux_\d+_\d+|linux)"
    name = rf"torch-{re.escape(TORCH_VERSION)}\+{re.escape(build)}-{tag}-{tag}-{kind}_{machine.lower()}\.whl"
    return re.search(name, unquote(page)) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchInstalled:
    """What the installed torch says of itself."""

    version: str
    build: str
    """`cpu`, `cu130`, `rocm7.2`, `mps` and so on."""
    gpu_answers: bool


ASK_TORCH: Final = """
import json, torch
version = torch.__version__
if torch.version.cuda: build = "cu" + torch.version.cuda.replace(".", "")
elif torch.version.hip: build = "rocm" + ".".join(torch.version.hip.split(".")[:2])
elif torch.backends.mps.is_built(): build = "mps"
else: build = "cpu"
answers = torch.backends.mps.is_available() if build == "mps" else torch.cuda.is_available()
print(json.dumps({"version": version, "build": build, "gpu_answers": answers}))
"""


def ask_torch(python: Path, environ: dict[str, str]) -> TorchInstalled | None:
    """Import torch in the environment and let it say what it is; None when it cannot be imported."""
    answer = subprocess.run(
        [python, "-c", ASK_TORCH], capture_output=True, text=True, env=environ, check=False
    )
    if answer.returncode != 0 or not answer.stdout.strip():
        return None
    return TorchInstalled(**json.loads(answer.stdout.strip().splitlines()[-1]))


def record(choice: TorchChoice, source: TorchSource, installed: TorchInstalled) -> dict[str, str]:
    """What the app is told in `lora-torch.json`; `reason` is empty when torch has what the machine can give.

    `wanted` is a build, or `gpu` where a GPU is there and no build fits it as things are.
    """
    again = "python3 start.py --setup-only"
    reason, fix = choice.reason, choice.fix
    if not reason and choice.gpu and not installed.gpu_answers:
        if installed.build == "cpu":
            reason = source.note or "Only a build for the CPU could be installed."
            fix = f"Connect this computer to a network that reaches download.pytorch.org. Then run: {again}"
        else:
            reason = f"torch was installed for the GPU ({installed.build}), and the GPU does not answer it."
            fix = f"Update the GPU's driver and restart the computer. Then run: {again}"
            if source.note:
                reason += f" {source.note}"
    return {
        "wanted": choice.wanted,
        "installed": installed.build,
        "version": installed.version,
        "gpu": choice.gpu,
        "reason": reason,
        "fix": fix,
    }
