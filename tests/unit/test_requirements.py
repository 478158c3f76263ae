"""What the code imports is required, what is required is imported, and all of it is pinned as tested."""

import ast
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
APP = ("lora_core", "ui", "pages", "Home.py")
OURS = {"lora_core", "ui", "pages", "launcher", "tests", "benchmarks", "start", "Home"}
HELPERS = {path.stem for path in (ROOT / "tests").rglob("*.py")}
BUNDLED = {"starlette": "streamlit", "anyio": "streamlit"}
"""Packages that the code may use because they are what another one's public surface is made of."""
BY_NAME = {
    "tensorboard": 'log_with="tensorboard"',
    "peft": "load_lora_weights",
    "prodigyopt": '"prodigyopt.Prodigy"',
    "lion-pytorch": '"lion_pytorch.Lion"',
    "came-pytorch": '"came_pytorch.CAME"',
    "schedulefree": '"schedulefree.AdamWScheduleFree"',
}
"""Packages that another imports for us, or that are looked up by a dotted path, and our words for them."""
OTHER_SYSTEMS = {"colorama"}
"""Pins of packages that are installed on Windows alone."""
TOOLS = {"axe-playwright-python", "import-linter", "mypy", "pytest-timeout", "ruff"}
"""Test tools that are run or read, not imported."""


def requirements(name: str) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    found = [Requirement(line) for line in lines if line and line != "-c constraints.txt"]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


APP_NEEDS, TEST_NEEDS = requirements("requirements.txt"), requirements("requirements-test.txt")
PINS = requirements("constraints.txt")


def sources(places: Iterable[str]) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        yield from [path] if path.is_file() else path.rglob("*.py")


@functools.cache
def imported(places: tuple[str, ...]) -> Mapping[str, str]:
    """Top-level names that are imported from outside, each with one file that does."""
    found: dict[str, str] = {}
    for path in sources(places):
        local = HELPERS if "tests" in path.parts else set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            tops = {name.partition(".")[0] for name in names}
            for top in tops - OURS - local - sys.stdlib_module_names:
                found.setdefault(top, str(path.relative_to(ROOT)))
    return found


@functools.cache
def providers() -> Mapping[str, list[str]]:
    """Import name to distributions; reads the record of every installed package, which takes a second."""
    return metadata.packages_distributions()


def distributions(module: str) -> set[str]:
    named = providers().get(module, [module])
    return {canonicalize_name(BUNDLED.get(name, name)) for name in named}


def test_what_the_app_imports_is_in_the_requirements() -> None:
    missing = {
        module: file for module, file in imported(APP).items() if not distributions(module) & APP_NEEDS.keys()
    }
    assert missing == {}, "add these to requirements.txt, or do without them"


def test_what_is_required_is_imported() -> None:
    used = {name for module in imported(APP) for name in distributions(module)}
    texts = [path.read_text("utf-8") for path in sources(APP)]
    used |= {name for name, words in BY_NAME.items() if any(words in text for text in texts)}
    assert sorted(APP_NEEDS.keys() - used) == [], "nothing imports these: take them out of requirements.txt"


def test_what_the_tests_import_is_in_one_of_the_requirements() -> None:
    needs = APP_NEEDS.keys() | TEST_NEEDS.keys() | {"packaging"}
    missing = {
        module: file for module, file in imported(("tests",)).items() if not distributions(module) & needs
    }
    assert missing == {}, "add these to requirements-test.txt"


def test_every_test_tool_is_run_or_imported() -> None:
    used = {name for module in imported(("tests",)) for name in distributions(module)} | TOOLS
    stubs = {name for name in TEST_NEEDS if name.startswith("types-") or name.endswith("-stubs")}
    assert sorted(TEST_NEEDS.keys() - used - stubs) == []


def test_every_requirement_is_pinned_to_one_version() -> None:
    assert sorted((APP_NEEDS.keys() | TEST_NEEDS.keys()) - PINS.keys()) == []
    loose = [str(pin) for pin in PINS.values() if not re.fullmatch(r"==[\w.]+", str(pin.specifier))]
    assert loose == []


def test_the_versions_under_test_are_the_pinned_ones() -> None:
    installed = {name: metadata.version(name).partition("+")[0] for name in PINS.keys() - OTHER_SYSTEMS}
    other = {
        name: version for name, version in installed.items() if f"=={version}" != str(PINS[name].specifier)
    }
    assert other == {}


def needed_by(names: Iterable[str]) -> set[str]:
    """Everything that these bring along on this system, themselves included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), frozenset[str]()) for name in names]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for line in metadata.requires(name) or ():
            need = Requirement(line)
            asked = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
            if need.marker is None or any(need.marker.evaluate(dict(values)) for values in asked):
                waiting.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in found}


def test_the_pins_are_what_the_requirements_bring_along_and_nothing_else() -> None:
    needed = needed_by([*APP_NEEDS, *TEST_NEEDS])
    assert sorted(needed - PINS.keys()) == [], (
        "without a pin, a new release of these changes what is installed"
    )
    assert sorted(PINS.keys() - needed - OTHER_SYSTEMS) == [], "nothing needs these pins"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_who_installs_by_hand_gets_the_tested_versions_too(name: str) -> None:
    assert "-c constraints.txt" in (ROOT / name).read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt", "constraints.txt"])
def test_the_files_name_packages_and_never_an_address(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links|^-i\b", text, re.MULTILINE)
