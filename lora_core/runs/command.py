"""The command that would train the same with plain sd-scripts, for bash and for PowerShell.

Covered: which script a family needs, quoting, all arguments on one line in place of a file. Not
covered: running it (see `lora_core.jobs`).
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from lora_core import settings
from lora_core.settings import CONFIG_NAME, RunConfig

Terminal = Literal["bash", "powershell"]

SCRIPTS: Final[Mapping[str, str]] = {"sd15": "train_network.py", "sdxl": "sdxl_train_network.py"}
"""The script of sd-scripts that trains a LoRA on a base model of this family."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=,+-]+")


def command_line(
    run: RunConfig,
    engine: str = settings.SD_SCRIPTS,
    *,
    family: str = "sd15",
    terminal: Terminal = "bash",
    folder: str = "sd-scripts",
    config: str | None = CONFIG_NAME,
) -> str:
    """The command that trains `run` from the folder of its files.

    `folder` is that of sd-scripts. Without `config` every argument stands on the line; the dataset
    file is needed either way.
    """
    if engine != settings.SD_SCRIPTS:
        return _joined(
            ["python", "-m", "lora_core", "train", config or CONFIG_NAME, "--engine", engine], terminal
        )
    script = f"{folder.rstrip('/')}/{SCRIPTS.get(family, SCRIPTS['sd15'])}"
    words = ["accelerate", "launch", "--num_cpu_threads_per_process", "1"]
    words += ["--mixed_precision", run.precision.mixed_precision, script]
    words += ["--config_file", config] if config is not None else _arguments(run)
    return _joined(words, terminal)


def _arguments(run: RunConfig) -> list[str]:
    table = settings.parse(settings.run_files(run)[CONFIG_NAME], CONFIG_NAME)
    return [word for key, value in table.items() for word in _words(key, value)]


def _words(key: str, value: Any) -> Iterator[str]:
    if value is False:
        return  # a switch that is not on the line is off
    yield f"--{key}"
    if value is not True:
        yield from (str(item) for item in value) if isinstance(value, list) else [str(value)]


def _joined(words: list[str], terminal: Terminal) -> str:
    return shlex.join(words) if terminal == "bash" else " ".join(_for_powershell(word) for word in words)


def _for_powershell(word: str) -> str:
    # In single quotes nothing has a meaning but the quote itself; the curly ones count as quotes, too.
    if _PLAIN.fullmatch(word):
        return word
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", word) + "'"
