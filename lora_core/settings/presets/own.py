"""Presets of users: small files in the workspace that can be saved, shared, deleted and brought back.

Covered: `presets/NAME.toml` in the workspace, names that no file system minds, broken files listed with
their reason, a hidden bin for what was deleted. Not covered: the presets that come with the app, which lie
in another folder and are never written to.

A file holds recipe settings alone: never what is trained, never a file of this machine, so that it can be
given away as it is. Its form is that of `layers.py`, with the base and the goal that it was made for.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

from lora_core.errors import FileTooNewError, LoraError, SettingsError, WorkspaceError
from lora_core.settings._toml import parse, read_text, write_lines
from lora_core.settings._values import checked
from lora_core.settings.presets.bases import BASES
from lora_core.settings.presets.compose import Composed, Layer, composed_by_id
from lora_core.settings.presets.goals import GOALS
from lora_core.settings.presets.layers import FORMAT, Preset, parse_preset
from lora_core.settings.run import catalogue, setting
from lora_core.workspace import Workspace, safe_name, write_atomic

PREFIX: Final = "own."
"""How the id of a user's preset begins. No kind of base model has this name."""
FOLDER: Final = "presets"
_BIN: Final = ".deleted"
_TITLE_LIMIT: Final = 80
_OF_FILES: Final = frozenset({"dim_from_weights", "base_weights_multiplier"})
"""Recipe settings that mean nothing without a file of this machine."""
_SECRET: Final = re.compile(r"(?:api_key|password|secret|(?:hub|hf|huggingface|access)_token)$")
"""How the keys of secrets end. No setting is one today; sd-scripts has such arguments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnPreset:
    """A preset that a user saved."""

    name: str
    """Its file without the ending."""
    title: str
    values: Mapping[str, Any]
    base: str = ""
    """The kind of base model that it was made for; empty for any."""
    goal: str = ""
    left_out: tuple[str, ...] = ()
    """Settings that were not saved, because they are not how to train, or name files of this machine."""

    @property
    def id(self) -> str:
        """What a project keeps."""
        return f"{PREFIX}{self.name}"

    def composed(self) -> Composed:
        """The same as a page shows and a project takes any recipe."""
        why = dict.fromkeys(self.values, "You saved this value.")
        layer = Layer(id=self.id, title=self.title, evidence="reported", values=self.values, why=why)
        return Composed(
            id=self.id,
            title=self.title,
            sentence="Your own preset.",
            base=self.base,
            goal=self.goal,
            values=self.values,
            why=MappingProxyType(why),
            set_by=MappingProxyType(dict.fromkeys(self.values, self.id)),
            target=BASES[self.base].target if self.base else MappingProxyType({}),
            evidence="reported",
            evidence_text="It is your own. We have not measured it.",
            needs=(f"A base model of the kind {BASES[self.base].title}.",) if self.base else (),
            layers=(layer,),
        )


@dataclass(frozen=True, slots=True)
class FoundPreset:
    """A file in the folder of presets; one of `preset` and `problem` is None."""

    name: str
    preset: OwnPreset | None
    problem: LoraError | None


@dataclass(frozen=True, slots=True)
class DeletedPreset:
    """What lies in the bin."""

    id: str
    """What `restore_own` takes."""
    name: str


def folder_of(workspace: Workspace) -> Path:
    """Where the presets of the user are."""
    return workspace.root / FOLDER


def list_own(workspace: Workspace) -> list[FoundPreset]:
    """All presets of the user by name, also those that cannot be read, with the reason."""
    return [_found(path) for path in _files(workspace)]


def _files(workspace: Workspace) -> list[Path]:
    paths = [p for p in folder_of(workspace).glob("*.toml") if not p.name.startswith(".") and p.is_file()]
    return sorted(paths, key=lambda path: path.stem.casefold())


def _found(path: Path) -> FoundPreset:
    try:
        return FoundPreset(path.stem, _own(parse_preset(read_text(path), path.name), path.stem), None)
    except LoraError as error:
        return FoundPreset(path.stem, None, error)


def _own(preset: Preset, name: str) -> OwnPreset:
    kept, left_out = _shareable(preset.values)
    base, goal = preset.head.get("base"), preset.head.get("goal")
    return OwnPreset(
        name=name,
        title=_line(preset.title) or name,
        values=MappingProxyType(kept),
        base=base if isinstance(base, str) and base in BASES else "",
        goal=goal if isinstance(goal, str) and goal in GOALS else "",
        left_out=left_out,
    )


def load_own(workspace: Workspace, name: str) -> OwnPreset:
    """The preset of this name, or of this id.

    Raises:
        WorkspaceError: there is none, or a newer version of the app wrote it.
        SettingsError: its file cannot be used as it is.
    """
    path = _path(workspace, name)
    return _own(parse_preset(read_text(path), path.name), path.stem)


def recipe_of(workspace: Workspace, preset: str, **choices: Any) -> Composed:
    """The recipe of this id, bundled or the user's own; `choices` as in `composed`, for bundled ones.

    Raises:
        WorkspaceError: there is none, or a newer version of the app wrote it.
        SettingsError: there is none, or its file cannot be used as it is.
    """
    if preset.startswith(PREFIX):
        return load_own(workspace, preset).composed()
    return composed_by_id(preset, **choices)


def _path(workspace: Workspace, name: str) -> Path:
    # Looked up among the files that are there, so that no name can lead out of the folder.
    wanted = name.removeprefix(PREFIX)
    found = next((path for path in _files(workspace) if path.stem in {name, wanted}), None)
    if found is None:
        raise WorkspaceError(
            f"The preset {_line(wanted)} was not found.",
            why="There is no file of this name in the folder of your presets.",
            fix="Choose another preset, or bring it back if you deleted it.",
        )
    return found


def save_own(
    workspace: Workspace,
    title: str,
    values: Mapping[str, Any],
    *,
    base: str = "",
    goal: str = "",
    overwrite: bool = False,
) -> OwnPreset:
    """Keep the recipe settings among `values` under this name.

    A number is put behind a name that is taken, unless `overwrite` asks for the old file's place.

    Raises:
        SettingsError: a value does not fit its setting; every problem is listed.
        DiskFullError: the disk is full; nothing was changed.
        FileTooNewError: a newer version of the app wrote the file that would be replaced.
    """
    kept, left_out = _shareable(values)
    answers = {key: checked(setting(key), value) for key, value in kept.items()}
    if problems := [answer.problem for answer in answers.values() if answer.problem is not None]:
        raise SettingsError(problems, what="The preset was not saved.")
    kept = {key: answer.value for key, answer in answers.items()}
    said = _line(title) or "My preset"
    name = _existing(workspace, said) if overwrite else _free(workspace, said)
    preset = OwnPreset(
        name=name,
        title=said if overwrite else _numbered(said, name),
        values=MappingProxyType(kept),
        base=base if base in BASES else "",
        goal=goal if goal in GOALS else "",
        left_out=left_out,
    )
    _write(workspace, preset)
    return preset


def _write(workspace: Workspace, preset: OwnPreset) -> None:
    folder = folder_of(workspace)
    path = folder / f"{preset.name}.toml"
    if path.exists():
        _refuse_newer(path)
    with _folder_problems(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _text(preset))


def _text(preset: OwnPreset) -> str:
    head = {
        "format": FORMAT,
        "title": preset.title,
        "evidence": "reported",
        "base": preset.base,
        "goal": preset.goal,
        "left_empty": [key for key, value in preset.values.items() if value is None],
    }
    return "\n".join([*write_lines(head), "", "[recipe]", *write_lines(preset.values)]) + "\n"


def _shareable(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values that a preset may hold, and the keys of the others."""
    shareable = {
        s.key
        for s in catalogue()
        if s.part == "recipe" and s.kind not in {"path", "paths"} and not _SECRET.search(s.key)
    }
    kept = {key: value for key, value in values.items() if key in shareable - _OF_FILES}
    return kept, tuple(key for key in values if key not in kept)


