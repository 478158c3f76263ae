"""Presets of users: nothing is lost, nothing of this machine is given away, no name leads astray."""

from dataclasses import replace
from pathlib import Path

import pytest

from lora_core.errors import DiskFullError, FileTooNewError, LoraError, SettingsError, WorkspaceError
from lora_core.settings import catalogue, setting
from lora_core.settings.presets import (
    PRESETS,
    OwnPreset,
    add_own,
    composed,
    delete_own,
    deleted_own,
    list_own,
    load_own,
    own,
    read_preset,
    recipe_of,
    rename_own,
    restore_own,
    save_own,
    share_own,
)
from lora_core.workspace import APP_ROOT, Workspace

VALUES = {
    "learning_rate": 3e-4,
    "network_dim": 32,
    "network_alpha": 16.0,
    "resolution": (768, 512),
    "text_encoder_lr": None,
    "lr_warmup_steps": 0.05,
    "shuffle_caption": True,
    "betas": (0.9, 0.99),
}
HOSTILE = [
    "../../outside",
    "..",
    "/etc/passwd",
    "C:\\windows\\x",
    "con",
    ".hidden",
    "a\x00b",
    "a\nb = 1",
    "quote \" and \\ and '",
    "[recipe]",
    "  ",
    "",
    "x" * 500,
    "own.sdxl",
    "sdxl.style",
    "日本語 🎨",
    "\ud800",
    "$(touch x); `id`",
]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def names(ws: Workspace) -> list[str]:
    return [found.name for found in list_own(ws)]


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_preset_comes_back_as_it_was_saved(ws: Workspace) -> None:
    saved = save_own(ws, "Soft ink", VALUES, base="sdxl", goal="style")
    assert load_own(ws, saved.name) == load_own(ws, saved.id) == saved
    assert dict(saved.values) == VALUES
    assert (saved.title, saved.base, saved.goal, saved.id) == ("Soft ink", "sdxl", "style", "own.Soft ink")
    assert everything_in(own.folder_of(ws)) == {"Soft ink.toml"}
    assert (own.folder_of(ws) / "Soft ink.toml").read_text("utf-8").startswith("format = 1\n")


def test_a_bundled_recipe_can_be_saved_as_ones_own(ws: Workspace) -> None:
    for base, goal, memory in (("sdxl", "style", None), ("noobai-vpred", "character", 8)):
        recipe = composed(base, goal, memory_gb=memory)
        saved = save_own(ws, recipe.title, recipe.values, base=base, goal=goal)
        again = load_own(ws, saved.name).composed()
        assert dict(again.values) == dict(recipe.values)
        assert again.target == recipe.target
        assert again.why.keys() == again.set_by.keys() == again.values.keys()
        assert "own" in again.evidence_text


def test_an_id_leads_to_a_bundled_recipe_or_to_ones_own(ws: Workspace) -> None:
    saved = save_own(ws, "sdxl.style", {"network_dim": 8})
    assert recipe_of(ws, saved.id) == saved.composed()
    assert recipe_of(ws, "sdxl.style", memory_gb=8) == composed("sdxl", "style", memory_gb=8)
    for unknown in ("own.nothing", "nothing", "", "own."):
        with pytest.raises(LoraError):
            recipe_of(ws, unknown)


def test_neither_target_nor_files_of_this_machine_are_saved(ws: Workspace) -> None:
    left_out = {
        "pretrained_model_name_or_path": Path("/models/x"),
        "image_dir": Path("/pictures"),
        "num_repeats": 4,
        "output_name": "secret name",
        "metadata_author": "somebody",
        "metadata_trigger_phrase": "zog",
        "training_comment": "token",
        "sample_prompts": ("zog",),
        "v_parameterization": True,
        "network_weights": Path("/loras/x.safetensors"),
        "dim_from_weights": True,
        "base_weights": (Path("/loras/y.safetensors"),),
        "base_weights_multiplier": (0.5,),
        "no_such_setting": "token",
    }
    saved = save_own(ws, "Mine", {**VALUES, **left_out})
    assert dict(saved.values) == VALUES
    assert set(saved.left_out) == set(left_out)
    text = share_own(ws, "Mine")
    for word in ("token", "somebody", "secret", "/loras", "/models", "/pictures", "zog"):
        assert word not in text


def test_each_setting_that_names_a_file_is_kept_out(ws: Workspace) -> None:
    of_files = {s.key: Path("/x") for s in catalogue() if s.kind in {"path", "paths"}}
    assert dict(save_own(ws, "Mine", of_files).values) == {}


