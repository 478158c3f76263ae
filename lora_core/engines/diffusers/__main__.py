"""The built-in trainer as a bare command, without a job: `python -m lora_core.engines.diffusers`.

Covered: training one configuration into a folder, with lines of progress; telling what it understood of
configurations, without training. Not covered: starting in the background, stopping gently, looking at
runs; `python -m lora_core train` does those.
"""

import argparse
import sys
from pathlib import Path

from lora_core.engines import get
from lora_core.engines.diffusers.understood import as_text
from lora_core.errors import LoraError
from lora_core.reporting import NullReporter, Progress
from lora_core.settings import BUILT_IN, load_run, run_files


class _Lines(NullReporter):
    """Prints what it hears."""

    def phase(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201  a command's output

    def progress(self, progress: Progress) -> None:
        loss = "" if progress.loss is None else f"  loss {progress.loss:.4f}"
        print(f"{progress.step}/{progress.total}{loss}", flush=True)  # noqa: T201  the same

    def note(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201  the same


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lora_core.engines.diffusers", description=main.__doc__)
    parser.add_argument("config", type=Path, nargs="+", help="the run's config.toml")
    parser.add_argument(
        "--dataset", type=Path, help="its dataset.toml; without it, the one beside the config"
    )
    parser.add_argument("--out", type=Path, help="folder for all that the run writes")
    parser.add_argument("--resume", type=Path, help="folder of a saved state to go on from")
    parser.add_argument(
        "--show-settings",
        action="store_true",
        help="train nothing; print what is understood of each config.toml, as one line of JSON",
    )
    arguments = parser.parse_args()
    if not arguments.show_settings and (arguments.out is None or len(arguments.config) > 1):
        parser.error("training needs one config.toml, and --out")
    try:
        if arguments.show_settings:
            for config in arguments.config:
                print(as_text(load_run(config, arguments.dataset)))  # noqa: T201  the same
            return 0
        run = load_run(arguments.config[0], arguments.dataset)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, text in run_files(run).items():
            (arguments.out / name).write_text(text, "utf-8")
        print(get(BUILT_IN).train(arguments.out, _Lines(), resume=arguments.resume))  # noqa: T201  the same
    except LoraError as error:
        print(error, file=sys.stderr)  # noqa: T201  the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
