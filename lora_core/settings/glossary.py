"""The words of the field that labels and help use, each told in one or two plain sentences.

Covered: `TERMS`, and `terms_in`, which finds them in a text. Not covered: the settings themselves,
which tell in their own help what they do.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

_MODELS: Final = {
    "LoRA": "A small file that teaches a base model something new. The two are used together. LoRA+ is a way "
    "to train it.",
    "base model": "The finished model that a LoRA is trained on, such as SD 1.5 or SDXL. Its file is "
    "also called a checkpoint.",
    "SD 1.5": "An older and small kind of base model. It is made for pictures of 512 by 512 pixels.",
    "SDXL": "A larger kind of base model, made for pictures of 1024 by 1024 pixels. Pony, Illustrious and "
    "NoobAI are models of this kind.",
    "Pony": "A base model of the SDXL kind, made for drawings. Its captions are tags.",
    "Illustrious": "A base model of the SDXL kind, made for anime drawings. Its captions are tags.",
    "NoobAI": "A base model of the SDXL kind, made for anime drawings. There is an epsilon model and one for "
    "v-prediction.",
    "v-prediction": "A v model guesses a mix of noise and picture, which is called v. Most models are of "
    "the epsilon kind and guess the noise.",
    "epsilon": "A base model of this kind guesses the noise. In an optimizer, epsilon is a tiny number that "
    "keeps it from dividing by zero.",
    "zero terminal SNR": "At the last noise level, nothing of the picture is left. Some base models are made "
    "in this way, most are not.",
    "U-Net": "The part of a model that draws. It takes the noise out of a picture, a bit at a time.",
    "text encoder": "The part of a model that reads your words and turns them into numbers.",
    "VAE": "The part of a model that turns pictures into latents and back.",
    "latent": "The small inner form of a picture, made by the VAE. A model works on latents, as they need "
    "far less memory.",
    "token": "A piece of text as a model reads it. A word is one token or more.",
    "tokenizer": "The part that cuts a text into tokens. It has a list of all the pieces that it knows.",
    "clip skip": "Which layer of the text encoder is used, counted from its end. 1 is the last layer.",
    "layer": "One of the many parts of a model that work one after the other.",
    "block": "Some layers of the U-Net that belong together.",
    "convolution": "A layer that looks at small patches of a picture, such as 3 by 3 points. It is also "
    "called an image filter.",
    "weight": "One of the many numbers in a model or a LoRA. The word also tells how much something counts.",
    "checkpoint": "A model or a LoRA as it was saved in a file. Gradient checkpointing is something else.",
    "metadata": "Notes inside a LoRA file, such as a title, the trigger word and the settings.",
    "precision": "How exactly numbers are kept. More exact numbers need more memory.",
    "fp16": "Numbers of 16 bits, with half the memory of full ones. Very large numbers do not fit in.",
    "bf16": "Numbers of 16 bits, with half the memory of full ones. They are less exact than fp16, but large "
    "numbers fit in.",
    "fp8": "Numbers of 8 bits, with half the memory of fp16. They are much less exact.",
    "GPU": "The chip on the graphics card. It trains far faster than the CPU.",
    "GPU memory": "The memory on the graphics card, also called VRAM. A training stops if it needs more than "
    "there is.",
    "CPU": "The main chip of a computer. It can train too, but it is slow.",
    "sd-scripts": "A trainer made by kohya-ss. Its names of settings and its files are used here too.",
    "diffusers": "A package that runs and trains image models. The built-in trainer is made with it.",
}

_NEWER_MODELS: Final = {
    "SD 2.x": "An older kind of base model, made after SD 1.5. Few people use it today.",
    "SD3": "A newer kind of base model. It reads captions with CLIP-L, CLIP-G and T5.",
    "FLUX": "A large kind of base model. It reads captions with CLIP-L and T5.",
    "Chroma": "A base model made from FLUX. It reads captions with T5 alone.",
    "Lumina": "A kind of base model. It reads captions with a small model for text, Gemma 2.",
    "HunyuanImage": "A large kind of base model. It can also write words into a picture.",
    "Anima": "A kind of base model. It reads captions with a small model for text, Qwen 3.",
    "CLIP-L": "A small text encoder of many base models. CLIP-G is a larger one of its kind.",
    "T5": "A large text encoder of newer base models.",
    "autoencoder": "Another name for the VAE, used for FLUX.",
    "attention": "The layers of a model that find out which parts of a picture or a text belong together.",
    "MLP": "Plain layers of a model that work on each part of a picture or a text on its own.",
    "modulation": "Layers that tell a block how much noise is left.",
    "refiner": "A few blocks of Lumina that make the noise or the text ready for the others.",
    "guidance": "How closely a model follows the prompt.",
    "GGPO": "A way to add noise to the weights of a LoRA while it learns.",
    "DeepSpeed": "A package that spreads the work over several cards, or over other memory.",
    "Hugging Face": "A place on the net where people share models.",
}

_NETWORKS: Final = {
    "rank": "How many inner numbers a LoRA has for each layer. A higher rank holds more and makes a larger "
    "file.",
    "alpha": "A number that scales what the LoRA has learned. The scale is alpha divided by rank.",
    "network": "What is trained beside the base model. Kinds of it are LoRA, LoRA-FA, DyLoRA, OFT and those "
    "of LyCORIS.",
    "LoRA+": "A LoRA has two halves. With LoRA+ the second one learns at a higher rate.",
    "LoRA-FA": "A LoRA of which one half stays as it was at the start. It needs less memory.",
    "DyLoRA": "A LoRA that is trained for many ranks at once. It can be cut to a smaller rank later.",
    "OFT": "It turns the weights of a model and leaves their size as it is.",
    "LyCORIS": "A package with more kinds of LoRA, such as LoCon, LoHa and LoKr. Not every program can load "
    "them.",
    "LoCon": "A LoRA that also changes the image filters of a model. They are called convolutions.",
    "LoHa": "A kind of LoRA from LyCORIS. It can hold more than a plain LoRA of the same rank.",
    "LoKr": "A kind of LoRA from LyCORIS. Its files can be very small.",
    "DoRA": "A LoRA that learns the size and the direction of each weight apart. It takes longer.",
    "dropout": "A part is left out at each step, and chance says which. This can help against overfitting.",
}

_LEARNING: Final = {
    "learning rate": "How large each step of learning is. If it is too high, pictures break. If it is too "
    "low, little is learned.",
    "optimizer": "The rule that turns a gradient into a step. AdamW is the usual one. Others are Prodigy, "
    "Adafactor, Lion, CAME and SGD.",
    "AdamW": "The usual optimizer. It needs a learning rate that you set. It is a form of Adam.",
    "Adam": "An optimizer that gives each weight steps of its own size. AdamW and RAdam are forms of it.",
    "RAdam": "A form of Adam that starts more carefully, so that it needs no warm-up.",
    "SGD": "A plain optimizer that most LoRA recipes do not use. It mostly goes with momentum.",
    "Prodigy": "An optimizer that finds the learning rate by itself. The rate that you set multiplies what "
    "it finds, so leave it at 1.",
    "Adafactor": "An optimizer that needs less memory than AdamW.",
    "Lion": "An optimizer that needs less memory than AdamW. It needs a lower learning rate, too.",
    "CAME": "An optimizer that needs little memory. It needs a lower learning rate than AdamW.",
    "schedule-free": "An optimizer of this kind needs no schedule. It ignores one that is set.",
    "gradient": "It tells for each weight in which direction to move, so that the loss gets smaller.",
    "gradient accumulation": "Some batches are added up for one step. It acts like a larger batch and needs "
    "no more memory.",
    "gradient checkpointing": "What is worked out on the way is forgotten, and worked out again when it is "
    "needed. It saves much GPU memory and takes time.",
    "betas": "They say how long an optimizer looks back. This is also called momentum.",
    "momentum": "An optimizer with momentum goes on for a while in the direction of its last steps. "
    "Nesterov is a form of it.",
    "Nesterov": "A form of momentum. Each step is taken from where the last one leads.",
    "weight decay": "Each weight is pulled back to zero by a tiny bit at each step.",
    "schedule": "How the learning rate moves in the training. It often starts with a warm-up and ends with a "
    "fall. A schedule-free optimizer needs none.",
    "cosine": "A schedule that falls slowly, then faster, then slowly again, down to zero.",
    "warm-up": "The first part of a training, in which the learning rate grows from zero.",
    "cycle": "One fall of the learning rate. Some schedules have more than one.",
    "epoch": "One pass through all images with their repeats.",
    "step": "One small change of the LoRA. It learns from one batch, or from more with gradient "
    "accumulation.",
    "batch": "The images that are learned from at the same time.",
    "repeat": "An image with 5 repeats is used 5 times in each epoch.",
    "loss": "A number that tells how wrong the model's guesses are. Training makes it smaller.",
    "Huber": "A way to measure mistakes. Large ones count less than with l2.",
    "overfitting": "The LoRA has learned your images by heart. It then draws them again, whatever the "
    "prompt says.",
    "seed": "The number that chance starts from. The same seed gives the same result again.",
    "noise": "Chance dots that hide a picture. A model learns to take them away.",
    "noise level": "How much noise hides a picture. Level 0 is almost none, and level 999 is almost noise "
    "alone. It is also called a timestep.",
    "noise offset": "A part of the noise that is the same for the whole picture. It teaches very dark and "
    "very bright pictures.",
    "coarse noise": "Noise in large patches, added to the fine one. It is also called multires noise or "
    "pyramid noise.",
    "SNR": "Signal to noise ratio: how strong the picture is beside the noise.",
    "min-SNR": "A rule that makes steps with little noise count less, so that all noise levels are learned "
    "well.",
    "sample": "A picture that is drawn while the training goes on. It shows what has been learned.",
    "sampler": "The method that draws a picture from noise.",
    "validation": "A test on images that are not learned from. It shows overfitting.",
    "state": "All that is needed to go on with a training: the LoRA, the optimizer and how far it was.",
}

_IMAGES: Final = {
    "trigger word": "The word in a prompt that makes the LoRA draw what it has learned.",
    "prompt": "The words that tell a model what to draw.",
    "caption": "The text that says what an image shows. It stands in a file next to the image.",
    "tag": "A short word or name in a caption, such as blue hair. Tags have commas between them.",
    "class images": "Images of other things of the same kind, such as any dog. They keep what the model "
    "knows. They are also called regularization images.",
    "mask": "A black and white picture that says which parts of an image are learned.",
    "bucket": "A group of images of the same size and shape. The images of a batch come from one bucket.",
    "dataset": "All images of a training with their captions.",
    "recipe": "How to train: the rates, the length, the noise and so on. It does not say what to train.",
    "wildcard": "A place in a caption where one of some words is picked at each use.",
}

TERMS: Final[Mapping[str, str]] = MappingProxyType(
    {**_MODELS, **_NEWER_MODELS, **_NETWORKS, **_LEARNING, **_IMAGES}
)
"""Each term and its meaning."""

_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "SD 1.5": ("SD 1.x",),
    "SD 2.x": ("Stable Diffusion 2",),
    "CLIP-L": ("CLIP-G",),
    "v-prediction": ("v prediction", "v model", "v-pred", "predicts v", "guess v"),
    "zero terminal SNR": ("zero-terminal SNR",),
    "U-Net": ("UNet", "image part", "part that draws"),
    "text encoder": ("text part", "part that reads your words"),
    "clip skip": ("clip-skip",),
    "convolution": ("image filter",),
    "fp8": ("float8", "8 bit", "8-bit"),
    "GPU": ("graphics card", "card"),
    "GPU memory": ("VRAM", "memory of your card", "memory of the card", "memory on the card"),
    "learning rate": ("rate",),
    "schedule": ("scheduler", "course of the rate", "course of the learning rate"),
    "schedule-free": ("schedule free", "ScheduleFree"),
    "warm-up": ("warmup", "warm up"),
    "betas": ("beta",),
    "loss": ("mistake",),
    "overfitting": ("overfit", "by heart"),
    "noise level": ("timestep",),
    "coarse noise": ("coarser noise", "multires noise", "pyramid noise", "coarse layer"),
    "min-SNR": ("min SNR",),
    "checkpoint": ("checkpoint file",),
    "metadata": ("in the file",),
    "validation": ("held back",),
    "class images": (
        "class image", "images of the class", "regularization image", "regularisation image",
    ),
    "gradient accumulation": ("accumulation",),
    "wildcard": ("choices in captions",),
}  # fmt: skip
"""Other words that mean the same term."""

_CODE: Final = re.compile(r"`[^`]*`")
"""Key names: they are looked up, not explained."""


@cache
def _spellings() -> Mapping[str, str]:
    """Each way to write a term, in small letters, and the term itself."""
    found = {term.lower(): term for term in TERMS}
    for term, others in _ALSO.items():
        found |= {other.lower(): term for other in others}
    return found


@cache
def _pattern() -> re.Pattern[str]:
    # The longest first: "learning rate" is one term, and so is "gradient checkpointing".
    longest_first = sorted(_spellings(), key=len, reverse=True)
    words = "|".join(re.escape(spelling).replace(r"\ ", r"\s+") for spelling in longest_first)
    return re.compile(rf"(?<!\w)({words})(?:e?s)?(?!\w)", re.IGNORECASE)


def terms_in(text: str) -> list[str]:
    """The terms that `text` uses, each once, in the order of their first use.

    Whole words count, plurals and other names of a term too. Where one term holds another, the longer
    one counts alone. Names of keys, written as code, are passed over.
    """
    hits = _pattern().findall(_CODE.sub(" ", text))
    return list(dict.fromkeys(_spellings()[" ".join(hit.lower().split())] for hit in hits))
