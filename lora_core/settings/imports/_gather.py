"""Takes the keys of a file one by one: each becomes a setting, is kept, or is named with the reason.

Covered: what is the same for all formats: types, limits, where a value belongs, lists of key=value,
secrets, keys that do nothing. Not covered: the names of one format (see its module).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lora_core.settings import known
from lora_core.settings._description import Setting
from lora_core.settings._owners import acts
from lora_core.settings._read import as_text, literal, of_another_shape
from lora_core.settings._secret import is_secret
from lora_core.settings._values import Checked, checked, parsed
from lora_core.settings.imports import _report
from lora_core.settings.imports._parse import refused
from lora_core.settings.imports._report import NOT_IN_FILE, Imported, Line, brief
from lora_core.settings.imports._unused import STILL_CHECKED, no_effect
from lora_core.settings.run import catalogue, setting

LISTS: Final = ("network_args", "optimizer_args", "lr_scheduler_args")
PATHS_OF_OTHERS: Final = {
    "train_data_dir": "Images come from the dataset of the project.",
    "reg_data_dir": "Images come from the dataset of the project.",
    "in_json": "Images come from the dataset of the project.",
}
_KEPT_WHOLE: Final = frozenset({"sd-scripts", "sd-scripts dataset"})
"""Formats that this app writes, too. A value that does nothing is named, and stays."""
_KEPT_AS_IS: Final = _KEPT_WHOLE | {"preset"}
_EXACT: Final = 2**53
_MOST_GUESSES: Final = 50
"""Names for which another one is looked up; each costs some milliseconds."""
_MOST_ENTRIES: Final = 1000
_LONGEST: Final = 10_000
"""Signs of a text that may stand for a number or a list of them."""
_USUAL: Final = (("max_token_length", 75),)
"""Numbers that sd-scripts takes for "not set"."""
_HIDDEN: Final = "It looks like a secret, such as a token. None is taken."


def fitted(s: Setting, value: Any) -> Checked:
    """`value` as the field of `s` holds it. Other tools write numbers as text, and whole ones as 1.0."""
    if value == "" and s.optional:
        return Checked(None)
    result = checked(s, value)
    if result.problem is None:
        return result
    tries: list[Checked] = []
    if isinstance(value, str) and len(value) <= _LONGEST:
        tries.append(parsed(s, value))
        tries += [checked(s, choice) for choice in s.choices if str(choice).lower() == value.strip().lower()]
        if tries[-1].problem is not None and s.kind in {"whole", "steps_or_share"}:
            number = literal(value.strip())
            tries += [_whole(s, number)] if isinstance(number, float) else []
    elif isinstance(value, float):
        tries.append(_whole(s, value))
    elif isinstance(value, int) and s.kind == "flag" and value in {0, 1}:
        tries.append(checked(s, bool(value)))
    fitting = next((each for each in tries if each.problem is None), result)
    if fitting.problem is not None and any(s.key == key and _number(value) == usual for key, usual in _USUAL):
        return Checked(None)
    return fitting


def _whole(s: Setting, value: float) -> Checked:
    exact = value.is_integer() and abs(value) < _EXACT
    return checked(s, int(value) if exact else value)


def _number(value: Any) -> Any:
    return literal(value.strip()) if isinstance(value, str) else value


class Gathering:
    """The keys of one file as they are taken; `done` makes the report."""

    def __init__(self, name: str, form: str) -> None:
        self.name, self.form = name, form
        self.family: str | None = None
        self.values: dict[str, Any] = {}
        self.target: dict[str, Any] = {}
        self.other: dict[str, Any] = {}
        self.folders: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.assumed: dict[str, str] = {}
        """Names that are not in the file, each with the reason why they have a value all the same."""
        self._lines: dict[str, list[Line]] = {
            "taken": [],
            "translated": [],
            "ignored": [],
            "not_understood": [],
        }
        self._line_of: dict[str, tuple[str, Line]] = {}
        self._texts: dict[str, str] = {}
        """What stood behind the = of each list entry that became a setting."""
        self._entries: dict[str, dict[str, str]] = {place: {} for place in LISTS}
        self._known = {s.key: s for s in catalogue()}
        self._fallbacks = {s.argument: s for s in catalogue() if s.argument is not None}

    # --- single keys ----------------------------------------------------------------------------

    def take(self, name: str, key: str, value: Any, *, reason: str = "", was: Any = None) -> bool:
        """Make `value` the setting `key`. With a `reason` it is translated; `was` is what the file says."""
        stands = value if was is None else was
        if name in self.assumed:
            stands, reason = NOT_IN_FILE, self.assumed[name]
        if is_secret(name, stands) or is_secret("", value):
            self.secret(name)
            return False
        s = setting(key)
        result = fitted(s, value)
        if result.problem is not None:
            self.left(name, stands, result.problem.what)
            return False
        (self.target if s.part == "target" else self.values)[key] = result.value
        line = Line(name=name, value=brief(stands), key=key, becomes=brief(result.value), reason=reason)
        self._replace(line, "translated" if reason else "taken")
        return True

    def _replace(self, line: Line, part: str) -> None:
        """Add a line; an earlier one for the same setting did not count."""
        group, earlier = self._line_of.get(line.key, ("", None))
        if earlier is not None and earlier.becomes != line.becomes:
            self._lines[group].remove(earlier)
            self.ignore(earlier.name, earlier.value, f"{line.name} counts in its place.")
        self._line_of[line.key] = (part, line)
        self._lines[part].append(line)

    def keep(self, name: str, key: str, value: Any, *, reason: str = "") -> None:
        """Keep an argument of sd-scripts that is not described here."""
        self.other[key] = value
        line = Line(name=name, value=brief(value), key=key, becomes=brief(value), reason=reason)
        self._lines["translated" if reason else "taken"].append(line)

    def ignore(self, name: str, value: Any, reason: str) -> None:
        """Name a key that does nothing."""
        if is_secret(name, value):
            self.secret(name)
        else:
            self._lines["ignored"].append(Line(name=name, value=brief(value), reason=reason))

    def secret(self, name: str) -> None:
        """Name a key that holds a secret; its value goes nowhere."""
        self._lines["ignored"].append(Line(name=name, value="hidden", reason=_HIDDEN))

    def left(self, name: str, value: Any, reason: str = "") -> None:
        """Name a key that was not understood."""
        if is_secret(name, value):
            self.secret(name)
            return
        found = reason or "There is no such key."
        if not reason and len(self._lines["not_understood"]) < _MOST_GUESSES:
            near = known.nearest(name.rpartition(".")[2], [*self._known, *known.tables()["arguments"]])
            found = f"There is no such key. Is it {near}?" if near else found
        self._lines["not_understood"].append(Line(name=name, value=brief(value), reason=found))

    # --- arguments of sd-scripts ------------------------------------------------------------------

    def argument(self, name: str, key: str, value: Any, *, reason: str = "") -> None:
        """Take what sd-scripts calls `key`."""
        s = self._known.get(key)
        if s is None or s.place in LISTS:
            s = self._fallbacks.get(key)
        if is_secret(name, value) or is_secret(key, value):
            self.secret(name)
        elif key in LISTS:
            self.items(key, value, name)
        elif s is not None:
            self.take(name, s.key, value, reason=reason)
        elif key in PATHS_OF_OTHERS:
            self.ignore(name, value, PATHS_OF_OTHERS[key])
        elif key in known.APP_DECIDES:
            self.ignore(name, value, f"Here it is otherwise: {known.APP_DECIDES[key]}.")
        elif key in known.DOES_NOTHING:
            self._of_no_use(name, key, value)
        elif key in known.SAID_BY:
            self._as_said_today(name, key, value, reason)
        elif key in known.CHANGES_NO_RESULT:
            self.ignore(name, value, "It changes speed or memory, not the result.")
        elif key in known.tables()["arguments"]:
            self._undescribed(name, key, value, reason)
        else:
            self.left(name, value)

    def _of_no_use(self, name: str, key: str, value: Any) -> None:
        """Name an argument that no training script looks at; in files of our own form it is kept."""
        if self.form in _KEPT_AS_IS and not known.wrong_type("arguments", key, value):
            self.other[key] = value
        self.ignore(name, value, known.DOES_NOTHING[key])

    def _as_said_today(self, name: str, old: str, value: Any, reason: str) -> None:
        """Take an old switch as the setting that says the same."""
        key, becomes = known.SAID_BY[old]
        if not value:
            self.ignore(name, value, "It is empty or off there, and does nothing.")
        else:
            becomes = value if becomes is None else becomes
            self.take(name, key, becomes, reason=reason or f"It is an old way to set {key}.", was=value)

    def _undescribed(self, name: str, key: str, value: Any, reason: str) -> None:
        if isinstance(value, str) and known.tables()["arguments"][key][0] != "str":
            value = {"true": True, "false": False}.get(value.strip().lower(), _number(value))
        if isinstance(value, float) and known.tables()["arguments"][key][0] == "int" and value.is_integer():
            value = int(value)
        if value in ("", None) or known.has_no_effect("arguments", key, value):
            self.ignore(name, value, "It is empty or off there, and does nothing.")
        elif needed := known.wrong_type("arguments", key, value):
            self.left(name, value, f"It must be {needed}.")
        else:
            self.keep(name, key, value, reason=reason)

    def items(self, place: str, value: Any, name: str) -> None:
        """Take one of the lists of "key=value"; a table of keys and values will do, too."""
        if isinstance(value, Mapping):
            value = [f"{key}={_as_argument(item)}" for key, item in value.items()]
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.left(name, value, 'It must be a list of texts "key=value".')
            return
        if len(value) > _MOST_ENTRIES:
            self.left(name, f"{len(value)} texts", "It is longer than such a list can be.")
            return
        for item in value:
            self.item(place, item, f"{name}.{item.partition('=')[0].strip()}")

    def item(self, place: str, item: str, inner: str) -> None:
        """Take one text "key=value", which the report calls `inner`."""
        key, sign, text = (part.strip() for part in item.partition("="))
        if not sign or not key or (place != "network_args" and "=" in text):
            self.left(inner, item, f"It holds {brief(item)}, which does not have the form key=value.")
            return
        if is_secret(inner, text):
            self.secret(inner)
            return
        s = self._known.get(key)
        value = literal(text)
        if s is None or s.place != place or of_another_shape(s, value):
            self._entries[place][key] = text
            self.other[place] = []  # filled at the end: a key counts once, where it stands last
            self._lines["taken"].append(
                Line(name=inner, value=brief(text), key=place, becomes=brief(f"{key}={text}"))
            )
        else:
            self._texts[key] = text
            self.take(inner, key, as_text(s, text) if place == "network_args" else value, was=text)

    # --- the end ----------------------------------------------------------------------------------

    def value_of(self, key: str) -> Any:
        """The setting as the file has it, else its starting value."""
        return {**self.values, **self.target}.get(key, setting(key).default if key in self._known else None)

    def done(self) -> Imported:
        """The report.

        Raises:
            SettingsError: no key of the file is one of a recipe.
        """
        self._name_what_does_nothing()
        for place in LISTS:
            if place in self.other:
                self.other[place] = [f"{key}={text}" for key, text in self._entries[place].items()]
        lines = {part: tuple(found) for part, found in self._lines.items()}
        if not self.values and not self.target and not self.other:
            wrong = [f"{line.name}: {line.reason}" for line in lines["not_understood"][:3]]
            listed = ", ".join(list(_report.FORMATS.values())[1:])
            why = " ".join(["No key in it is a setting of a recipe.", *wrong])
            raise refused(self.name, why, f"Choose a file of one of these: {listed}.")
        return Imported(
            name=self.name,
            format=self.form,
            family=self.family,
            values=self.values,
            target=self.target,
            other=self.other,
            folders=tuple(self.folders),
            notes=tuple(dict.fromkeys(self.notes)),
            **lines,
        )

    def _name_what_does_nothing(self) -> None:
        """Move keys that act in no way to the ignored; in sd-scripts' own files their values are kept."""
        self._give_back_what_is_not_owned()
        if self.form == "preset":
            return
        reasons = no_effect(self._value_beside, self.family)
        kept = self.form in _KEPT_WHOLE
        for part in ("taken", "translated"):
            for line in [
                line for line in self._lines[part] if line.key in reasons and line.key in self.values
            ]:
                self._lines[part].remove(line)
                gone = {} if kept or line.key in STILL_CHECKED else {"key": "", "becomes": ""}
                self._lines["ignored"].append(replace(line, reason=reasons[line.key], **gone))
        for key in reasons.keys() - STILL_CHECKED if not kept else ():
            self.values.pop(key, None)

    def _give_back_what_is_not_owned(self) -> None:
        """Keep entries of lists that the chosen optimizer, schedule or network does not own as they stand."""
        for key in [
            key for key in self._texts if key in self.values and not acts(self._known[key], self.value_of)
        ]:
            place = self._known[key].place
            del self.values[key]
            self._entries[place][key] = self._texts[key]
            self.other[place] = []
            part, line = self._line_of.pop(key)
            if line in self._lines[part]:
                kept = replace(line, key=place, becomes=brief(f"{key}={self._texts[key]}"))
                self._lines[part][self._lines[part].index(line)] = kept

    def _value_beside(self, key: str) -> Any:
        """As `value_of`; the target is another one each time, so what it lacks here it may have there."""
        unknown = key not in self.target and key in self._known and self._known[key].part == "target"
        in_another = key in self._known and any(folder.get(key) is True for folder in self.folders)
        return True if unknown or in_another else self.value_of(key)


def _as_argument(value: Any) -> str:
    """A value as sd-scripts reads it behind the = of a list."""
    if isinstance(value, str):
        return {"true": "True", "false": "False"}.get(value.strip().lower(), value)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def take_absent(gathering: Gathering) -> None:
    """Give what a complete file leaves out the value that sd-scripts then takes, where ours is another."""
    if not {"learning_rate", "unet_lr"} & gathering.values.keys():
        return  # a piece of a file says nothing about the rest
    for s in catalogue():
        own = _OWN_STARTS.get(s.key) or known.tables()["arguments"].get(s.key, ("", None))[1]
        absent = (
            s.place == "argument" and s.part == "recipe" and s.key not in gathering.values and not s.optional
        )
        if absent and own not in (None, "") and fitted(s, own).value != s.default:
            gathering.assumed[s.key] = f"It is not in the file. sd-scripts then takes {brief(own)}."
            gathering.take(s.key, s.key, own)


_OWN_STARTS: Final = {"network_dim": 4}
"""Arguments of sd-scripts whose starting value stands in another place than its parser."""
