"""Settings of one folder of images: repeats, captions, and what is changed at each use.

Covered: their types, hard limits, starting values and help. Not covered: what is done with them (see
`lora_core.datasets.words` for captions, and the engines for pixels).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from lora_core.settings._description import Advice, Concern, PathValue, described


class FolderSettings(Concern):
    """One folder of images, as far as both engines have it."""

    image_dir: PathValue = described(
        ...,
        label="Folder of images",
        what="The folder that holds the images and their captions.",
        why="Give each group of images a folder of its own, so that you can weigh them.",
        level="basic",
        place="subset",
        part="target",
    )
    num_repeats: int = described(
        1,
        label="Repeats",
        what="How often each image of this folder is used in one epoch.",
        why="Raise it for a small folder, so that it counts as much as a large one.",
        higher="The images of this folder count more. An epoch takes longer.",
        lower="The images of this folder count less. An epoch is shorter.",
        unit="times",
        level="basic",
        place="subset",
        part="target",
        argument="dataset_repeats",
        ge=1,
        advice=Advice(1, 100, "More repeats make an epoch longer, and give fewer saves to choose from."),
    )
    is_reg: bool = described(
        False,
        label="Images to keep what the model knows",
        what="The images of this folder show the class, such as any dog, not your own dog. "
        "They are used as often as all others.",
        why="Turn it on for such a folder if the model forgets what a normal dog looks like.",
        higher="These images show what the model should keep.",
        lower="These images show what the LoRA should learn.",
        place="subset",
        part="target",
    )
    caption_extension: str = described(
        ".txt",  # sd-scripts: .caption
        label="Ending of caption files",
        what="A caption file has the name of its image and this ending.",
        why="Leave it at .txt.",
        level="expert",
        place="subset",
        argument="caption_extension",
    )
    class_tokens: str | None = described(
        None,
        label="Caption for images that have none",
        what="This text is used for an image without a caption file.",
        why="Use it if all images of the folder show the same thing.",
        place="subset",
        part="target",
    )
    caption_prefix: str | None = described(
        None,
        label="Text before each caption",
        what="This text is put before each caption, with a space after it.",
        why="Use it to add a trigger word and leave the files as they are. End it with a comma.",
        place="subset",
        argument="caption_prefix",
    )
    caption_suffix: str | None = described(
        None,
        label="Text after each caption",
        what="This text is put after each caption, with a space before it.",
        why="Use it to add the same words to all captions and leave the files as they are.",
        place="subset",
        argument="caption_suffix",
    )
    shuffle_caption: bool = described(
        False,
        label="Shuffle the tags",
        what="Puts the tags of a caption in a new order each time it is used.",
        why="Turn it on for captions made of tags. Leave it off for whole sentences.",
        higher="The LoRA learns that the order of tags means nothing.",
        lower="Tags stay in the order of the file.",
        place="subset",
        argument="shuffle_caption",
    )
    keep_tokens: int = described(
        0,
        label="Tags that stay in front",
        what="So many tags at the start of a caption keep their place when tags are shuffled.",
        why="Set it to 1 if each caption starts with your trigger word, as recipes do.",
        higher="More tags keep their place.",
        lower="Fewer tags keep their place. At 0 all are shuffled.",
        unit="tags",
        place="subset",
        argument="keep_tokens",
        ge=0,
    )
    keep_tokens_separator: str | None = described(
        None,
        label="Sign that ends the fixed tags",
        what="Tags before this sign stay in front. If it is there twice, those after the second stay last.",
        why="Use it, such as |||, if each caption has a different number of fixed tags.",
        level="expert",
        place="subset",
        argument="keep_tokens_separator",
    )
    caption_separator: str = described(
        ",",
        label="Sign between tags",
        what="The sign that parts one tag from the next.",
        why="Leave it as a comma.",
        level="expert",
        place="subset",
        argument="caption_separator",
    )
    secondary_separator: str | None = described(
        None,
        label="Sign inside a group of tags",
        what="Tags with this sign between them move as one. It then turns into the sign between tags.",
        why="Use it, such as ;;;, for tags that must stay side by side.",
        level="expert",
        place="subset",
        argument="secondary_separator",
    )
    enable_wildcard: bool = described(
        False,
        label="Pick from choices in captions",
        what="Of {red|blue} one word is picked at each use, and of a file with more lines one line.",
        why="Turn it on if you wrote such captions.",
        higher="Captions change from use to use.",
        lower="Only the first line of a file is read. Curly brackets are plain text.",
        level="expert",
        place="subset",
        argument="enable_wildcard",
    )
    caption_dropout_rate: float = described(
        0.0,
        label="Share of uses with no caption",
        what="In this share of uses an image is learned without its caption: 0.1 is 10 percent.",
        why="Use 0.05 to 0.1 for a style. It then also shows when a prompt does not ask for it.",
        higher="More is learned with no words. The LoRA then also shows when a prompt does not ask for it.",
        lower="More is learned with words. At 0 each use has its caption.",
        unit="share from 0.0 to 1.0",
        place="subset",
        argument="caption_dropout_rate",
        ge=0,
        le=1,
        advice=Advice(0, 0.3, "With few captions left, the LoRA learns little about words."),
    )
    caption_dropout_every_n_epochs: int = described(
        0,
        label="Epochs with no captions",
        what="In each epoch whose number can be divided by this one, no captions are used. 0 means never.",
        why="Leave it at 0.",
        higher="Epochs with no captions come less often.",
        lower="Epochs with no captions come more often. At 1 no caption is ever used. At 0 all are used.",
        unit="epochs",
        level="expert",
        place="subset",
        argument="caption_dropout_every_n_epochs",
        ge=0,
    )
    caption_tag_dropout_rate: float = described(
        0.0,
        label="Share of tags that are left out",
        what="Each tag is left out in this share of uses. Tags that stay in front are kept.",
        why="Use 0.1 if the LoRA only works with all tags of a caption at once.",
        higher="More tags are left out. Each tag then needs the others less.",
        lower="Fewer tags are left out. At 0 all are used.",
        unit="share from 0.0 to 1.0",
        place="subset",
        argument="caption_tag_dropout_rate",
        ge=0,
        le=1,
        advice=Advice(0, 0.5, "With few tags left, the LoRA learns little about words."),
    )
    token_warmup_min: int = described(
        1,
        label="Tags at the start of the training",
        what="The training starts with so many tags of each caption, if the number of tags grows.",
        why="Leave it at 1.",
        higher="The training starts with more tags.",
        lower="The training starts with fewer tags.",
        unit="tags",
        level="expert",
        place="subset",
        argument="token_warmup_min",
        ge=0,
    )
    token_warmup_step: float = described(
        0.0,
        label="Steps until all tags are used",
        what="The number of tags grows up to this step. Below 1 it is a share of all steps. 0 means at once.",
        why="Leave it at 0.",
        higher="It takes longer until all tags are used.",
        lower="All tags are used sooner. At 0 they are used from the first step on.",
        unit="steps, or a share of the training",
        level="expert",
        place="subset",
        argument="token_warmup_step",
        ge=0,
    )
    flip_aug: bool = described(
        False,
        label="Mirror half of the images",
        what="At each use an image is mirrored, left to right, half of the time.",
        why="Turn it on with few images. Leave it off for text, logos and faces that are not even.",
        higher="Few images teach more. Letters, and marks on one side, come out wrong.",
        lower="Images are used as they are.",
        place="subset",
        argument="flip_aug",
    )
    random_crop: bool = described(
        False,
        label="Cut images at a random place",
        what="What does not fit is cut off at a new place each time, not the same at all sides.",
        why="Leave it off. Images can then be made ready once, before the first step.",
        higher="More parts of an image are seen. Heads or feet may be cut off.",
        lower="The same is cut off at both sides. The middle of an image stays.",
        level="expert",
        place="subset",
        argument="random_crop",
    )
    color_aug: bool = described(
        False,
        label="Change colors a little",
        what="In a third of uses, the colors or the brightness are changed a little.",
        why="Leave it off. It is slow, and the LoRA may learn wrong colors.",
        higher="Colors vary a little. Each step is slower.",
        lower="Colors are learned as they are.",
        level="expert",
        place="subset",
        argument="color_aug",
    )
    alpha_mask: bool = described(
        False,
        label="Leave see-through parts out",
        what="Parts of an image that one can see through are not learned.",
        why="Turn it on if you cut out what is to be learned and saved it as png.",
        higher="Only what one cannot see through is learned.",
        lower="The whole image is learned, see-through parts too.",
        place="subset",
        argument="alpha_mask",
    )
    conditioning_data_dir: PathValue | None = described(
        None,
        label="Folder of masks",
        what="It holds a mask for each image, with the same name and size. "
        "White parts are learned, black parts are not.",
        why="Use it to leave out a background or a watermark.",
        place="subset",
        part="target",
        argument="conditioning_data_dir",
    )
    other: Mapping[str, Any] = Field(default_factory=dict)
    """Keys of sd-scripts that are not described here, as they stood in the file."""