def share_own(workspace: Workspace, name: str) -> str:
    """The text of a preset's file, to be given away.

    Raises:
        WorkspaceError: there is none, or a newer version of the app wrote it.
        SettingsError: its file cannot be used as it is.
    """
    return _text(load_own(workspace, name))


def add_own(workspace: Workspace, text: str, *, title: str = "") -> OwnPreset:
    """Keep a preset that somebody gave away, under its own title or another.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        SettingsError: it cannot be used as it is; every problem is listed.
        DiskFullError: the disk is full; nothing was changed.
    """
    given = _own(parse_preset(text, "preset"), "preset")
    return save_own(workspace, title or given.title, given.values, base=given.base, goal=given.goal)


def rename_own(workspace: Workspace, name: str, title: str) -> OwnPreset:
    """The same preset under another name; a number is put behind it if that is taken.

    Raises:
        WorkspaceError: there is none, or a newer version of the app wrote it.
        SettingsError: its file cannot be used as it is.
    """
    old = load_own(workspace, name)
    said = _line(title) or old.title
    if _stem(said).casefold() == old.name.casefold():
        renamed = replace(old, title=said)
        _write(workspace, renamed)
        return renamed
    new = save_own(workspace, said, old.values, base=old.base, goal=old.goal)
    _path(workspace, old.name).unlink()  # only after the new one is there
    return new


