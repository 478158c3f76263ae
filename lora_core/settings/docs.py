"""The pages `docs/settings.md` and `docs/glossary.md`, written by `python -m lora_core.settings.docs`.

Covered: one table a group of settings, with key, place, type, limits, starting value, engines and
help; the terms that help uses. Not covered: hand-written text; whatever the pages say stands in the
descriptions and in the glossary.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from lora_core.settings import known
from lora_core.settings._description import EVERY_FAMILY, SD_SCRIPTS, Setting
from lora_core.settings._values import limits
from lora_core.settings.glossary import TERMS
from lora_core.settings.in_words import direction_words, plain_number
from lora_core.settings.presets import BASES, composed, offered
from lora_core.settings.run import catalogue, concerns
from lora_core.workspace import APP_ROOT, write_atomic

PAGE: Final = APP_ROOT / "docs" / "settings.md"
GLOSSARY: Final = APP_ROOT / "docs" / "glossary.md"

_INTRO: Final = """# Settings

This page is written by `python -m lora_core.settings.docs`; a test keeps it true.

A run is described by two files in the form of sd-scripts: `config.toml` and `dataset.toml`.

- A key that is absent takes the starting value below, which is not always that of sd-scripts. When the app
  writes the files, it writes every value.
- "Place" says where a value stands: an argument is a key of `config.toml`; `network_args` and the like are
  lists of texts `"key=value"` in it; dataset and subset are tables of `dataset.toml`. A dataset setting may
  also stand under `[general]`, or as the named argument in `config.toml`; the nearest one decides.
- An optimizer, a schedule and a kind of network own their arguments. What another one owns is not written.
  A text of a hand-written list that the chosen one does not own is kept as it stands, and named before a run.
- Relative paths start at the folder of the file that names them.
- "In presets" says what the recipes of the app set, each by its goal and its kind of base model. Recipes for
  a size of memory, for many images and for a short or a long run change some of these values again.
- Limits are hard: beyond them an engine would fail. Advice is what works for most people, and nothing more.
- Where files and logs go is for the app to decide. These keys are read over with a note: {decided}.
- These keys change speed or memory and not the result. The built-in engine reads over them with a note:
  {harmless}.
- These keys are old ways to set another one, and are read as that: {old}.
- sd-scripts takes these keys and never looks at them for a LoRA. They are kept in the file, and named before
  a run: {idle}.
- What its LoRA scripts (commit {commit}) take beside these is described below. An engine that lacks a setting
  refuses the run and names the key, so nothing is left out in silence.
- The column of engines also names the families of base models that use a setting, where not all do.
- `sample_prompts` may also be a list of texts. A run then gets them as a file, as sd-scripts needs it.
- A key of `config.toml` that nobody knows is kept and written back, and told with the nearest known one.
  sd-scripts reads over it; the built-in engine does not start with it.
- Files are read with the reader of sd-scripts and with a strict one. A file that the two would read
  differently is refused.
"""

_GLOSSARY_INTRO: Final = """# Words of the field

