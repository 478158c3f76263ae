"""What one step freed is there for the next, without the system clearing it again."""

import subprocess
import sys

import pytest

PAGE_BYTES = 4096
ROUNDS = """
import resource
import sys
import torch
from lora_core.engines.diffusers.allocator import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory()

def step():
    pieces = [torch.ones(8 * 2**20) for _ in range(6)]  # 32 MiB each
    del pieces
    small = [torch.ones(2**18) for _ in range(50)]
    del small

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def cleared_pages(*options: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS, *options], check=True, capture_output=True, text=True, timeout=400
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is for glibc")
def test_the_system_clears_no_page_again_after_the_first_steps() -> None:
    pages_of_three_steps = 3 * (6 * 32 + 50) * 2**20 // PAGE_BYTES
    kept, given_back = cleared_pages("keep"), cleared_pages()
    assert kept < pages_of_three_steps / 100
    assert given_back > kept * 5, "this C library keeps it by itself: then the setting is no longer needed"
