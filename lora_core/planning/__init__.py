"""Before a run: all problems at once, and how many steps it takes.

Import from here. Covered: checks and steps. Not covered yet: memory, time, disk, "make it fit".
"""

from lora_core.planning.checks import check
from lora_core.planning.images import RunImages, SubsetImages, look_at_images
from lora_core.planning.steps import BucketCount, Plan, plan

__all__ = ["BucketCount", "Plan", "RunImages", "SubsetImages", "check", "look_at_images", "plan"]
