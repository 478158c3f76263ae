"""The demo run: its dataset is drawn once, and the built-in engine takes it as it is."""

from pathlib import Path

import pytest

from lora_core.demo import SAMPLE_PROMPTS, TRIGGER, create_demo, recipe
from lora_core.engines import get
from lora_core.errors import DiskFullError
from lora_core.settings import BUILT_IN, differences, load_run, prompt_lines, run_files
from lora_core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def test_the_demo_dataset_lands_in_the_workspace(workspace: Workspace) -> None:
    run = create_demo(workspace)
    folders = [subset.image_dir for dataset in run.dataset.datasets for subset in dataset.subsets]
    assert [len(list(folder.glob("*.png"))) for folder in folders] == [16, 120]
    assert {folder.parent for folder in folders} == {workspace.datasets / "demo"}


def test_a_full_disk_leaves_nothing_of_the_demo(small_disk: Path) -> None:
    workspace = Workspace.open(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_700_000))
    with pytest.raises(DiskFullError, match="disk is full"):
        create_demo(workspace)
    assert list(workspace.datasets.iterdir()) == []
    ballast.unlink()
    create_demo(workspace)
    assert [path.name for path in workspace.datasets.iterdir()] == ["demo"]


def test_two_that_draw_the_demo_at_once_get_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = recipe.write_dataset

    def another_is_quicker(folder: Path) -> None:
        drawn(folder)
        drawn(workspace.datasets / "demo")

    monkeypatch.setattr(recipe, "write_dataset", another_is_quicker)
    create_demo(workspace)
    assert [path.name for path in workspace.datasets.iterdir()] == ["demo"]


def test_captions_that_a_user_changed_are_kept(workspace: Workspace) -> None:
    run = create_demo(workspace)
    caption = min(run.dataset.datasets[0].subsets[0].image_dir.glob("*.txt"))
    caption.write_text("mine", "utf-8")
    create_demo(workspace)
    assert caption.read_text("utf-8") == "mine"


def test_the_built_in_engine_has_nothing_against_the_demo_run(workspace: Workspace) -> None:
    assert get(BUILT_IN).check(create_demo(workspace)) == []


def test_the_demo_run_survives_its_files(workspace: Workspace, tmp_path: Path) -> None:
    run = create_demo(workspace)
    for name, text in run_files(run).items():
        (tmp_path / name).write_text(text, "utf-8")
    again = load_run(tmp_path / "config.toml", tmp_path / "dataset.toml")
    # The prompts move to a file of their own, which holds the same lines.
    assert {difference.setting.key for difference in differences(run, again)} == {"sample_prompts"}
    assert prompt_lines(again) == prompt_lines(run)


def test_samples_show_the_concept_and_something_that_should_stay(workspace: Workspace) -> None:
    prompts = create_demo(workspace).sampling.sample_prompts
    assert isinstance(prompts, tuple)
    assert len(prompts) == len(SAMPLE_PROMPTS)
    assert {TRIGGER in prompt for prompt in prompts} == {True, False}


def test_the_demo_can_be_trained_longer_afterwards(tmp_path: Path) -> None:
    assert recipe.demo_run(tmp_path).saving.save_state_on_train_end
