"""The process that writes a job's log: nothing lost, nothing secret, never too large, never in the way.

Each test starts a real process that leads its own output through the writer, as a job's process does.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lora_core.jobs import log_writer
from lora_core.jobs.log import Mark, last_words, since, tail
from lora_core.jobs.log_pipe import wait_until_whole
from lora_core.redact import redacted, secrets

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
POSIX = pytest.mark.skipif(os.name != "posix", reason="kills processes the POSIX way")

LEAD = """
import os, sys, time, signal, subprocess
from pathlib import Path
from lora_core.jobs import log_pipe
log = Path(sys.argv[1])
pipe = log_pipe.lead_through(log, most_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else log_pipe.MOST_BYTES)
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def started(script: str, log: Path, *more: str, **environment: str) -> subprocess.Popen[bytes]:
    """A process in a session of its own that leads its output through the writer and runs `script`."""
    return subprocess.Popen(
        [sys.executable, "-c", LEAD + script, str(log), *more],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )


def text_after(script: str, log: Path, *more: str, **environment: str) -> str:
    """The whole log once `script` has ended."""
    assert started(script, log, *more, **environment).wait(timeout=PATIENCE_S) == 0
    assert wait_until_whole(log, PATIENCE_S)
    return log.read_text("utf-8")


def processes_of(log: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        mine = any(str(log) in part for part in process.info["cmdline"] or ())
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


# --- what reaches the log ----------------------------------------------------------------------------------


def test_prints_compiled_code_and_child_processes_all_reach_the_log_in_order(tmp_path: Path) -> None:
    script = """
print("from print")
os.write(2, b"from compiled code\\n")
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
sys.stderr.write("without an end")
"""
    text = text_after(script, tmp_path / "train.log")
    assert text == "from print\nfrom compiled code\nfrom a child\nwithout an end"


@POSIX
def test_a_killed_process_leaves_every_line_that_it_printed(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    script = "for n in range(5000): print('line', n)\nos.killpg(0, signal.SIGKILL)"
    assert started(script, log).wait(timeout=PATIENCE_S) == -signal.SIGKILL
    until(lambda: processes_of(log) == [])
    assert log.read_text() == "".join(f"line {number}\n" for number in range(5000))


def test_a_line_is_there_while_the_process_goes_on_and_progress_bars_too(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    script = """
print("one")
sys.stderr.write("steps: 1%\\rsteps: 2%\\r")
until(lambda: (log.parent / "enough").exists())
"""
    process = started(script, log)
    until(lambda: tail(log) == ["one", "steps: 2%"])
    (tmp_path / "enough").touch()
    assert process.wait(timeout=PATIENCE_S) == 0


@POSIX
def test_the_writer_stays_as_long_as_a_child_can_print_and_no_longer(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    script = """
child = "import time, pathlib\\nwhile not pathlib.Path(%r).exists(): time.sleep(0.01)\\nprint('late word')"
subprocess.Popen([sys.executable, "-c", child % str(log.parent / "enough")], start_new_session=True)
print("parent's last word")
"""
    assert started(script, log).wait(timeout=PATIENCE_S) == 0
    until(lambda: tail(log) == ["parent's last word"])
    assert not wait_until_whole(log, 0.1)
    (tmp_path / "enough").touch()
    until(lambda: processes_of(log) == [])
    assert tail(log) == ["parent's last word", "late word"]


# --- a writer that dies ------------------------------------------------------------------------------------


@POSIX
def test_a_writer_that_is_killed_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    script = """
for round in range(3):
    print("round", round)
    old = pipe.writer
    until(lambda: log.exists() and f"round {round}" in log.read_text())
    os.kill(old.pid, signal.SIGKILL)
    subprocess.run([sys.executable, "-c", "print('a child that must not die of it')"], check=True)
    until(lambda: pipe.writer is not old and pipe.writer.poll() is None)
print("the end")
"""
    lines = text_after(script, tmp_path / "train.log").splitlines()
    assert lines == [
        *(line for n in range(3) for line in (f"round {n}", "a child that must not die of it")),
        "the end",
    ]


def test_where_no_writer_can_be_started_the_process_writes_its_log_itself(tmp_path: Path) -> None:
    script = """
print("a secret:", os.environ["HF_TOKEN"])
print("the last word")
"""
    broken = LEAD.replace("pipe = ", "log_pipe.sys.executable = '/not/there'\npipe = ") + script
    done = subprocess.run(
        [sys.executable, "-c", broken, str(tmp_path / "train.log")],
        cwd=ROOT,
        env={**os.environ, "HF_TOKEN": "a-very-secret-value"},
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "train.log").read_text() == "a secret: [hidden]\nthe last word\n"


@POSIX
def test_signals_that_end_everything_around_it_leave_the_writer_to_the_end_of_the_pipe(
    tmp_path: Path,
) -> None:
    script = """
print("one")
until(lambda: log.exists())
for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(pipe.writer.pid, name)
print("two")
print(pipe.writer.poll())
"""
    assert text_after(script, tmp_path / "train.log") == "one\ntwo\nNone\n"


# --- secrets -----------------------------------------------------------------------------------------------


def test_secrets_never_reach_the_disk_also_split_over_writes(tmp_path: Path) -> None:
    script = """
token = os.environ["WANDB_API_KEY"]
for part in ("key ", token[:5], token[5:], " and hf_abcdefgh", "ijklmnopqrstuv", "\\n"):
    os.write(1, part.encode())
    time.sleep(0.02)
print("GET https://me:pass@host/file?token=abc123&x=1")
"""
    text = text_after(script, tmp_path / "train.log", WANDB_API_KEY="s3cret s3cret-value")
    assert text == "key [hidden] and [hidden]\nGET https://[hidden]@host/file?token=[hidden]&x=1\n"


def test_no_secret_is_on_the_command_line_of_the_writer(tmp_path: Path) -> None:
    script = "import psutil; print(' '.join(psutil.Process(pipe.writer.pid).cmdline()).count('a-very'))"
    assert text_after(script, tmp_path / "train.log", HF_TOKEN="a-very-secret-value") == "0\n"


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("hf_abcdefghijklmnopqrst", "[hidden]"),
        ("sk-abcdefghijklmnopqrst", "[hidden]"),
        ("ghp_abcdefghijklmnopqrst", "[hidden]"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer [hidden]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [hidden]"),
        ("'http://user:pass@proxy:8080'", "'http://[hidden]@proxy:8080'"),
        ("https://x/y?download=true&api_key=abc", "https://x/y?download=true&api_key=[hidden]"),
        ("https://x/y?X-Amz-Signature=0f&a=b", "https://x/y?X-Amz-Signature=[hidden]&a=b"),
        ("https://discord.com/api/webhooks/12/ab-c", "https://discord.com/api/webhooks/12/[hidden]"),
        ("https://api.telegram.org/bot1:AbC/send", "https://api.telegram.org/bot[hidden]/send"),
    ],
)
def test_what_looks_like_a_secret_is_blacked_out(line: str, hidden: str) -> None:
    assert redacted(line.encode(), ()).decode() == hidden


@pytest.mark.parametrize(
    "line",
    [
        "steps:  33%|###3  | 4/12 [00:05<00:10,  1.34s/it, avr_loss=1.09]",
        "max_token_length=225 keep_tokens=1 class_tokens=cat",
        "https://huggingface.co/openai/clip-vit-large-patch14/resolve/main/vocab.json?download=true",
        "mail me@example.com",
    ],
)
def test_ordinary_lines_are_left_as_they_are(line: str) -> None:
    assert redacted(line.encode(), ()).decode() == line


def test_short_values_and_harmless_names_are_not_taken_for_secrets() -> None:
    assert secrets({"HF_TOKEN": "1", "HOME": "/home/user", "X_SECRET": "long enough"}) == (b"long enough",)


class _Writes:
    """Stands in for a log file and remembers what it was given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def end(self) -> None:
        pass


def test_a_line_without_an_end_is_written_in_pieces_and_no_secret_is_cut(tmp_path: Path) -> None:
    secret = b"s" * 3000
    data = (b"x" * 60_000 + secret) * 8
    (tmp_path / "input").write_bytes(data)
    log = _Writes()
    with (tmp_path / "input").open("rb") as file:
        log_writer.copy(file.fileno(), log, (secret,))  # type: ignore[arg-type]  # a stand-in
    assert b"".join(log.written) == data.replace(secret, b"[hidden]")
    assert len(log.written) > 4


# --- too large, full, taken away ---------------------------------------------------------------------------


def test_a_flood_is_put_aside_in_time_and_the_newest_lines_stay(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    script = "for n in range(60000): os.write(1, b'%09d some words to fill the line with\\n' % n)"
    assert started(script, log, "300000").wait(timeout=PATIENCE_S) == 0
    assert wait_until_whole(log, PATIENCE_S)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["train.log", "train.log.1", "train.log.2", "train.log.lock"]
    whole = b"".join((tmp_path / f"train.log{end}").read_bytes() for end in (".2", ".1", ""))
    numbers = [int(line[:9]) for line in whole.splitlines()]
    assert numbers == list(range(numbers[0], 60000))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 300_000 + 2 * 65_536
    assert [int(line[:9]) for line in tail(log, 9000)] == list(range(51000, 60000))


def test_a_full_disk_drops_lines_counts_them_and_says_so_when_it_can(small_disk: Path) -> None:
    log = small_disk / "train.log"
    ballast = small_disk / "ballast"
    script = """
print("before")
until(lambda: log.exists() and "before" in log.read_text())
ballast = log.parent / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while True: file.write(bytes(4096))
    except OSError: pass
try:
    while True:
        with log.open("ab", buffering=0) as file: file.write(b"-")
except OSError: pass
for n in range(3): print("lost")
print("lost too") ; sys.stdout.flush()
until(lambda: pipe_is_empty())
ballast.unlink()
print("after")
"""
    empty = """
import fcntl, termios, struct
def pipe_is_empty():
    return struct.unpack("i", fcntl.ioctl(pipe._source, termios.FIONREAD, b"\\0\\0\\0\\0"))[0] == 0
"""
    text = text_after(empty + script, log)
    assert not ballast.exists()
    lines = text.replace("-", "").splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert any(line.endswith("not written: the disk was full.") for line in lines)


def test_a_log_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    script = """
print("one")
until(log.exists)
log.unlink()
print("two")
"""
    assert text_after(script, tmp_path / "train.log") == "two\n"


def test_a_folder_that_was_taken_away_costs_only_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    script = """
print("one")
until(log.exists)
import shutil
shutil.rmtree(log.parent)
for n in range(1000): print("into the void")
"""
    assert started(script, folder / "train.log").wait(timeout=PATIENCE_S) == 0
    until(lambda: processes_of(folder / "train.log") == [])


# --- reading -----------------------------------------------------------------------------------------------


def test_the_lines_since_the_last_look_are_read_from_where_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert since(log) == ([], Mark())
    log.write_bytes(b"one\ntwo\nthr")
    lines, mark = since(log)
    assert lines == ["one", "two"]
    with log.open("ab") as file:
        file.write(b"ee\nfour\n")
    lines, mark = since(log, mark)
    assert lines == ["three", "four"]
    assert since(log, mark) == ([], mark)


def test_reading_on_goes_over_a_log_that_was_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n")
    _, mark = since(log)
    with log.open("ab") as file:
        file.write(b"two\n")
    log.rename(tmp_path / "train.log.1")
    log.write_bytes(b"three\n")
    lines, mark = since(log, mark)
    assert lines == ["two", "three"]
    assert since(log, mark) == ([], mark)


def test_reading_on_goes_over_a_log_that_was_put_aside_twice(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n")
    _, mark = since(log)
    with log.open("ab") as file:
        file.write(b"two\n")
    log.rename(tmp_path / "train.log.2")
    (tmp_path / "train.log.1").write_bytes(b"three\n")
    log.write_bytes(b"four\n")
    lines, mark = since(log, mark)
    assert lines == ["two", "three", "four"]
    assert since(log, mark) == ([], mark)


def test_a_page_that_reads_on_while_the_log_is_put_aside_sees_each_line_once(tmp_path: Path) -> None:
    path, count = tmp_path / "train.log", 6000
    seen: list[str] = []

    def write() -> None:
        log = log_writer.LogFile(path, 10_000)
        for number in range(count):
            log.write(b"line %d\n" % number)
            while number - len(seen) >= 900 and time.monotonic() < end:  # so far behind no page is
                time.sleep(0.001)
        log.end()

    mark, end = None, time.monotonic() + PATIENCE_S
    writer = threading.Thread(target=write)
    writer.start()
    while len(seen) < count and time.monotonic() < end:
        lines, mark = since(path, mark, most_lines=count)
        seen += lines
    writer.join()
    assert seen == [f"line {number}" for number in range(count)]


def test_the_last_words_of_a_process_are_read_when_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    process = started("print('x' * 100000)\nprint('the end')", log)
    assert process.wait(timeout=PATIENCE_S) == 0
    until(log.exists)
    assert last_words(log)[-1] == "the end"
