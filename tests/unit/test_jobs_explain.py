"""From an exit code and a log to a cause in plain words."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from explained_logs import BAR, LAUNCH, LOGS, OOM, trace

from lora_core.errors import DiskFullError, EngineError
from lora_core.jobs.explain import (
    EVIDENCE_LINES,
    ROWS,
    explain,
    last_traceback,
    oom_kills,
    own_lines,
    signal_name,
    told,
)
from lora_core.jobs.explain.table_codes import SIGNALS, WINDOWS
from lora_core.jobs.log import tail
from lora_core.settings import checked, setting

UNKNOWN = trace("KeyError: 'moon'")


def lines(text: str) -> Sequence[str]:
    return text.splitlines()


# --- the tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "code", "log"), LOGS, ids=[f"{n}-{log[0]}" for n, log in enumerate(LOGS)])
def test_each_known_log_is_explained_by_its_own_row(row: str, code: int, log: str) -> None:
    found = explain(code, lines(log))
    assert found.row == row
    assert found.known
    assert found.cause
    assert found.fix
    assert 1 <= len(found.evidence.splitlines()) <= EVIDENCE_LINES


@pytest.mark.parametrize(("row", "code", "log"), LOGS, ids=[f"{n}-{log[0]}" for n, log in enumerate(LOGS)])
def test_what_is_printed_after_an_error_does_not_change_its_cause(row: str, code: int, log: str) -> None:
    rest = "\nfoo.py:3: UserWarning: resource_tracker: There appear to be 6 leaked semaphore objects\n"
    assert explain(code, lines("INFO     prepare images. mean ar error 0.0\n" + log + rest)).row == row


def test_every_row_has_a_log_that_shows_it() -> None:
    codes = {code.row for code in (*SIGNALS.values(), *WINDOWS.values())}
    assert {row.id for row in ROWS} | codes == {name for name, _, _ in LOGS}


def test_no_two_rows_have_the_same_name() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_change_that_is_offered_is_a_setting_with_a_value_that_it_takes() -> None:
    for row in ROWS:
        for key, value in row.fixes:
            assert checked(setting(key), value).problem is None, (row.id, key, value)


# --- evidence ----------------------------------------------------------------------------------------


def test_the_evidence_holds_the_line_that_tells_the_cause_and_the_lines_around_it() -> None:
    found = explain(1, ["step 1", *lines(trace(OOM)), "some last word"])
    assert found.evidence == trace(OOM) + "\nsome last word"


def test_a_long_traceback_is_cut_above_and_keeps_its_last_line() -> None:
    frames = "\n".join(f'  File "/x/{n}.py", line {n}, in f' for n in range(50))
    found = explain(1, lines(trace(OOM, frames)))
    assert len(found.evidence.splitlines()) == EVIDENCE_LINES
    assert found.evidence.endswith(OOM)


# --- reading -----------------------------------------------------------------------------------------


def test_the_launchers_own_traceback_is_not_the_cause() -> None:
    log = f"{BAR}{UNKNOWN}\n{BAR}\n{LAUNCH.format(1)}"
    found = explain(1, lines(log))
    assert not found.known
    assert found.evidence.splitlines()[-1] == "KeyError: 'moon'"
    assert last_traceback(lines(log))[-1] == "KeyError: 'moon'"


def test_a_traceback_in_a_box_is_read() -> None:
    log = """\
