"""The trainers are found by name, and finding one loads no torch."""

import subprocess
import sys
from types import ModuleType

import pytest

from lora_core import engines
from lora_core.errors import EngineError


def test_importing_the_engines_and_checking_a_run_loads_no_torch() -> None:
    code = (
        "import sys; from lora_core import engines; engine = engines.get('diffusers'); engine.check;"
        "heavy = {'torch', 'diffusers', 'transformers', 'accelerate', 'peft', 'cv2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_shows_exactly_what_it_lists() -> None:
    public = {
        name for name, value in vars(engines).items() if name[0] != "_" and not isinstance(value, ModuleType)
    }
    assert public == set(engines.__all__)


def test_every_engine_is_found_by_its_own_name() -> None:
    for name in engines.names():
        assert engines.get(name).name == name


def test_an_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(EngineError, match="diffusers"):
        engines.get("kohya")
