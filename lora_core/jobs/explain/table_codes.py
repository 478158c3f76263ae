"""What an exit code alone tells: signals, and the codes with which Windows ends a process.

Covered: numbers as the system, a shell and launchers report them, signed or not. Not covered: codes that a
program chose itself.
"""

from typing import Final, NamedTuple


class Code(NamedTuple):
    """What a way to end means."""

    row: str
    cause: str
    fix: str


_NUMBERS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
}
"""As Linux numbers them; a log may come from another system than the one that reads it."""

LESS_MEMORY: Final = "Close other programs, or lower the batch size or the resolution. Then go on with it."
NATIVE: Final = "It crashed inside native code, such as a driver or a compiled package."
_NATIVE_FIX: Final = "Go on with it. If it comes back, update the driver and run the set-up again."

OOM_KILLED: Final = Code(
    "oom_killed", "The system ended it because the computer's main memory ran out.", LESS_MEMORY
)

SIGNALS: Final = {
    "SIGKILL": Code("killed", "It was stopped by the system, often for lack of memory.", LESS_MEMORY),
    "SIGTERM": Code("asked_to_end", "It was asked to end from outside the app.", "Go on with it."),
    "SIGHUP": Code("asked_to_end", "It was asked to end from outside the app.", "Go on with it."),
    "SIGINT": Code(
        "interrupted", "It was interrupted from the keyboard or from outside the app.", "Go on with it."
    ),
    "SIGSEGV": Code("native_crash", NATIVE, _NATIVE_FIX),
    "SIGFPE": Code("native_crash", NATIVE, _NATIVE_FIX),
    "SIGABRT": Code(
        "aborted",
        "A compiled package gave up and ended the process.",
        "Read the last lines of the log. Go on with it; if it comes back, run the set-up again.",
    ),
    "SIGBUS": Code(
        "bus_error",
        "It lost memory that it was using: the disk or the shared memory was full.",
        "Free some disk space. In a container, allow more shared memory.",
    ),
    "SIGILL": Code(
        "illegal_instruction",
        "It used an instruction that this processor does not have.",
        "Run the set-up again, so that it chooses another build of torch.",
    ),
    "SIGXCPU": Code(
        "time_limit",
        "It used all the processor time that this system allows.",
        "Raise the limit, or ask who set it.",
    ),
    "SIGXFSZ": Code(
        "file_limit", "A file grew larger than this system allows.", "Raise the limit, or use another disk."
    ),
}

WINDOWS: Final = {
    0xC0000005: Code("native_crash", NATIVE, _NATIVE_FIX),
    0xC0000374: Code("native_crash", NATIVE, _NATIVE_FIX),
    0xC00000FD: Code("native_crash", NATIVE, _NATIVE_FIX),
    0xC0000094: Code("native_crash", NATIVE, _NATIVE_FIX),
    0xC0000409: Code("aborted", SIGNALS["SIGABRT"].cause, SIGNALS["SIGABRT"].fix),
    0xE06D7363: Code("aborted", SIGNALS["SIGABRT"].cause, SIGNALS["SIGABRT"].fix),
    0xC000001D: Code("illegal_instruction", SIGNALS["SIGILL"].cause, SIGNALS["SIGILL"].fix),
    0xC0000135: Code(
        "dll_missing",
        "A library (DLL) that it needs was not found.",
        "Install Microsoft's Visual C++ Redistributable (x64), then run the set-up again.",
    ),
    0xC0000139: Code(
        "dll_wrong",
        "A library (DLL) that it needs has the wrong version.",
        "Run the set-up again. If it comes back, update the driver of the graphics card.",
    ),
    0xC0000142: Code(
        "dll_start",
        "A library (DLL) that it needs could not start.",
        "Restart the computer. If it comes back, run the set-up again.",
    ),
    0xC000013A: Code(
        "console_closed",
        "Its window was closed, or Ctrl-C was pressed in it.",
        "Go on with it, and leave that window open.",
    ),
    0xC0000017: Code(
        "oom_windows",
        "The computer's main memory ran out.",
        "Close other programs, and let Windows manage the size of the paging file. Then go on with it.",
    ),
    0xC000012D: Code(
        "paging_file",
        "The paging file is too small for what it needed.",
        "Let Windows manage the size of the paging file, and close other programs. Then go on with it.",
    ),
    0xC0000006: Code(
        "disk_error",
        "The disk that it read from stopped answering.",
        "Check the cable, the network drive and the disk. Then go on with it.",
    ),
    0x40010004: Code("logged_off", "Windows was shut down or the user logged off.", "Go on with it."),
    1455: Code(
        "paging_file",
        "The paging file is too small for what it needed.",
        "Let Windows manage the size of the paging file, and close other programs. Then go on with it.",
    ),
}


def signal_name(exit_code: int | None) -> str:
    """The signal that ended a process, told from its exit code; empty when none did.

    A shell reports 128 + number, the system minus number.
    """
    if exit_code is None:
        return ""
    return _NUMBERS.get(-exit_code if exit_code < 0 else exit_code - 128, "")


def code_name(exit_code: int) -> str:
    """How people look a code up: the signal's name, or Windows' hexadecimal form; empty for others."""
    if name := signal_name(exit_code):
        return name
    unsigned = exit_code & 0xFFFFFFFF
    return f"0x{unsigned:08X}" if unsigned in WINDOWS and unsigned > 0xFFFF else ""


def meaning(exit_code: int | None) -> Code | None:
    """What the code alone tells; None when it tells nothing."""
    if exit_code is None:
        return None
    return SIGNALS.get(signal_name(exit_code)) or WINDOWS.get(exit_code & 0xFFFFFFFF)


SUDDEN: Final = frozenset(
    {"killed", "oom_killed", "native_crash", "aborted", "bus_error", "illegal_instruction", "oom_windows"}
    | {"console_closed", "logged_off", "disk_error", "time_limit"}
)
"""Rows of ends that no Python error leads to: an error far above in the log is not their cause."""
