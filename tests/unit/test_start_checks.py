"""`start.py test`: it finds a browser, runs every step to its end, and closes with pytest's own last line."""

import os
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from launcher import browser, testing
from launcher.environment import Environment
from launcher.words import SetupError


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / name
    made.write_text("#!/bin/sh\nexit 0\n")
    made.chmod(0o755)
    return made


def test_a_named_browser_comes_before_one_on_the_path(tmp_path: Path) -> None:
    named = program(tmp_path / "named", "my-chrome")
    on_path = program(tmp_path / "bin", "chromium")
    env = Environment(tmp_path / "env")
    assert browser.find_browser(env, {"PATH": str(on_path.parent), "LORA_CHROMIUM": str(named)}) == named
    assert browser.find_browser(env, {"PATH": str(on_path.parent)}) == on_path


def test_a_named_browser_that_is_not_there_is_an_error_and_no_other_is_taken(tmp_path: Path) -> None:
    program(tmp_path / "bin", "chromium")
    with pytest.raises(SetupError, match="there is no such file"):
        browser.find_browser(
            Environment(tmp_path), {"PATH": str(tmp_path / "bin"), "LORA_CHROMIUM": str(tmp_path / "gone")}
        )


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="Debian's apt")
def test_in_ci_a_missing_browser_is_installed_with_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An apt-get that does what the real one does as far as this program can see: a chromium appears.
    apt = program(tmp_path / "bin", "apt-get")
    log, chromium = tmp_path / "log", tmp_path / "bin" / "chromium"
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n'
        f'case "$1" in install) printf "#!/bin/sh\\n" > {chromium}; /bin/chmod 755 {chromium};; esac\n'
    )
    sudo = program(tmp_path / "bin", "sudo")
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    monkeypatch.setattr(browser, "playwright_browser", lambda _: None)
    environ = {"PATH": str(tmp_path / "bin"), "CI": "true"}
    monkeypatch.setenv("PATH", environ["PATH"])  # where a program without a folder is looked for
    assert browser.find_browser(Environment(tmp_path / "env"), environ) == chromium
    assert log.read_text().splitlines() == ["update", " ".join(browser.APT[1:])]


def test_a_user_without_a_browser_gets_the_one_command_to_run(tmp_path: Path) -> None:
    told = browser.missing_browser(Environment(tmp_path))
    assert told.endswith(f"{Environment(tmp_path).python} -m playwright install chromium")


@pytest.mark.parametrize(("value", "ci"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_only_a_ci_that_says_so_is_one(value: str, ci: bool) -> None:
    assert browser.in_ci({"CI": value}) is ci


def test_the_axe_that_is_named_is_taken_and_a_kept_one_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = Environment(tmp_path)
    assert browser.find_axe(env, {"LORA_AXE": "/here/axe.min.js"}) == Path("/here/axe.min.js")
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    kept = tmp_path / "axe" / f"axe-{browser.AXE_VERSION}.min.js"
    assert browser.find_axe(env, {}) is None
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("axe")
    assert browser.find_axe(env, {}) == kept


def test_without_npm_the_axe_that_a_package_carries_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    carried = tmp_path / "lib" / "python3.11" / "site-packages" / "axe_playwright_python" / "axe.min.js"
    carried.parent.mkdir(parents=True)
    carried.write_text("axe")
    assert browser.find_axe(Environment(tmp_path), {}) == carried


def test_pytests_own_closing_line_is_kept_for_the_end(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): assert 0\ndef test_b(): pass")
    alone = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path)]
    outcome = testing._pytest([sys.executable, "-m", "pytest", *alone], os.environ)
    assert not outcome.ok
    assert outcome.closing.startswith("==")
    assert "1 failed, 1 passed in" in outcome.closing


def test_one_of_several_pytests_shows_how_far_it_is_and_tells_its_findings_in_one_piece(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): assert 'the cause' == 0\ndef test_b(): pass")
    alone = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path)]
    printed: list[str] = []
    monkeypatch.setattr(testing, "_print", printed.append)
    outcome = testing._pytest([sys.executable, "-m", "pytest", *alone], os.environ, "unit")
    assert (outcome.name, outcome.ok) == ("pytest unit", False)
    (finding,) = outcome.findings
    assert finding.startswith("FAILED ")
    assert "test_it.py::test_a" in finding
    assert all(line.startswith("unit: ") and "the cause" not in line for line in printed[:-1])
    assert "the cause" in printed[-1], "between the lines of another pytest nobody could read it"


def test_several_closing_lines_become_the_one_that_a_single_pytest_writes() -> None:
    several = [
        "===== 1 failed, 5 passed, 1 error in 3.10s =====",
        "\x1b[32m===== 6 passed, 2 skipped, 1 xfailed, 2 warnings in 431.20s (0:07:11) =====\x1b[0m",
    ]
    told = testing._summed(several, 3671.25)
    assert testing.CLOSING.fullmatch(told)
    counts = "1 failed, 11 passed, 2 skipped, 1 xfailed, 2 warnings, 1 error"
    assert told.strip("= ") == f"{counts} in 3671.25s (1:01:11)"
    assert testing._summed(["3 passed in 0.10s"], 0.5).strip("= ") == "3 passed in 0.50s"
    broken = "pytest ended without its closing line"
    assert testing._summed([several[0], broken], 1) == broken


def test_every_test_file_lies_in_a_folder_that_is_run() -> None:
    folders = testing._folders()
    files = list((testing.ROOT / "tests").rglob("test_*.py"))
    assert folders[: len(testing.LONGEST_FIRST)] == list(testing.LONGEST_FIRST)
    assert all(any(path.is_relative_to(testing.ROOT / "tests" / name) for name in folders) for path in files)


def test_steps_run_side_by_side_and_are_told_in_their_own_order() -> None:
    both = threading.Barrier(testing.AT_ONCE)

    def step(name: str) -> testing.Outcome:
        both.wait(60)
        return testing.Outcome(name=name, ok=True, seconds=0)

    names = ["a", "b", "c", "d"]
    assert [done.name for done in testing._side_by_side([partial(step, name) for name in names])] == names


@pytest.mark.parametrize("words", ["3 passed", "1 failed, 2 skipped", "1 error", "2 errors", "no tests ran"])
def test_a_closing_line_is_known_by_its_words(words: str) -> None:
    assert testing.CLOSING.fullmatch(f"===== {words} in 4.10s =====")
    assert testing.CLOSING.fullmatch(f"{words} in 431.20s (0:07:11)"), "with -q"
    assert not testing.CLOSING.fullmatch(f"FAILED tests/test_it.py - {words}")


def test_every_check_runs_to_its_end_whatever_the_one_before_it_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = {"bad": "print('the finding'); raise SystemExit(3)", "good": "print('nothing to say')"}
    outcomes = [
        testing._check(name, [sys.executable, "-c", code], os.environ) for name, code in commands.items()
    ]
    assert [(outcome.name, outcome.ok) for outcome in outcomes] == [("bad", False), ("good", True)]
    told = capsys.readouterr().out
    assert "the finding" in told, "what is wrong is shown"
    assert "nothing to say" not in told, "what is right is one line"


def test_ci_runs_the_command_that_everybody_runs() -> None:
    script = (testing.ROOT / ".ci" / "run").read_text("ascii")
    assert "exec python3 start.py test" in script
    assert os.access(testing.ROOT / ".ci" / "run", os.X_OK)
