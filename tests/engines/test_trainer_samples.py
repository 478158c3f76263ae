"""Samples that are drawn while a run goes on."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from trainer_rig import Ears, Rig, Trained, losses


# diffusers 0.42 asks NumPy 2 for an array in a way that NumPy will stop allowing.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_samples_are_drawn_when_asked_and_are_the_same_for_the_same_lora(rig: Rig, train: Trained) -> None:
    folder = rig.folder(
        max_train_steps=3,
        learning_rate=0.0,
        sample_at_first=True,
        sample_every_n_steps=3,
        sample_prompts=["a cat --w 64 --h 96 --s 2 --d 5", "a dog --w 64 --h 64 --s 2 --ss euler_a"],
    )
    train(folder, Ears(takes={2: "sample"}))
    files = sorted((folder / "samples").iterdir())
    parts = [file.stem.split("_") for file in files]
    assert [(part[1], part[2], part[4]) for part in parts] == [
        (f"{step:06d}", prompt, seed) for step in (0, 2, 3) for prompt, seed in (("00", "5"), ("01", "7"))
    ]
    for prompt, shape in ((0, (96, 64, 3)), (1, (64, 64, 3))):
        drawn = [np.asarray(Image.open(BytesIO(file.read_bytes()))) for file in files[prompt::2]]
        assert drawn[0].shape == shape
        assert all(np.array_equal(drawn[0], each) for each in drawn)


def test_drawing_samples_changes_no_loss(rig: Rig, train: Trained) -> None:
    plain, drawn = (
        rig.folder("plain"),
        rig.folder(
            "drawn",
            sample_at_first=True,
            sample_every_n_steps=1,
            sample_prompts=["a cat --w 64 --h 64 --s 1"],
        ),
    )
    train(plain)
    train(drawn)
    assert losses(plain) == losses(drawn)


def test_a_sample_that_cannot_be_drawn_is_noted_and_the_run_goes_on(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers.samples import Samples

    def no_memory(_self: Samples) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Samples, "_ready", no_memory)
    ears = Ears()
    path = train(rig.folder(sample_at_first=True, sample_prompts=["a cat"]), ears)
    assert path.is_file()
    assert ears.notes == ["Sample 1 at step 0 was not drawn: out of memory."]
