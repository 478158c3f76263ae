"""The command that would train the same with plain sd-scripts, for bash and for PowerShell.

Covered: which script a family needs, quoting, all arguments on one line in place of a file; arguments
that the script does not know are left out. Not covered: running it (see `lora_core.jobs`).
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from lora_core import settings
from lora_core.errors import Problem, SettingsError
from lora_core.models import FAMILY_NAMES
from lora_core.settings import CONFIG_NAME, RunConfig, known
from lora_core.settings.conflicts import family_in

Terminal = Literal["bash", "powershell"]

SCRIPTS: Final[Mapping[str, str]] = {family: f"{script}.py" for family, script in known.SCRIPTS.items()}
"""The script of sd-scripts that trains a LoRA on a base model of this family."""
_OUTPUT: Final = ("--output_dir", "output")
"""Without a folder to write to sd-scripts stops; the app itself keeps files in the folder of a job."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=,+-]+")


def command_line(
    run: RunConfig,
    engine: str = settings.SD_SCRIPTS,
    *,
    family: str | None = None,
    terminal: Terminal = "bash",
    folder: str = "sd-scripts",
    config: str | None = CONFIG_NAME,
) -> str:
    """The command that trains `run` from the folder of its files.

    `folder` is that of sd-scripts. Without `config` every argument stands on the line; the dataset
    file is needed either way. Without a `family` the settings tell it, or it is Stable Diffusion 1.x.

    Raises:
        SettingsError: sd-scripts trains no LoRA for this family.
    """
    if engine != settings.SD_SCRIPTS:
        return _joined(
            ["python", "-m", "lora_core", "train", config or CONFIG_NAME, "--engine", engine], terminal
        )
    script = script_for(family or family_in(run) or "sd15")
    words = ["accelerate", "launch", "--num_cpu_threads_per_process", "1"]
    words += ["--mixed_precision", run.precision.mixed_precision, f"{folder.rstrip('/')}/{script}"]
    words += ["--config_file", config] if config is not None else _arguments(run, script)
    return _joined([*words, *_OUTPUT], terminal)


def script_for(family: str) -> str:
    """The file name of the script that trains a LoRA for `family`.

    Raises:
        SettingsError: there is none.
    """
    if family in SCRIPTS:
        return SCRIPTS[family]
    name = FAMILY_NAMES.get(family, family)
    what = f"sd-scripts has no script that trains a LoRA for the family {name}."
    fix = "Choose a base model of another family."
    raise SettingsError([Problem(setting="pretrained_model_name_or_path", what=what, fix=fix)], what=what)


def _arguments(run: RunConfig, script: str) -> list[str]:
    table = settings.parse(settings.run_files(run)[CONFIG_NAME], CONFIG_NAME)
    taken = known.by_script()[script.removesuffix(".py")]
    return [word for key, value in table.items() if key in taken for word in _words(key, value)]


def _words(key: str, value: Any) -> Iterator[str]:
    if value is False:
        return  # a switch that is not on the line is off
    if value is True:
        yield f"--{key}"
    elif isinstance(value, list):
        yield from (f"--{key}", *(str(item) for item in value))
    elif str(value).startswith("-"):
        yield f"--{key}={value}"  # it would be taken for the name of an argument
    else:
        yield from (f"--{key}", str(value))


def _joined(words: list[str], terminal: Terminal) -> str:
    return shlex.join(words) if terminal == "bash" else " ".join(_for_powershell(word) for word in words)


def _for_powershell(word: str) -> str:
    # In single quotes nothing has a meaning but the quote itself; the curly ones count as quotes, too.
    if _PLAIN.fullmatch(word):
        return word
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", word) + "'"
