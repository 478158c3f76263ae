"""Presets: the ones that come with the app fit, and odd ones are refused in words."""

from pathlib import Path

import pytest

from lora_core.demo import create_demo
from lora_core.errors import FileTooNewError, SettingsError
from lora_core.planning import check
from lora_core.settings import BUILT_IN, RunConfig
from lora_core.settings.presets import PRESETS, read_preset
from lora_core.workspace import Workspace


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    return create_demo(Workspace.open(tmp_path / "workspace"))


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_bundled_preset_makes_a_run_without_errors(path: Path, run: RunConfig) -> None:
    found = check(read_preset(path).applied(run), BUILT_IN)
    assert [problem for problem in found if problem.severity == "error"] == []


def test_the_demo_trains_by_its_preset(run: RunConfig) -> None:
    assert read_preset(PRESETS / "demo.toml").applied(run) == run


def test_what_to_train_stays_when_a_preset_is_applied(run: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "high.toml").write_text("[recipe]\nlearning_rate = 0.5\n", "utf-8")
    changed = read_preset(tmp_path / "high.toml").applied(run)
    assert changed.optimizer.learning_rate == 0.5
    assert changed.target == run.target


def test_a_preset_that_names_a_base_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[recipe]\npretrained_model_name_or_path = "x"\n', "utf-8")
    with pytest.raises(SettingsError, match="pretrained_model_name_or_path: A preset cannot set this"):
        read_preset(tmp_path / "p.toml")


def test_a_preset_of_a_newer_app_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("format = 2\n", "utf-8")
    with pytest.raises(FileTooNewError):
        read_preset(tmp_path / "p.toml")
