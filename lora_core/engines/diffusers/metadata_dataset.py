"""The notes on pictures and captions in a LoRA file's header, as sd-scripts writes them.

Covered: `ss_datasets`, `ss_dataset_dirs`, `ss_tag_frequency` and the counts of images. Not covered: all other
notes (see `metadata.py`).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.pictures import Picture, Pictures
from lora_core.settings import RunConfig, SubsetSettings

_OF_SUBSETS: Final = (
    "num_repeats", "color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens",
    "keep_tokens_separator", "secondary_separator", "enable_wildcard", "caption_prefix", "caption_suffix",
    "class_tokens", "is_reg", "resize_interpolation",
)  # fmt: skip
_OF_RUNS: Final = ("caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate")
"""sd-scripts writes the arguments; here each folder has its own, and the first one stands for them."""


def dataset_facts(run: RunConfig, plan: Plan, pictures: Pictures) -> dict[str, Any]:
    """What a LoRA file says of the pictures that it was made from."""
    datasets: list[dict[str, Any]] = []
    folders: dict[str, dict[str, int]] = {}
    frequencies: dict[str, dict[str, int]] = {}
    for number, dataset in enumerate(run.dataset.datasets):
        mine = [picture for picture in pictures.training if picture.dataset == number]
        subsets: list[dict[str, Any]] = []
        tags: dict[str, dict[str, int]] = {}
        for subset in dataset.subsets:
            used = [picture for picture in mine if picture.subset is subset]
            name = subset.image_dir.name
            subsets.append(_subset(subset, len(used)))
            if not subset.is_reg:
                folders[_free(name, folders)] = {"n_repeats": subset.num_repeats, "img_count": len(used)}
            tags[name] = _tag_counts(used, tags.get(name, {}))
        datasets.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": dataset.batch_size,
                "num_train_images": _repeated(mine, of_class=False),
                "num_reg_images": _repeated(mine, of_class=True),
                "resolution": list(dataset.resolution),
                "enable_bucket": dataset.enable_bucket,
                "min_bucket_reso": dataset.min_bucket_reso,
                "max_bucket_reso": dataset.max_bucket_reso,
                "tag_frequency": tags,
                "bucket_info": _bucket_info(plan, mine, number) if dataset.enable_bucket else None,
                "resize_interpolation": _shared_way(dataset.subsets),
                "subsets": subsets,
            }
        )
        frequencies.update({name: counts for name, counts in tags.items() if name not in frequencies})
    first = run.dataset.datasets[0].subsets[0]
    return {
        "ss_num_train_images": _repeated(pictures.training, of_class=False),
        "ss_num_reg_images": _repeated(pictures.training, of_class=True),
        "ss_resize_interpolation": _shared_way([s for each in run.dataset.datasets for s in each.subsets]),
        "ss_prior_loss_weight": run.batch.prior_loss_weight,
        **{f"ss_{key}": getattr(first, key) for key in _OF_RUNS},
        "ss_datasets": json.dumps(datasets),
        "ss_dataset_dirs": json.dumps(folders),
        "ss_tag_frequency": json.dumps(frequencies),
    }


def _subset(subset: SubsetSettings, count: int) -> dict[str, Any]:
    facts = {"img_count": count} | {key: getattr(subset, key) for key in _OF_SUBSETS}
    facts["keep_tokens_separator"] = subset.keep_tokens_separator or ""
    return {**facts, "image_dir": subset.image_dir.name}


def _shared_way(subsets: Sequence[SubsetSettings]) -> str | None:
    """How images are resized, if all folders have it in common; sd-scripts writes what stands above them."""
    ways = {subset.resize_interpolation for subset in subsets}
    return ways.pop() if len(ways) == 1 else None


def _repeated(pictures: Sequence[Picture], *, of_class: bool) -> int:
    return sum(each.subset.num_repeats for each in pictures if each.subset.is_reg is of_class)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name} ({count})"
    return free


def _tag_counts(pictures: Sequence[Picture], before: Mapping[str, int]) -> dict[str, int]:
    tags = (tag.strip().lower() for picture in pictures for tag in picture.caption.split(","))
    return dict(Counter(before) + Counter(tag for tag in tags if tag))


def _bucket_info(plan: Plan, pictures: Sequence[Picture], dataset: int) -> dict[str, Any]:
    counts = [(size, count) for (number, size), count in plan.bucket_counts().items() if number == dataset]
    errors = [
        abs(
            picture.placement.bucket.width / picture.placement.bucket.height
            - picture.entry.width / picture.entry.height
        )
        for picture in pictures
    ]
    return {
        "buckets": {
            str(index): {"resolution": list(size), "count": n} for index, (size, n) in enumerate(counts)
        },
        "mean_img_ar_error": sum(errors) / max(1, len(errors)),
    }