def test_each_setting_that_would_be_a_secret_is_kept_out(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("huggingface_token", "wandb_api_key", "some_password")
    more = tuple(replace(setting("training_comment"), key=key, part="recipe") for key in secrets)
    monkeypatch.setattr(own, "catalogue", lambda: (*catalogue(), *more))
    saved = save_own(ws, "Mine", {**dict.fromkeys(secrets, "s3cret"), "network_dim": 8, "keep_tokens": 1})
    assert dict(saved.values) == {"network_dim": 8, "keep_tokens": 1}
    assert "s3cret" not in share_own(ws, "Mine")


def test_values_that_do_not_fit_are_all_told_and_nothing_is_written(ws: Workspace) -> None:
    with pytest.raises(SettingsError) as caught:
        save_own(ws, "Mine", {"network_dim": "much", "learning_rate": float("nan")})
    assert {problem.setting for problem in caught.value.problems} == {"network_dim", "learning_rate"}
    assert names(ws) == []


@pytest.mark.parametrize("title", HOSTILE)
def test_no_name_leads_out_of_the_folder_or_breaks_the_file(title: str, ws: Workspace) -> None:
    before = everything_in(ws.root.parent)
    saved = save_own(ws, title, VALUES)
    new = everything_in(ws.root.parent) - before
    assert new == {f"workspace/presets/{saved.name}.toml"}
    assert load_own(ws, saved.id) == saved
    assert list_own(ws)[0].preset == saved
    renamed = rename_own(ws, saved.id, f"{title} 9")
    assert names(ws) == [renamed.name]
    gone = delete_own(ws, renamed.id)
    assert names(ws) == []
    assert restore_own(ws, gone.id) == renamed.name
    assert all(name.startswith("workspace/presets/") for name in everything_in(ws.root.parent) - before)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.strip()])
def test_a_hostile_name_finds_nothing(name: str, ws: Workspace) -> None:
    (ws.root.parent / "outside.toml").write_text("[recipe]\n", "utf-8")
    for act in (load_own, share_own, delete_own, restore_own):
        with pytest.raises(WorkspaceError):
            act(ws, name)
    assert (ws.root.parent / "outside.toml").exists()


def test_a_name_that_is_taken_gets_a_number_whatever_its_case(ws: Workspace) -> None:
    saved = [save_own(ws, title, VALUES) for title in ("Ink", "ink", "INK")]
    assert [preset.name for preset in saved] == ["Ink", "ink 2", "INK 3"]
    assert [preset.title for preset in saved] == ["Ink", "ink 2", "INK 3"]


def test_overwriting_is_asked_for(ws: Workspace) -> None:
    save_own(ws, "Ink", VALUES)
    save_own(ws, "ink", {"network_dim": 8}, overwrite=True)
    assert names(ws) == ["Ink"]
    assert dict(load_own(ws, "Ink").values) == {"network_dim": 8}


def test_bundled_presets_are_never_written_to(ws: Workspace) -> None:
    before = {path: path.read_bytes() for path in PRESETS.rglob("*.toml")}
    for title in ("demo", "Style", "goal/style", str(PRESETS / "demo"), "sdxl.style"):
        saved = save_own(ws, title, VALUES, overwrite=True)
        delete_own(ws, rename_own(ws, saved.name, "demo").name)
    assert {path: path.read_bytes() for path in PRESETS.rglob("*.toml")} == before


def test_renaming_keeps_the_values_and_leaves_one_file(ws: Workspace) -> None:
    save_own(ws, "Other", VALUES)
    save_own(ws, "Ink", {"network_dim": 8}, goal="style")
    renamed = rename_own(ws, "Ink", "Other")
    assert (renamed.name, dict(renamed.values), renamed.goal) == ("Other 2", {"network_dim": 8}, "style")
    assert names(ws) == ["Other", "Other 2"]
    assert dict(load_own(ws, "Other").values) == VALUES
    assert rename_own(ws, "Other 2", "OTHER 2").title == "OTHER 2"
    assert names(ws) == ["Other", "Other 2"]


def test_what_is_shared_can_be_added_in_another_workspace(ws: Workspace, tmp_path: Path) -> None:
    saved = save_own(ws, "Soft ink", VALUES, base="pony", goal="style")
    other = Workspace.open(tmp_path / "other")
    added = add_own(other, share_own(ws, "Soft ink"))
    assert added == saved
    assert add_own(other, share_own(ws, "Soft ink")).name == "Soft ink 2"
    assert add_own(other, share_own(ws, "Soft ink"), title="Harder").title == "Harder"


@pytest.mark.parametrize(
    "text",
    [
        "rubbish",
        "[recipe]\npretrained_model_name_or_path = 'x'\n",
        "[recipe]\nnetwork_dim = 'x'\n",
        "recipe = 1\n",
        "why = 1\n",
        "a = " + "[" * 5000 + "\n",
        "x" * 2_000_000,
        "[recipe]\nnetwork_dim = 1\nnetwork_dim = 2\n",
    ],
    ids=range(8),
)
def test_what_is_no_preset_is_not_added(text: str, ws: Workspace) -> None:
    with pytest.raises(SettingsError):
        add_own(ws, text)
    assert names(ws) == []


