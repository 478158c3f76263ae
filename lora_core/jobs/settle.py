"""Writing down the end of a job whose process died without doing so itself.

Covered: stopped by us, failed with a cause, lost without one, an unreadable status file. Not
covered: deciding that a process is dead (liveness.py) and what an exit code means (explain.py).
"""

import time

from lora_core.jobs import hosts, liveness, log, look, requests
from lora_core.jobs.explain import explain, oom_kills
from lora_core.jobs.records import ACTIVE, End, Job, Status, changing, move, read_status, write_status

_LOG_LINES = 300


def settle(job: Job, *, exit_code: int | None, by_us: bool | None = None) -> Status | None:
    """Write the end of a job that is on record as active and whose process is dead.

    `exit_code` is None where nobody saw the process end; `by_us` tells whether it was sent a signal because
    of a request, None where that is not known. Returns None when there was nothing to settle:
    the end is written already, the process lives, or the job is another computer's.

    Raises:
        JobError, OSError, DiskFullError: it could not be written; try again later.
    """
    with changing(job.folder):
        now = read_status(job.folder)
        if (now is None or now.state in ACTIVE) and hosts.elsewhere(job, now) is not None:
            return None  # it changed hands since the caller looked
        if now is None:
            now = look.rebuilt(job)
            write_status(job.folder, now)
            return now
        if now.state not in ACTIVE or liveness.alive(look.engine_lock(job.folder)):
            return None
        ended = _ended(job, now, exit_code, by_us)
        write_status(job.folder, ended)
        return ended


def _ended(job: Job, now: Status, exit_code: int | None, by_us: bool | None) -> Status:
    asked = requests.pending(job.folder)
    step, total = look.done(job, now)
    said = log.last_words(job.log, _LOG_LINES)
    if asked is not None and _by_force(asked, exit_code, by_us):
        waited = (
            "It was ended at once, as asked."
            if asked.force
            else (f"It did not answer within {asked.grace_s:.0f} s and was ended by force.")
        )
        end = End(
            cause=waited,
            fix=look.what_next(job, now),
            exit_code=exit_code,
            evidence="\n".join(said[-3:]),
            at=time.time(),
            step=step,
        )
        to_pause = asked.name == "pause" and now.state != "stopping"
        return move(now, "paused" if to_pause else "stopped", end=end, step=step, total=total, updated=end.at)
    owner = liveness.read_owner(look.engine_lock(job.folder))
    of_this_attempt = owner is not None and owner.about.get("attempt") == now.attempt
    restarted = of_this_attempt and owner is not None and owner.from_before_restart()
    before = owner.about.get("oom_kills") if owner is not None and of_this_attempt else None
    kills = (oom_kills() or 0) - before if isinstance(before, int) else None
    why = explain(exit_code, said, restarted=restarted, oom_kills=kills)
    end = End(
        cause=f"{why.cause} It had done step {step}." if step else why.cause,
        fix=f"{why.fix} {look.what_next(job, now)}",
        evidence=why.evidence,
        exit_code=exit_code,
        at=time.time(),
        step=step,
        row=why.row,
    )
    seen_ending = exit_code is not None or why.known
    return move(now, "failed" if seen_ending else "lost", end=end, step=step, total=total, updated=end.at)


def _by_force(asked: requests.Ask, exit_code: int | None, by_us: bool | None) -> bool:
    """True when it was us who ended it: by a signal, after the grace."""
    if by_us is None:  # an earlier runner may have done it: by its clock, if that was not set since
        by_us = asked.force or time.time() >= asked.at + asked.grace_s
    return by_us and (exit_code is None or exit_code < 0)
