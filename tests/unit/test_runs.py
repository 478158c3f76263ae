"""Runs: what is frozen when one starts, and what lists tell about them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_core import engines, jobs, runs
from lora_core.errors import NoRoomError, Problem, SettingsError
from lora_core.jobs import control, space
from lora_core.jobs.records import End, Status, write_status
from lora_core.runs import moved, start
from lora_core.runs.start import base_model_hash, listing_hash
from lora_core.settings import RunConfig, loads_run
from lora_core.workspace import Workspace, read_json

CONFIG = """
pretrained_model_name_or_path = "{base}"
output_name = "cat"
max_train_steps = 10
sample_prompts = ["a cat", "a dog --w 64"]
"""
DATASET = """
[[datasets]]
resolution = 64
[[datasets.subsets]]
image_dir = "{images}"
num_repeats = 2
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def run(ws: Workspace) -> RunConfig:
    """A run on a base model that is only a folder of names."""
    images, base = ws.datasets / "cats", ws.checkpoints / "base"
    images.mkdir()
    Image.new("RGB", (64, 64)).save(images / "one.png")
    (images / "one.txt").write_text("a cat")
    (base / "unet").mkdir(parents=True)
    (base / "model_index.json").write_text("{}")
    (base / "unet" / "weights.safetensors").write_bytes(b"12345")
    return loads_run(CONFIG.format(base=base.as_posix()), DATASET.format(images=images.as_posix()))