╭───────────────────── Traceback (most recent call last) ──────────────────────╮
│ /opt/sd-scripts/train_network.py:1832 in <module>                            │
│ ❱ 1832     trainer.train(args)                                               │
╰──────────────────────────────────────────────────────────────────────────────╯
OutOfMemoryError: CUDA out of
memory. Tried to allocate 50.00 MiB"""
    assert explain(1, lines(log)).row == "cuda_oom"


def test_a_warning_that_prints_a_traceback_is_not_the_cause() -> None:
    warned = "A matching Triton is not available, some optimizations will not be enabled.\n" + trace(
        "ModuleNotFoundError: No module named 'triton'"
    )
    assert explain(-9, lines(f"{warned}\n{BAR}")).row == "killed"
    assert explain(1, lines(f"{warned}\n{BAR}{trace(OOM)}")).row == "cuda_oom"
    assert not explain(1, lines(f"{warned}\n{BAR}")).known


def test_an_error_that_the_work_survived_is_not_the_cause_of_a_kill() -> None:
    assert explain(-9, lines(f"{trace(OOM)}\ngoing on\n{BAR}\n{BAR}")).row == "killed"
    assert explain(-9, lines(trace(OOM))).row == "cuda_oom"


def test_a_harmless_word_in_the_log_is_not_taken_for_the_cause_of_another_error() -> None:
    assert not explain(1, ["No space left on device was handled, going on", *lines(UNKNOWN)]).known


def test_a_warning_in_the_log_is_not_taken_for_the_cause() -> None:
    assert not explain(1, ["WARNING: xFormers can't load C++/CUDA extensions", "bye"]).known


def test_of_several_tracebacks_the_last_counts() -> None:
    log = [*lines(trace("ValueError: first")), "going on", *lines(trace("KeyError: 'second'")), "bye"]
    assert last_traceback(log)[-1] == "KeyError: 'second'"


def test_an_unknown_error_says_so_and_shows_its_traceback() -> None:
    found = explain(1, ["step 1", *lines(UNKNOWN)])
    assert (found.known, found.row, found.fixes) == (False, "", ())
    assert found.evidence == UNKNOWN


# --- this app's own errors ---------------------------------------------------------------------------

OWN = EngineError(
    "The run was not resumed.",
    why="The state is from step 5, and the run has 3 steps. It is done.",
    fix="Set more steps or epochs, or go on from an earlier state. Then start it.",
)


def test_an_error_of_this_app_is_explained_by_its_own_words() -> None:
    log = trace(f"lora_core.errors.EngineError: {OWN}")
    chained = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    for text in (log, f"{log}\n{own_lines(OWN)}", trace("KeyError: 1") + chained + log):
        found = explain(1, lines(text))
        assert (found.cause, found.fix) == (f"{OWN.what} {OWN.why}", OWN.fix)
        assert (found.known, found.row) == (True, "own")


def test_an_error_of_this_app_that_pages_can_do_more_about_has_its_row() -> None:
    assert told(DiskFullError("The state was not saved.")).row == "disk_full"
    nan = EngineError("The training stopped at step 7.", why="The loss was not a number any more.", fix="x")
    assert told(nan).row == "nan_loss"


# --- ends without an error ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [-9, 137])
def test_a_kill_by_the_system_is_told_as_such(code: int) -> None:
    found = explain(code, ["step 1", "step 2"])
    assert found.cause == "It was stopped by the system, often for lack of memory."
    assert found.evidence == f"step 1\nstep 2\nexit code {code} (SIGKILL)"


def test_a_kill_that_the_system_counted_as_lack_of_memory_is_told_with_that_evidence() -> None:
    found = explain(-9, ["step 1"], oom_kills=1)
    assert found.row == "oom_killed"
    assert "the system ended 1 for lack of memory meanwhile" in found.evidence
    assert explain(-9, ["step 1"], oom_kills=0).row == "killed"
    assert explain(1, lines(UNKNOWN), oom_kills=1).row == ""


def test_kills_for_lack_of_memory_are_counted_where_the_system_tells(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    assert oom_kills(proc, groups) is None
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 7\n")
    (proc / "self" / "cgroup").write_text("0::/my.slice\n")
    assert oom_kills(proc, groups) == 7
    (groups / "my.slice").mkdir(parents=True)
    (groups / "my.slice" / "memory.events").write_text("max 9\noom 3\noom_kill 2\n")
    assert oom_kills(proc, groups) == 2


def test_windows_codes_show_the_form_that_people_look_up() -> None:
    assert explain(-1073741819, []).evidence == "exit code -1073741819 (0xC0000005)"


def test_a_restart_of_the_computer_is_the_cause_whatever_the_log_says() -> None:
    found = explain(None, lines(UNKNOWN), restarted=True)
    assert "restarted" in found.cause
    assert found.row == "restarted"


def test_a_silent_end_is_called_one() -> None:
    assert "code 3" in explain(3, []).cause
    assert "nobody saw how" in explain(None, []).cause


@pytest.mark.parametrize(("code", "name"), [(None, ""), (0, ""), (1, ""), (-15, "SIGTERM"), (143, "SIGTERM")])
def test_a_signal_is_read_from_the_exit_code(code: int | None, name: str) -> None:
    assert signal_name(code) == name


# --- the log ----------------------------------------------------------------------------------------


def test_the_end_of_a_log_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"one\r\ntwo\nthree")
    assert tail(tmp_path / "train.log", 2) == ["two", "three"]
    assert tail(tmp_path / "train.log", 10) == ["one", "two", "three"]


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert tail(tmp_path / "train.log") == []


def test_a_progress_bar_shows_only_its_last_form(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"start\nsteps:  0%\rsteps: 50%\r\x1b[32msteps: 100%\x1b[0m\nend\n")
    assert tail(tmp_path / "train.log") == ["start", "steps: 100%", "end"]


def test_a_huge_log_costs_no_more_than_its_end(tmp_path: Path) -> None:
    with (tmp_path / "train.log").open("wb") as file:
        file.truncate(5_000_000_000)  # sparse: no disk is used
        file.seek(0, 2)
        file.write(b"\nlast but one\nlast\n")
    assert tail(tmp_path / "train.log", 2) == ["last but one", "last"]


OUT_OF_MEMORY = """Traceback (most recent call last):
  File "train.py", line 1, in <module>
torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
"""


def test_a_progress_bar_of_a_night_is_shown_with_what_came_before_it(tmp_path: Path) -> None:
    bar = b"".join(b"steps: %d/60000 avr_loss=0.1234 [a longer text]\r" % n for n in range(60_000))
    assert len(bar) > 2_500_000, "longer than what is read of a log at once"
    (tmp_path / "train.log").write_bytes(b"start\n" + bar)
    assert tail(tmp_path / "train.log") == ["start", "steps: 59999/60000 avr_loss=0.1234 [a longer text]"]


@pytest.mark.parametrize("behind", [b"\n", b""], ids=["whole", "cut off"])
def test_one_huge_line_hides_neither_the_cause_nor_makes_it_huge(tmp_path: Path, behind: bytes) -> None:
    log = OUT_OF_MEMORY.encode().rstrip() + b" " + b"x" * 3_000_000 + b" the end" + behind
    (tmp_path / "train.log").write_bytes(b"start\n" + log)
    rows = tail(tmp_path / "train.log", 300)
    assert [row[:9] for row in rows] == ["start", "Traceback", '  File "t', "torch.cud"]
    assert rows[-1].endswith(" the end")
    assert len(rows[-1]) < 3000
    why = explain(1, rows)
    assert (why.row, len(why.evidence) < 2000) == ("cuda_oom", True)


def test_a_whole_log_of_long_lines_is_kept_short_with_an_end() -> None:
    why = explain(1, ["x" * 2000] * 30)
    assert len(why.evidence) < 8000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_a_log_in_another_encoding_is_explained(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "train.log").write_bytes(f"C:\\Benutzer\\Jürgen\n{OUT_OF_MEMORY}".encode(encoding))
    assert explain(1, tail(tmp_path / "train.log")).row == "cuda_oom"


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"\xff\xfe\nfine\n")
    assert tail(tmp_path / "train.log")[-1] == "fine"


def test_secrets_of_the_environment_and_tokens_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-very-secret-value")
    monkeypatch.setenv("WANDB_API_KEY", "another-secret-value")
    (tmp_path / "train.log").write_text(
        "token=a-very-secret-value\nkey another-secret-value\nseen hf_abcdefghijklmnopqrst\n"
    )
    text = "\n".join(tail(tmp_path / "train.log"))
    assert "secret" not in text
    assert "hf_abc" not in text
    assert text.count("[hidden]") == 3
