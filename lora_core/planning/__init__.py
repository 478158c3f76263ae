"""Before a run: all problems at once, how many steps it takes, and whether it fits this machine.

Import from here. Covered: checks, steps, saves, disk, memory, time, changes that make a run fit. Not
covered: starting anything (see `lora_core.runs`).
"""

from lora_core.planning.checks import check
from lora_core.planning.estimates import Estimate, Line, Seconds, estimate
from lora_core.planning.fit import FITTED, Change, Fitting, fitting, make_it_fit
from lora_core.planning.images import RunImages, SubsetImages, look_at_images
from lora_core.planning.rate import Course, course
from lora_core.planning.recorded import Measured, alike, measured, took
from lora_core.planning.steps import BucketCount, Plan, plan

__all__ = [
    "FITTED",
    "BucketCount",
    "Change",
    "Course",
    "Estimate",
    "Fitting",
    "Line",
    "Measured",
    "Plan",
    "RunImages",
    "Seconds",
    "SubsetImages",
    "alike",
    "check",
    "course",
    "estimate",
    "fitting",
    "look_at_images",
    "make_it_fit",
    "measured",
    "plan",
    "took",
]