def test_a_shared_file_may_not_name_files_of_this_machine(ws: Workspace) -> None:
    added = add_own(ws, '[recipe]\nnetwork_dim = 8\nnetwork_weights = "/etc/passwd"\n', title="Given")
    assert dict(added.values) == {"network_dim": 8}
    assert "passwd" not in share_own(ws, "Given")


def test_a_broken_file_is_listed_with_its_reason_and_spoils_no_other(ws: Workspace) -> None:
    save_own(ws, "Good", VALUES)
    folder = own.folder_of(ws)
    (folder / "newer.toml").write_text("format = 99\n", "utf-8")
    (folder / "rubbish.toml").write_text("rubbish", "utf-8")
    (folder / "target.toml").write_text("[recipe]\noutput_name = 'x'\n", "utf-8")
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (folder / "odd.toml").write_text("title = 5\nbase = 7\ngoal = []\nneeds = 3\nleft_empty = 1\n", "utf-8")
    (folder / "folder.toml").mkdir()
    (folder / "notes.txt").write_text("not a preset", "utf-8")
    found = {entry.name: entry for entry in list_own(ws)}
    assert set(found) == {"Good", "newer", "rubbish", "target", "binary", "odd"}
    assert {name for name, entry in found.items() if entry.preset is not None} == {"Good", "odd"}
    for name in ("newer", "rubbish", "target", "binary"):
        problem = found[name].problem
        assert isinstance(problem, LoraError)
        assert problem.what
        assert problem.fix
    assert isinstance(found["newer"].problem, FileTooNewError)
    odd = found["odd"].preset
    assert odd is not None
    assert (odd.base, odd.goal) == ("", "")


def test_a_broken_file_can_be_deleted_and_brought_back(ws: Workspace) -> None:
    save_own(ws, "Good", VALUES)
    path = own.folder_of(ws) / "broken.toml"
    path.write_bytes(b"\xff rubbish")
    gone = delete_own(ws, "broken")
    assert names(ws) == ["Good"]
    restore_own(ws, gone.id)
    assert path.read_bytes() == b"\xff rubbish"


def test_a_deleted_preset_comes_back_byte_for_byte_and_under_a_free_name(ws: Workspace) -> None:
    save_own(ws, "Ink", VALUES)
    written = (own.folder_of(ws) / "Ink.toml").read_bytes()
    first = delete_own(ws, "Ink")
    save_own(ws, "Ink", {"network_dim": 8})
    second = delete_own(ws, "Ink")
    assert {entry.id for entry in deleted_own(ws)} == {first.id, second.id}
    assert {entry.name for entry in deleted_own(ws)} == {"Ink"}
    save_own(ws, "Ink", {"network_dim": 4})
    assert restore_own(ws, first.id) == "Ink 2"
    assert (own.folder_of(ws) / "Ink 2.toml").read_bytes() == written
    assert dict(load_own(ws, "Ink").values) == {"network_dim": 4}
    with pytest.raises(WorkspaceError, match="back already"):
        restore_own(ws, first.id)


def test_a_file_of_a_newer_app_is_never_replaced(ws: Workspace) -> None:
    save_own(ws, "Ink", VALUES)
    path = own.folder_of(ws) / "Ink.toml"
    path.write_text("format = 2\n", "utf-8")
    with pytest.raises(FileTooNewError):
        save_own(ws, "Ink", VALUES, overwrite=True)
    assert path.read_text("utf-8") == "format = 2\n"


def test_a_full_disk_leaves_the_old_file(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    save_own(ws, "Ink", VALUES)

    def full(path: Path, content: str) -> None:
        raise DiskFullError(f"The file {path.name} was not saved.")

    monkeypatch.setattr(own, "write_atomic", full)
    with pytest.raises(DiskFullError):
        save_own(ws, "Ink", {"network_dim": 8}, overwrite=True)
    with pytest.raises(DiskFullError):
        rename_own(ws, "Ink", "Other")
    assert dict(load_own(ws, "Ink").values) == VALUES


def test_a_folder_that_cannot_be_made_is_told_in_words(ws: Workspace) -> None:
    own.folder_of(ws).write_text("a file in its place", "utf-8")
    with pytest.raises(WorkspaceError, match="could not be written to"):
        save_own(ws, "Ink", VALUES)
    assert list_own(ws) == []
    assert deleted_own(ws) == []


def test_the_form_in_the_docs_is_one_that_is_read(ws: Workspace, tmp_path: Path) -> None:
    page = (APP_ROOT / "docs" / "presets.md").read_text("utf-8")
    text = page.rpartition("```\nformat")[2].partition("```")[0]
    path = tmp_path / "p.toml"
    path.write_text(f"format{text}", "utf-8")
    assert read_preset(path).values == {"text_encoder_lr": None, "learning_rate": 0.0003}
    added = add_own(ws, path.read_text("utf-8"))
    assert isinstance(added, OwnPreset)
    assert (added.title, added.base, added.goal) == ("Soft ink", "sdxl", "style")