@pytest.fixture
def agreeing(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """The built-in engine with these problems, none unless a test adds some."""
    problems: list[Problem] = []
    monkeypatch.setattr(type(engines.get("diffusers")), "check", lambda _self, _run: problems)
    return problems


def test_a_run_is_a_queued_job_with_its_frozen_settings(ws: Workspace, run: RunConfig, agreeing: Any) -> None:
    job = runs.start_run(ws, run, project="cats", parent="earlier")
    assert jobs.status(ws, job.id).state == "queued"
    assert (job.kind, job.name, job.engine, job.project, job.parent) == (
        "train",
        "cat",
        "diffusers",
        "cats",
        "earlier",
    )
    frozen = runs.settings_of(job)
    assert frozen.dataset == run.dataset
    assert frozen.schedule == run.schedule
    assert runs.prompts_of(job) == ["a cat", "a dog --w 64"]


def test_the_record_of_a_run_names_no_place_of_this_machine(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    job = runs.start_run(ws, run)
    record = read_json(job.folder / "job.json")
    assert record["params"]["base_model"] == "models/checkpoints/base"
    assert str(ws.root) not in (job.folder / "job.json").read_text("utf-8")


def test_the_record_of_a_run_on_a_model_of_the_hub_keeps_its_name(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    named = run.model.model_copy(update={"pretrained_model_name_or_path": Path("owner/tiny")})
    job = runs.start_run(ws, run.model_copy(update={"model": named}))
    assert read_json(job.folder / "job.json")["params"]["base_model"] == "owner/tiny"


def test_every_error_of_the_engine_is_listed_and_nothing_is_made(
    ws: Workspace, run: RunConfig, agreeing: list[Problem]
) -> None:
    agreeing += [
        Problem(setting="network_dim", what="It is too high.", fix="Lower it."),
        Problem(setting="seed", what="It is odd.", fix="Leave it.", severity="advice"),
        Problem(setting="", what="There are no images.", fix="Add some."),
    ]
    with pytest.raises(SettingsError) as caught:
        runs.start_run(ws, run)
    assert [problem.what for problem in caught.value.problems] == ["It is too high.", "There are no images."]
    assert jobs.jobs(ws) == []


def test_advice_does_not_hold_a_run_back(ws: Workspace, run: RunConfig, agreeing: list[Problem]) -> None:
    agreeing.append(Problem(setting="seed", what="It is odd.", fix="Leave it.", severity="advice"))
    assert runs.start_run(ws, run).kind == "train"


def test_the_hashes_change_with_what_the_run_is_made_from(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    first = runs.start_run(ws, run).hashes
    assert runs.start_run(ws, run).hashes == first
    (ws.datasets / "cats" / "one.txt").write_text("a longer caption")
    second = runs.start_run(ws, run).hashes
    assert (second["base_model"], second["dataset"] == first["dataset"]) == (first["base_model"], False)
    (ws.checkpoints / "base" / "model_index.json").write_text("[]")
    assert runs.start_run(ws, run).hashes["base_model"] != first["base_model"]


def test_a_single_model_file_is_told_apart_by_its_header_and_size(tmp_path: Path) -> None:
    hashes = set()
    for number, content in enumerate([b"{}" + b"1" * 8, b"[]" + b"1" * 8, b"{}" + b"1" * 9]):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes((2).to_bytes(8, "little") + content)
        hashes.add(base_model_hash(path))
    assert len(hashes) == 3


def test_what_cannot_be_read_has_no_hash_and_raises_nothing(tmp_path: Path) -> None:
    assert base_model_hash(tmp_path / "no.safetensors") == base_model_hash(tmp_path / "nothing") == ""
    assert listing_hash([tmp_path / "nothing"]) == listing_hash([])


def test_the_facts_of_a_run_name_its_lora_only_while_it_is_there(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    job = runs.start_run(ws, run)
    lora = ws.loras / "cat.safetensors"
    lora.touch()
    end = End(cause="It is finished.", result="loras/cat.safetensors", at=5.0)
    write_status(job.folder, Status(state="finished", step=10, total=10, loss=0.25, end=end))
    facts = runs.describe(ws, job)
    assert (facts.lora, facts.ended_at, facts.loss, facts.status.state) == (lora, 5.0, 0.25, "finished")
    lora.unlink()
    assert runs.describe(ws, job).lora is None


def test_only_trainings_are_runs(ws: Workspace, run: RunConfig, agreeing: Any) -> None:
    job = runs.start_run(ws, run)
    jobs.create(ws, "import", "pictures")
    assert runs.runs(ws) == [job]


def test_checkpoints_are_read_from_the_file_names_of_sd_scripts(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    job = runs.start_run(ws, run)
    folder = job.folder / "checkpoints"
    folder.mkdir()
    for name in ("cat-step00000004.safetensors", "cat-000001.safetensors", "cat.safetensors", ".cat.part"):
        (folder / name).write_bytes(b"123")
    found = {(c.path.name, c.step, c.epoch, c.size_bytes) for c in runs.checkpoints_of(job)}
    assert found == {
        ("cat-step00000004.safetensors", 4, None, 3),
        ("cat-000001.safetensors", None, 1, 3),
        ("cat.safetensors", None, None, 3),
    }


def test_prompts_that_are_missing_are_none(ws: Workspace, run: RunConfig, agreeing: Any) -> None:
    job = runs.start_run(ws, run)
    (job.folder / "sample_prompts.txt").unlink()
    assert runs.prompts_of(job) == []


def test_a_run_that_cannot_fit_is_refused_with_both_figures_unless_asked_for(
    ws: Workspace, run: RunConfig, agreeing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "space_needed", lambda _run, _images: 5 * 2**30)
    monkeypatch.setattr(space, "free_bytes", lambda _place: 2 * 2**30)
    with pytest.raises(NoRoomError, match=r"about 5\.0 GiB, but only 2\.0 GiB") as caught:
        runs.start_run(ws, run)
    assert (caught.value.needed, caught.value.free) == (5 * 2**30, 2 * 2**30)
    assert list(ws.jobs.iterdir()) == []
    job = runs.start_run(ws, run, despite_space=True, retry_ladder=True)
    assert job.params["despite_space"] is True
    assert job.params["retry_ladder"] is True


def test_a_run_that_cannot_be_counted_is_not_refused_for_it(
    ws: Workspace, run: RunConfig, agreeing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda _place: 0)
    assert start.space_needed(run) is None
    job = runs.start_run(ws, run)
    assert "despite_space" not in job.params


# --- a workspace that was moved -------------------------------------------------------------------------


def moved_to(ws: Workspace, place: Path) -> Workspace:
    ws.root.rename(place)
    return Workspace.open(place)


def test_a_run_that_waits_follows_its_workspace_to_another_folder(
    ws: Workspace, run: RunConfig, agreeing: Any, tmp_path: Path
) -> None:
    job_id = runs.start_run(ws, run).id
    there = moved_to(ws, tmp_path / "an other place")
    job = jobs.get(there, job_id)
    told = moved.follow(there, job)
    assert told is not None
    assert told.endswith("datasets/cats, models/checkpoints/base.")
    now = runs.settings_of(job)
    assert now.dataset.datasets[0].subsets[0].image_dir == there.datasets / "cats"
    assert now.model.pretrained_model_name_or_path == there.checkpoints / "base"
    assert now.network == run.network
    assert moved.follow(there, job) is None, "once is enough"


@pytest.mark.parametrize("other", ["pictures", "base"])
def test_other_files_in_the_place_of_those_of_the_run_are_not_taken(
    ws: Workspace, run: RunConfig, agreeing: Any, tmp_path: Path, other: str
) -> None:
    job_id = runs.start_run(ws, run).id
    there = moved_to(ws, tmp_path / "moved")
    changed = (
        there.datasets / "cats" / "one.png"
        if other == "pictures"
        else there.checkpoints / "base" / "more.json"
    )
    changed.write_bytes(b"of another time")
    job = jobs.get(there, job_id)
    told = moved.follow(there, job) or ""
    assert ("datasets/cats" in told, "checkpoints/base" in told) == (other == "base", other == "pictures")


def test_a_run_whose_files_are_where_they_were_is_left_alone(
    ws: Workspace, run: RunConfig, agreeing: Any
) -> None:
    job = runs.start_run(ws, run)
    before = {file.name: file.read_bytes() for file in job.folder.iterdir() if file.is_file()}
    assert moved.follow(ws, job) is None
    assert {file.name: file.read_bytes() for file in job.folder.iterdir() if file.is_file()} == before
