"""Every setting of the built-in engine arrives: what a project holds is what the engine's process parsed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from changed_rig import OWN, changed, needs

from lora_core import projects
from lora_core.settings import RunConfig, catalogue, run_files
from lora_core.workspace import APP_ROOT, Workspace

TIME_S = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrive")


@pytest.fixture(scope="module")
def arrived(place: Path) -> dict[str, dict[str, Any]]:
    """For each setting, what one process of the engine parsed of a run folder with this setting changed."""
    workspace = Workspace(place / "workspace")
    configs = {}
    for s in OWN:
        run = _through_a_project(workspace, s.key, {**needs(s), s.key: changed(s, place)}, place)
        folder = place / "runs" / s.key
        folder.mkdir(parents=True)
        for name, text in run_files(run).items():
            (folder / name).write_text(text, "utf-8")
        configs[s.key] = folder / "config.toml"
    return dict(zip(configs, _parsed(list(configs.values())), strict=True))


def _through_a_project(workspace: Workspace, name: str, values: dict[str, Any], place: Path) -> RunConfig:
    target = {"pretrained_model_name_or_path": place / "base", "image_dir": place / "pictures"}
    made = projects.create(workspace, name, {**target, **values})
    return projects.run_of(projects.load(workspace, made.name))


def _parsed(configs: list[Path]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "lora_core.engines.diffusers", *map(str, configs), "--show-settings"]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    ended = subprocess.run(
        command, cwd=APP_ROOT, env=environment, capture_output=True, check=False, timeout=TIME_S
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return [json.loads(line) for line in ended.stdout.decode().splitlines()]


@pytest.mark.parametrize("s", OWN, ids=lambda s: s.key)
def test_a_changed_value_is_what_the_engines_process_has_parsed(
    s: Any, place: Path, arrived: dict[str, dict[str, Any]]
) -> None:
    parsed = arrived[s.key]
    here: Any = parsed
    if s.place in {"dataset", "subset"}:
        (dataset,) = parsed["datasets"]
        here = dataset if s.place == "dataset" else dataset["subsets"][0]
    wanted = json.loads(json.dumps(changed(s, place), default=str))
    assert here[s.key] == wanted
    assert type(here[s.key]) is type(wanted), "10 steps and a share of 10.0 are not the same"


def test_nothing_else_changes_on_the_way(place: Path, arrived: dict[str, dict[str, Any]]) -> None:
    target = {"pretrained_model_name_or_path", "image_dir"}
    for s in OWN:
        parsed = arrived[s.key]
        (dataset,) = parsed["datasets"]
        (subset,) = dataset["subsets"]
        flat = {**parsed, **dataset, **subset}
        given = {**needs(s), s.key: None}
        others = {
            other.key: flat[other.key]
            for other in OWN
            if other.key in flat and other.key not in given and other.key not in target
        }
        assert {k: v for k, v in others.items() if v != _plain(k)} == {}, s.key


def _plain(key: str) -> Any:
    default = next(s.default for s in OWN if s.key == key)
    return list(default) if isinstance(default, tuple) else default


def test_each_setting_that_an_owner_has_not_is_left_out_of_what_counts(arrived: dict[str, Any]) -> None:
    assert "d_coef" not in arrived["seed"]
    assert "d_coef" in arrived["d0"]


def test_the_engine_shows_what_is_wrong_with_a_file_and_ends(place: Path) -> None:
    broken = place / "broken.toml"
    broken.write_text("network_dim = 'four'\n", "utf-8")
    command = [sys.executable, "-m", "lora_core.engines.diffusers", str(broken), "--show-settings"]
    ended = subprocess.run(command, cwd=APP_ROOT, capture_output=True, check=False, timeout=TIME_S)
    assert ended.returncode == 1
    assert b"network_dim" in ended.stderr
    assert ended.stdout == b""


def test_the_table_is_the_catalogue() -> None:
    assert len(OWN) > 100
    assert {s.key for s in OWN} == {s.key for s in catalogue() if "diffusers" in s.engines}