def delete_own(workspace: Workspace, name: str) -> DeletedPreset:
    """Move a preset, a broken one too, to a hidden folder beside it, from which `restore_own` takes it.

    Raises:
        WorkspaceError: there is none.
    """
    path = _path(workspace, name)
    bin_folder = folder_of(workspace) / _BIN
    with _folder_problems(bin_folder):
        bin_folder.mkdir(exist_ok=True)
        kept = bin_folder / f"{path.stem}.{uuid4().hex[:8]}.toml"
        path.replace(kept)
    return DeletedPreset(kept.stem, path.stem)


def deleted_own(workspace: Workspace) -> list[DeletedPreset]:
    """What was deleted, the newest first."""
    paths = [path for path in (folder_of(workspace) / _BIN).glob("*.toml") if path.is_file()]
    newest = sorted(paths, key=lambda path: path.stat().st_ctime_ns, reverse=True)
    return [DeletedPreset(path.stem, path.stem.rpartition(".")[0] or path.stem) for path in newest]


def restore_own(workspace: Workspace, deleted: str) -> str:
    """Bring back what `delete_own` put away, byte for byte; its name, numbered if that is taken by now.

    Raises:
        WorkspaceError: it is not in the bin.
    """
    found = next((entry for entry in deleted_own(workspace) if entry.id == deleted), None)
    if found is None:
        raise WorkspaceError(
            "The preset was not brought back.",
            why="It is not among the deleted presets; it may be back already.",
            fix="Look at the list of your presets.",
        )
    folder = folder_of(workspace)
    name = _free(workspace, found.name)
    with _folder_problems(folder):
        (folder / _BIN / f"{found.id}.toml").replace(folder / f"{name}.toml")
    return name


def _free(workspace: Workspace, wanted: str) -> str:
    taken = {path.stem.casefold() for path in _files(workspace)}  # some file systems tell no case apart
    base = _stem(wanted)
    name, count = base, 1
    while name.casefold() in taken:
        count += 1
        name = f"{base} {count}"
    return name


def _existing(workspace: Workspace, wanted: str) -> str:
    """The name of the file that a preset of this title has already, else a new one."""
    stem = _stem(wanted)
    same = (path.stem for path in _files(workspace) if path.stem.casefold() == stem.casefold())
    return next(same, stem)


def _stem(title: str) -> str:
    name = safe_name(title)
    return f"own_{name.removeprefix(PREFIX)}" if name.startswith(PREFIX) else name  # ids begin so


def _numbered(title: str, name: str) -> str:
    """The title with the number that its file got."""
    base = _stem(title)
    return f"{title}{name.removeprefix(base)}" if name != base else title


def _line(text: str) -> str:
    """`text` as one short line of signs that can be seen."""
    seen = "".join(" " if unicodedata.category(sign)[0] in {"C", "Z"} else sign for sign in text)
    return re.sub(r" +", " ", seen).strip()[:_TITLE_LIMIT].strip()


def _refuse_newer(path: Path) -> None:
    try:
        found = parse(read_text(path), path.name).get("format", FORMAT)
    except SettingsError:  # a damaged file may be replaced
        return
    if isinstance(found, int) and found > FORMAT:
        raise FileTooNewError(path.name, found, FORMAT)


@contextmanager
def _folder_problems(folder: Path) -> Iterator[None]:
    """Tell in words what the system says about the folder."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"The folder of presets {folder} could not be written to.",
            why=f"The system answered: {error.strerror}.",
            fix="Allow writing to it, or choose another workspace.",
        ) from error
