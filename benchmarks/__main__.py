"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME [options]` runs one.

Standard output holds one JSON record a line, one for each measurement; standard error holds the
same for people, and how far it is. Exit code 0 also if a target was missed: a figure is no error.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from benchmarks.processes import CannotMeasureError
from benchmarks.record import tell

BENCHMARKS: Final = {
    "first_page": "how long the first page takes, and how much memory the server holds",
    "settings_edit": "how long one edit in the form with all settings takes, and what it sends",
    "many_jobs": "how long the Training page takes with a thousand finished trainings",
    "demo_training": "how long the demo's training takes by the command that a user types",
    "app_overhead": "how much slower a training is with the app's page open than as a bare command",
    "training_step": "how long a training step takes, against a bare loop and sd-scripts",
    "memory_account": "how much memory a training step needs, tensor by tensor",
}


class Benchmark(Protocol):
    """What the module of a benchmark has."""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> None: ...


def load(name: str) -> Benchmark:
    """The module of a benchmark; importing it loads nothing heavy."""
    module: Any = importlib.import_module(f"benchmarks.{name}")
    benchmark: Benchmark = module  # known by its functions; a test asks every one of them
    return benchmark


def parser() -> argparse.ArgumentParser:
    """Every benchmark with its options."""
    root = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what this app promises. docs/benchmarks.md explains the records.",
    )
    names = root.add_subparsers(dest="name", metavar="NAME")
    for name, summary in BENCHMARKS.items():
        module = load(name)
        options = names.add_parser(name, help=summary, description=module.__doc__)
        options.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_options(options)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.name is None:
        for name, summary in BENCHMARKS.items():
            print(f"{name:16} {summary}")
        return 0
    try:
        load(options.name).run(options)
    except CannotMeasureError as error:
        tell(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
