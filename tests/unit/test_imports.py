"""The process that draws the pages stays light: what needs torch runs somewhere else."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft", "onnxruntime", "tensorboard", "skimage")

LOAD_ALL = """
import importlib, json, pkgutil, sys
import ui
for module in pkgutil.iter_modules(ui.__path__):
    importlib.import_module(f"ui.{module.name}")
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_nothing_that_pages_import_brings_a_heavy_library_along() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded & set(HEAVY) == set()
    assert {"streamlit", "plotly", "lora_core"} <= loaded
