"""How often images of the class ("regularisation images") are used beside those that are learned.

The rule is that of `DreamBoothDataset` in sd-scripts at 48d368f: images are taken in order, each with its
repeats, until there are as many uses as the learned images have; if there are fewer, each is used once
more, in order, until there are enough. What is not reached is not used.

Covered: counting. Not covered: their weight in the loss, which is the trainer's.
"""

from collections.abc import Sequence


def class_uses(repeats: Sequence[int], learned: int) -> list[int]:
    """Uses of each image in one epoch.

    `repeats` has the repeats of each class image, 1 or more, in order; `learned` is the number of uses of
    the learned images of the same dataset.
    """
    uses, total = [0] * len(repeats), 0
    for index, count in enumerate(repeats):
        if total >= learned:
            break
        uses[index] = count
        total += count
    if uses and total < learned:
        each, rest = divmod(learned - total, len(uses))
        uses = [count + each + (index < rest) for index, count in enumerate(uses)]
    return uses
