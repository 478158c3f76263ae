"""Every failure this app tells its user about.

LoraError               what pages and commands catch; carries what, why and fix
  WorkspaceError        the folder that holds everything cannot be used as it is
    DiskFullError       the disk has no room for what was to be written
    NoRoomError         the disk has no room for all that a run would write; one may start it all the same
    FileTooNewError     a newer version of the app wrote this file
  SettingsError         a run cannot start; lists every problem at once
  DatasetError          the image folder cannot be trained on as it is
    CaptionError        a caption file is empty or is not UTF-8
    ImportRefusedError  a folder or zip was not imported; nothing was left behind
  ModelError            the base model cannot be used
  LoraFileError         a LoRA file is broken or is not a LoRA
  EngineError           the training engine did not start, or ended badly
  JobError              a job cannot be started, stopped or resumed

Not covered: bugs. They keep their traceback and are never caught by type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


class LoraError(Exception):
    """Base of the tree. Each part is one plain sentence that a user can act on."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(f"{what} {why} {fix}")
        self.what, self.why, self.fix = what, why, fix

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with one argument and lose why and fix.
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(kind: type[LoraError], parts: dict[str, object]) -> LoraError:
    error = kind.__new__(kind)
    Exception.__init__(error, f"{parts.get('what')} {parts.get('why')} {parts.get('fix')}")
    error.__dict__.update(parts)
    return error


class WorkspaceError(LoraError):
    """The folder that holds everything cannot be used as it is."""


class DiskFullError(WorkspaceError):
    """The disk has no room for what was to be written."""

    def __init__(self, what: str, *, safe: str = "Nothing was half written.") -> None:
        super().__init__(
            what, why=f"The disk is full. {safe}", fix="Free some space on this disk. Then do it again."
        )


class NoRoomError(WorkspaceError):
    """The disk has no room for all that a run would write; one may start it all the same."""

    def __init__(self, what: str, *, why: str, fix: str, needed: int, free: int) -> None:
        super().__init__(what, why=why, fix=fix)
        self.needed, self.free = needed, free
        """Bytes."""


class FileTooNewError(WorkspaceError):
    """A newer version of the app wrote this file."""

    def __init__(self, name: str, found: int, known: int) -> None:
        super().__init__(
            f"The file {name} was not opened.",
            why=f"A newer version of this app wrote it (format {found}; this version knows up to {known}).",
            fix="Update the app, or use the older copy beside the file.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One reason why a run cannot start, or one piece of advice about it."""

    setting: str
    """Key of the setting it belongs to, such as `network_dim`; empty for the run as a whole."""
    what: str
    """What is wrong, in one sentence."""
    fix: str
    """What to do about it, in one sentence."""
    severity: Literal["error", "advice"] = "error"
    """An error is something the engine would refuse; advice may be ignored."""
    mend: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings and the values that end this problem, for `settings.with_values`; empty where no value does.
    A None leaves a setting empty."""
    mend_label: str = ""
    """What the button says that sets them; empty exactly where `mend` is."""


class SettingsError(LoraError):
    """A run cannot start; lists every problem at once."""

    def __init__(
        self, problems: Sequence[Problem], *, what: str = "The settings cannot be used as they are."
    ) -> None:
        listed = " ".join(f"{p.setting}: {p.what}" if p.setting else p.what for p in problems)
        fixes = " ".join(dict.fromkeys(p.fix for p in problems))
        super().__init__(what, why=listed, fix=fixes)
        self.problems = tuple(problems)


class DatasetError(LoraError):
    """The image folder cannot be trained on as it is."""


class CaptionError(DatasetError):
    """A caption file is empty or is not UTF-8."""


class ImportRefusedError(DatasetError):
    """A folder or zip was not imported; nothing was left behind."""


class ModelError(LoraError):
    """The base model cannot be used."""


class LoraFileError(LoraError):
    """A LoRA file is broken or is not a LoRA."""


class EngineError(LoraError):
    """The training engine did not start, or ended badly."""


class JobError(LoraError):
    """A job cannot be started, stopped or resumed."""