This page is written by `python -m lora_core.settings.docs`; a test keeps it true. It tells each term that
labels and help of the settings use.
"""


def page() -> str:
    """The whole page as Markdown."""
    intro = _INTRO.format(
        decided=_keys(known.APP_DECIDES),
        harmless=_keys(known.CHANGES_NO_RESULT),
        old=", ".join(f"`{old}` (`{key}`)" for old, (key, _) in sorted(known.SAID_BY.items())),
        idle=_keys(known.DOES_NOTHING),
        commit=known.engine_commit()[:7],
    )
    parts = [intro]
    for concern, group in groupby(catalogue(), key=lambda s: s.concern):
        title = (concerns()[concern].__doc__ or "").strip().splitlines()[0]
        parts.append(f"## {concern.capitalize()}\n\n{title}\n")
        parts.append(
            "| Setting | Place | Values | Starting value | In presets | Engines | "
            "What it does, and when to change it | What more and less of it does |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(_row(s) for s in group) + "\n"
        )
    return "\n".join(parts)


def _keys(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in sorted(keys))


def _row(s: Setting) -> str:
    place = s.place if s.argument is None else f"{s.place}, or the argument `{s.argument}`"
    advice = ""
    if s.advice is not None:
        advice = f" Advice: {_range(s.advice.low, s.advice.high)}. {s.advice.reason}"
    cells = [
        f"**{s.label}** `{s.key}` ({s.level})",
        place,
        _values(s),
        _default(s),
        _in_presets(s),
        "<br>".join(_engine(s, engine) for engine in s.engines) + _for_families(s),
        f"{s.what} {s.why}{advice}{_acts_only(s)}",
        _directions(s),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _for_families(s: Setting) -> str:
    """The families that use it, where not all do; what is shorter to say."""
    without = [family for family in EVERY_FAMILY if family not in s.families]
    if not without:
        return ""
    if len(without) < len(s.families):
        return f"<br>not for {', '.join(without)}"
    return f"<br>for {', '.join(s.families)}"


def _acts_only(s: Setting) -> str:
    """Which values of other settings it needs; the path of what also has a short name is left out."""
    parts = []
    for key, values in s.only.items():
        texts = ["empty" if value is None else _plain(value) for value in values]
        short = [text for text in texts if "." not in text or text.rpartition(".")[2] not in texts]
        parts.append(f"`{key}` is {', '.join(short[:-1])}{' or ' if short[1:] else ''}{short[-1]}")
    return f" It acts only where {', and '.join(parts)}." if parts else ""


def _directions(s: Setting) -> str:
    told = zip(direction_words(s), (s.higher, s.lower), strict=True)
    return "<br>".join(f"{word}: {text}" for word, text in told if text)


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"{_plain(low)} or more" if low is not None else f"up to {_plain(high)}"
    return f"{_plain(low)} to {_plain(high)}"


def _values(s: Setting) -> str:
    words = {"flag": "true or false", "whole": "whole number", "steps_or_share": "whole number or share"}
    words |= {"numbers": "one number or several", "paths": "one path or several"}
    kind = ", ".join(f"`{c}`" for c in s.choices) if s.choices else words.get(s.kind, s.kind)
    if s.suggestions:
        kind = f"{kind}, such as {', '.join(f'`{c}`' for c in s.suggestions)}"
    parts = [kind, limits(s), s.unit, "may be left out" if s.optional else ""]
    return "; ".join(part for part in parts if part)


def _default(s: Setting) -> str:
    if s.default is None:
        return "not set" if s.optional else "must be given"
    return f"`{_plain(s.default)}`"


@cache
def _presets() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Base, goal, key: the values of all recipes, those of the base model's kind included."""
    recipes = {base: {goal: composed(base, goal) for goal in offered(base)} for base in BASES}
    return {
        base: {goal: {**found.values, **found.target} for goal, found in goals.items()}
        for base, goals in recipes.items()
    }


def _in_presets(s: Setting) -> str:
    """What recipes set, bases with the same values together; empty where no recipe names it."""
    by_text: dict[str, list[str]] = {}
    for base, goals in _presets().items():
        if text := _by_goal({goal: _said(values, s) for goal, values in goals.items()}):
            by_text.setdefault(text, []).append(base)
    if len(by_text) == 1 and len(*by_text.values()) == len(BASES):
        return next(iter(by_text))
    return "<br>".join(f"{', '.join(bases)}: {text}" for text, bases in by_text.items())


def _said(values: Mapping[str, Any], s: Setting) -> str:
    if s.key not in values:
        return ""
    return "empty" if values[s.key] is None else f"`{_plain(values[s.key])}`"


def _by_goal(said: Mapping[str, str]) -> str:
    """The value that most goals have, and then those that differ: `16`, style `32`."""
    usual, _ = Counter(said.values()).most_common(1)[0]
    others: dict[str, list[str]] = {}
    for goal, text in said.items():
        if text != usual:
            others.setdefault(text, []).append(goal)
    parts = [f"{' and '.join(goals)} {text or 'not set'}" for text, goals in others.items()]
    if others and not usual:
        return "; ".join(parts)
    return "; ".join([usual, *parts]) if usual else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _engine(s: Setting, engine: str) -> str:
    name = "sd-scripts" if engine == SD_SCRIPTS else "built-in"
    only = s.engine_choices.get(engine)
    return f"{name} (only {', '.join(_plain(choice) for choice in only)})" if only else name


def glossary_page() -> str:
    """The glossary as Markdown, in the order of the alphabet."""
    rows = [f"| **{term}** | {TERMS[term]} |" for term in sorted(TERMS, key=str.casefold)]
    return "\n".join([_GLOSSARY_INTRO, "| Term | Meaning |", "| --- | --- |", *rows, ""])


def main(target: Path = PAGE, glossary: Path = GLOSSARY) -> None:
    """Write both pages."""
    write_atomic(target, page())
    write_atomic(glossary, glossary_page())


if __name__ == "__main__":
    main()
