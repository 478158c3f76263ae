"""What stands beside a field of the form: its name, its meaning, its limits, and what a typed text means.

Covered: texts made from a setting's own description, from a typed text to a value and back. Not covered:
the descriptions themselves (`lora_core.settings`) and drawing (`ui/settings_fields.py`).
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from lora_core import settings
from lora_core.projects import Project
from lora_core.settings import Setting

EMPTY: Final = "empty"
"""How a choice that is left open reads."""
LEVELS: Final = {"basic": "basic", "advanced": "advanced", "expert": "for experts"}


def label_of(setting: Setting) -> str:
    """The plain name, with the unit where the name does not say it."""
    if not setting.unit or setting.unit.casefold() in setting.label.casefold():
        return setting.label
    return f"{setting.label} ({setting.unit})"


def help_of(setting: Setting) -> str:
    """What it does, its small print, and more help behind a line that opens in place; for `st.html`.

    One element of plain HTML. As a caption and a box it took a third of the time that a browser needs to draw
    the form again, and a message to the server to open.
    """
    return (
        f'<div class="set-help"><p>{escape(setting.what)}<br>{_small_print(setting)}</p>'
        f"<details><summary>More about “{escape(setting.label)}”</summary>{''.join(_more_about(setting))}"
        "</details></div>"
    )


def _small_print(setting: Setting) -> str:
    """The name in files, how often one needs it, and which values are possible and usual."""
    found = (LEVELS[setting.level], settings.limits(setting), usual(setting))
    return " · ".join([f"<code>{escape(setting.key)}</code>", *(escape(text) for text in found if text)])


def usual(setting: Setting) -> str:
    """The range that works for most people: `usual: 4 to 128`."""
    advice = setting.advice
    if advice is None:
        return ""
    low, high = (None if end is None else said(setting, end) for end in (advice.low, advice.high))
    if low is not None and high is not None:
        return f"usual: {low} to {high}"
    return f"usual: {low} or more" if low is not None else f"usual: at most {high}"


def _more_about(setting: Setting) -> Iterator[str]:
    """Everything else that helps to decide, one sentence or list each."""
    yield f"<p>{escape(setting.why)}</p>"
    for head, text in zip(settings.direction_words(setting), (setting.higher, setting.lower), strict=True):
        if text:
            yield _told(head, text)
    if setting.advice is not None:
        yield _told("Usual values", f"{setting.advice.reason} They are advice and no limit.")
    if setting.default is not None:
        yield _told("Start value", said(setting, setting.default))
    texts = (setting.label, setting.what, setting.why, setting.higher, setting.lower)
    if terms := settings.terms_in(" ".join(texts)):
        meanings = (
            f"<li><strong>{escape(term)}</strong>: {escape(settings.TERMS[term])}</li>" for term in terms
        )
        yield f"<p><strong>Words used here</strong></p><ul>{''.join(meanings)}</ul>"


def _told(head: str, text: str) -> str:
    return f"<p><strong>{escape(head)}:</strong> {escape(text)}</p>"


def said(setting: Setting, value: Any) -> str:
    """A value in a sentence, short."""
    if value is None or value in ("", (), []):
        return EMPTY
    if isinstance(value, float) and setting.kind != "steps_or_share":
        return settings.in_words(setting, value)
    lines = shown(value).splitlines()
    text = lines[0] if len(lines) == 1 else f"{len(lines)} lines"
    text = text if len(text) <= 60 else f"{text[:59]}…"
    return f"“{text}”" if setting.kind in {"text", "prompts"} else text


def before(setting: Setting, project: Project) -> str:
    """What the preset has, or what it starts with, in one sentence."""
    value = said(setting, project.preset_value(setting.key))
    if project.preset and setting.part == "recipe":
        return "The preset leaves it empty." if value == EMPTY else f"The preset has {value}."
    return "It starts empty." if value == EMPTY else f"The start value is {value}."


def entered(setting: Setting, project: Project, place: str | None = None) -> Any:
    """What a field shows: what was typed last, else the value as a person would type it."""
    typed = project.texts.get(place or setting.key)
    return as_entry(setting, project.value(setting.key)) if typed is None else typed


def as_entry(setting: Setting, value: Any) -> Any:
    """A value as its field shows it."""
    if setting.kind == "flag":
        return bool(value)
    if setting.choices or setting.kind == "choice":
        return value
    if setting.kind == "steps_or_share" and isinstance(value, float):
        return repr(value)  # 1.0 is a share of all, and 1 is one step
    return shown(value)


def understood(setting: Setting, entered: Any) -> settings.Checked:
    """What a field holds, as the setting holds it; or the problem."""
    if setting.kind in {"prompts", "paths"}:
        lines = tuple(line.strip() for line in str(entered or "").splitlines() if line.strip())
        return settings.checked(setting, lines or None)
    if not isinstance(entered, str):
        return settings.checked(setting, entered)
    # A sign that parts texts may be a blank.
    text = entered if "separator" in setting.key and entered else entered.strip()
    if not text and not setting.optional and setting.kind != "text":
        return settings.Checked(setting.default)  # an emptied field goes back to its start value
    if setting.kind in {"number", "steps_or_share"} and text.count(",") == 1:
        text = text.replace(",", ".")  # half of the world writes 0,0001
    return settings.parsed(setting, text)


def shown(value: Any) -> str:
    """A value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        separator = "\n" if any(isinstance(item, str | Path) for item in value) else ", "
        return separator.join(shown(item) for item in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return settings.typed_number(value)
    return str(value)
