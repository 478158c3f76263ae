"""What settings say of themselves: both directions, plain words, and a meaning for each term of the field."""

import re
from itertools import chain

import pytest
from reading import HIGHEST_GRADE, grade

from lora_core.settings import TERMS, Setting, catalogue, terms_in

EVERY = pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)
WITH_AN_ORDER = {"flag", "whole", "number", "steps_or_share", "pair", "numbers", "size"}

FIELD_WORDS = re.split(
    r",\s+",
    "LoRA, LoCon, LoHa, LoKr, DoRA, LyCORIS, rank, alpha, SD 1.5, SDXL, Pony, Illustrious, NoobAI, LoRA+, "
    "LoRA-FA, DyLoRA, OFT, SGD, Nesterov, Adam, RAdam, recipe, network, base "
    "model, checkpoint, v-prediction, epsilon, zero terminal SNR, U-Net, text encoder, VAE, latent, "
    "token, tokenizer, clip skip, layer, block, convolution, weight, metadata, precision, fp16, bf16, "
    "fp8, GPU, GPU memory, VRAM, CPU, dropout, learning rate, optimizer, AdamW, Prodigy, Adafactor, Lion, "
    "CAME, schedule-free, gradient, gradient accumulation, gradient checkpointing, betas, momentum, "
    "weight decay, schedule, scheduler, cosine, warm-up, cycle, epoch, step, batch, bucket, repeat, loss, "
    "Huber, overfitting, seed, noise, noise level, timestep, noise offset, min-SNR, SNR, sample, sampler, "
    "validation, state, trigger word, prompt, caption, tag, class images, regularization images, "
    "regularisation images, mask, dataset, wildcard, diffusers, sd-scripts",
)
"""Words of the field, written down apart from the glossary."""


def texts(s: Setting) -> dict[str, str]:
    """All that a user may read about a setting, by the part of its description."""
    found = {"what": s.what, "why": s.why, "higher": s.higher, "lower": s.lower}
    return found | ({"advice": s.advice.reason} if s.advice else {})


def everything_said() -> str:
    return "\n".join(chain.from_iterable((s.label, s.unit, *texts(s).values()) for s in catalogue()))


@EVERY
def test_a_setting_says_what_both_directions_do_where_there_are_two(s: Setting) -> None:
    if s.kind in WITH_AN_ORDER:
        assert s.higher, "say what a higher value, or switching it on, does"
        assert s.lower, "say what a lower value, or switching it off, does"
    assert bool(s.higher) == bool(s.lower), "one direction alone leaves a reader to guess"
    assert s.higher != s.lower or not s.higher
    # Forms and docs put "Higher" or "Turned on" in front themselves.
    assert not re.match(
        r"(?:Turned )?(?:on|off|higher|lower)\b *:", f"{s.higher}\n{s.lower}", re.IGNORECASE | re.MULTILINE
    )


@EVERY
def test_each_text_of_a_setting_is_made_of_whole_sentences(s: Setting) -> None:
    for part, text in texts(s).items():
        if text:
            assert text.endswith("."), part
            assert text == " ".join(text.split()), f"{part} has stray blanks"
            assert not re.match(r"[a-z](?![\w]*\d)", text) or text.startswith("diffusers"), part


@EVERY
def test_each_text_of_a_setting_reads_at_grade_eight_or_below(s: Setting) -> None:
    grades = {part: grade(text) for part, text in texts(s).items() if text}
    grades["all"] = grade(" ".join([f"{s.label}.", *texts(s).values()]))
    assert {part: value for part, value in grades.items() if value > HIGHEST_GRADE} == {}


def test_a_word_of_the_field_that_help_uses_has_an_entry() -> None:
    said = everything_said()
    used = [
        word
        for word in FIELD_WORDS
        if re.search(rf"(?<!\w){re.escape(word)}(?:e?s)?(?!\w)", said, re.IGNORECASE)
    ]
    assert len(used) > 60
    assert [word for word in used if not terms_in(word)] == []


def test_each_entry_of_the_glossary_is_used_by_help_or_by_another_entry() -> None:
    used = set(terms_in(everything_said()))
    for term, meaning in TERMS.items():
        used |= set(terms_in(meaning)) - {term}
    assert sorted(TERMS.keys() - used) == []


@pytest.mark.parametrize(("term", "meaning"), TERMS.items(), ids=lambda text: str(text)[:20])
def test_an_entry_is_one_to_three_plain_sentences(term: str, meaning: str) -> None:
    assert 1 <= len(re.findall(r"\.(?=\s|$)", meaning)) <= 3
    assert meaning[0].isupper() or meaning.startswith(term)
    assert grade(meaning) <= HIGHEST_GRADE, f"grade {grade(meaning):.1f}"


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_found_by_its_own_name(term: str) -> None:
    assert terms_in(f"The {term} counts.") == [term]


def test_whole_words_and_plurals_count_and_the_longest_term_wins() -> None:
    assert terms_in("The learning rates of both text encoders.") == ["learning rate", "text encoder"]
    assert terms_in("gradient  checkpointing") == ["gradient checkpointing"]
    assert terms_in("Two batches, two Batches, a batch.") == ["batch"]
    assert terms_in("stepwise, retagged, unmasked, statement") == []


def test_other_names_lead_to_the_same_term() -> None:
    assert terms_in("VRAM") == ["GPU memory"]
    assert terms_in("timesteps") == ["noise level"]
    assert terms_in("regularisation images") == ["class images"]
    assert terms_in("warmup") == ["warm-up"]


def test_names_of_keys_are_no_words_of_a_text() -> None:
    assert terms_in("Set `network alpha` and `batch`.") == []
    assert grade("Set `gradient_checkpointing_of_everything` on.") == grade("Set on.")
