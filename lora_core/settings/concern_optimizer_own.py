"""Settings that some optimizers own: Prodigy, Adafactor, CAME, Lion, schedule-free ones, SGD, Adam.

Covered: types, hard limits, starting values and help. Each starting value is that of the optimizer's own
package, so that nothing has to be written where nothing was changed; what comes with choosing an optimizer is
in `choices.py`. Not covered: what nearly every optimizer takes (see `concern_optimizer.py`).
"""

from typing import Any

from lora_core.settings._description import Advice, Concern, described
from lora_core.settings._owners import (
    ADAFACTOR,
    ADAMW,
    ADAMW_SCHEDULE_FREE,
    CAME,
    CAME_WITH_TWO_EPS,
    PLAIN_LION,
    PRODIGY,
    RADAM_SCHEDULE_FREE,
    SCHEDULE_FREE,
    SGD,
    SGD_SCHEDULE_FREE,
    torch_names,
)


def _of(*optimizers: str) -> dict[str, Any]:
    """What all of these descriptions share: who owns them, and where they are written."""
    return {"only": {"optimizer_type": optimizers}, "place": "optimizer_args", "level": "expert"}


class _Prodigy(Concern):
    """Prodigy, which finds the learning rate by itself."""

    d_coef: float = described(
        1.0,
        label="Prodigy: strength of its rate",
        what="Prodigy finds a rate, and this number multiplies it. The rate itself stays at 1.",
        why="Lower it if the pictures get harsh. Raise it if too little is learned.",
        higher="It learns faster, and it can break.",
        lower="It learns more slowly and more evenly.",
        **{**_of(*PRODIGY), "level": "advanced"},
        gt=0,
        # Prodigy's own text names 0.5 and 2.0 as good tries beside 1.0.
        advice=Advice(0.5, 2, "Its author names 1, and 0.5 or 2 to try."),
    )
    d0: float = described(
        1e-6,
        label="Prodigy: first rate",
        what="The rate that Prodigy starts its search from. It only grows from here.",
        why="Leave it as it is, unless the rate does not grow at all.",
        higher="The search starts at a larger rate, so it is done sooner.",
        lower="The search starts more carefully.",
        **_of(*PRODIGY),
        gt=0,
    )
    growth_rate: float | None = described(
        None,
        label="Prodigy: fastest growth",
        what="The rate may grow by this factor at each step at most. If it is empty, there is no such limit.",
        why="Try 1.02 if the rate jumps at the start. It then acts like a warm-up.",
        higher="The rate may grow faster.",
        lower="The rate grows more slowly.",
        **_of(*PRODIGY),
        gt=1,
    )
    decouple: bool = described(
        True,
        label="Prodigy: weight decay on its own",
        what="Pulls the LoRA back apart from the step itself, as AdamW does.",
        why="Leave it on.",
        higher="The weight decay acts as in AdamW.",
        lower="The weight decay is mixed into the step.",
        **_of(*PRODIGY),
    )
    use_bias_correction: bool = described(
        False,
        label="Prodigy: even out the first steps",
        what="Corrects the first steps, as Adam does. They are too small without it.",
        why="Turn it on for a LoRA. Most recipes do.",
        higher="The search for the rate starts more slowly.",
        lower="The first steps are left as they are.",
        **_of(*PRODIGY),
    )
    safeguard_warmup: bool = described(
        False,
        label="Prodigy: guard for a warm-up",
        what="Keeps the rate from growing too far while a warm-up goes on.",
        why="Turn it on if you use a warm-up.",
        higher="Steps of the warm-up count less in the search.",
        lower="All steps count the same.",
        **_of(*PRODIGY),
    )
    beta3: float | None = described(
        None,
        label="Prodigy: third beta",
        what="How long the search for the rate looks back. If it is empty, the root of the second "
        "beta is used.",
        why="Leave it empty.",
        higher="It looks back longer.",
        lower="It forgets sooner.",
        **_of(*PRODIGY),
        ge=0,
        lt=1,
    )
    slice_p: int = described(
        1,
        label="Prodigy: use each nth number",
        what="The search looks at each nth number of the LoRA only. 1 looks at all.",
        why="Set it to 11 if memory is short. The rate is then a bit less exact.",
        higher="Less memory is used, and the rate is less exact.",
        lower="More memory is used, and the rate is more exact.",
        **_of(*PRODIGY),
        ge=1,
    )


class _Adafactor(Concern):
    """Adafactor, which needs little memory; one of its numbers is CAME's too."""

    relative_step: bool = described(
        True,
        label="Adafactor: find its own rate",
        what="Adafactor sets the rate by itself. Your rates and the course of the rate are then not used.",
        why="Turn it off to set the rate yourself. Recipes for LoRA do so.",
        higher="Your rates and the course of the rate are not used.",
        lower="Your rates and the course of the rate count.",
        **{**_of(*ADAFACTOR), "level": "advanced"},
    )
    scale_parameter: bool = described(
        True,
        label="Adafactor: scale by the weights",
        what="Makes the steps of a layer larger if its numbers are large.",
        why="Turn it off if you set the rate yourself.",
        higher="Large layers take larger steps.",
        lower="The rate acts as it stands.",
        **_of(*ADAFACTOR),
    )
    warmup_init: bool = described(
        False,
        label="Adafactor: start slowly",
        what="The rate that Adafactor finds grows from almost zero. It finds its own rate then in any case.",
        why="Leave it off if you set the rate yourself.",
        higher="The training starts slowly, and your rates are not used.",
        lower="The training starts at once.",
        **_of(*ADAFACTOR),
    )
    clip_threshold: float = described(
        1.0,
        label="Limit inside the optimizer",
        what="Cuts large steps before they are taken. It is a limit of Adafactor's and CAME's own.",
        why="Leave it at 1.",
        higher="Large steps count more.",
        lower="Large steps are cut more.",
        **_of(*ADAFACTOR, *CAME),
        gt=0,
    )
    decay_rate: float = described(
        -0.8,
        label="Adafactor: how fast it forgets",
        what="How the time that Adafactor looks back grows through the training.",
        why="Leave it at -0.8.",
        higher="It forgets sooner.",
        lower="It looks back longer.",
        **_of(*ADAFACTOR),
        le=0,
    )
    beta1: float | None = described(
        None,
        label="Adafactor: look back at steps",
        what="Mixes each step with the ones before, as AdamW does. If it is empty, this is off.",
        why="Leave it empty, as it needs more memory.",
        higher="Steps are more even.",
        lower="New pictures count more.",
        **_of(*ADAFACTOR),
        ge=0,
        lt=1,
    )


class _Came(Concern):
    """CAME of the packages that name its two small numbers apart."""

    eps1: float = described(
        1e-30,
        label="CAME: first epsilon",
        what="A tiny number that keeps CAME from dividing by zero.",
        why="Leave it as it is.",
        higher="Very small steps get smaller still.",
        lower="Very small steps stay as they are.",
        **_of(*CAME_WITH_TWO_EPS),
        gt=0,
    )
    eps2: float = described(
        1e-16,
        label="CAME: second epsilon",
        what="A tiny number that keeps the trust in a step from being none at all.",
        why="Leave it as it is.",
        higher="Steps that CAME trusts little get smaller.",
        lower="Steps that CAME trusts little stay as they are.",
        **_of(*CAME_WITH_TWO_EPS),
        gt=0,
    )


class _ScheduleFree(Concern):
    """Schedule-free optimizers, which need no course of the rate."""

    warmup_steps: int = described(
        0,
        label="Schedule-free: warm-up",
        what="The rate grows from zero during so many steps. This warm-up is the optimizer's own.",
        why="Use some 5 percent of the steps for a calmer start.",
        higher="The start is slower and calmer.",
        lower="The training learns in full from the start.",
        unit="steps",
        **{**_of(*ADAMW_SCHEDULE_FREE, *SGD_SCHEDULE_FREE), "level": "advanced"},
        ge=0,
    )
    r: float = described(
        0.0,
        label="Schedule-free: weight of later steps",
        what="How much later steps count in the average that is saved. 0 weighs all the same.",
        why="Leave it at 0.",
        higher="Later steps count more.",
        lower="All steps count more alike.",
        **_of(*SCHEDULE_FREE),
        ge=0,
    )
    weight_lr_power: float = described(
        2.0,
        label="Schedule-free: weight of the warm-up",
        what="How much less the steps of the warm-up count in the average.",
        why="Leave it at 2.",
        higher="Steps of the warm-up count less.",
        lower="Steps of the warm-up count more. At 0 they count in full.",
        **_of(*SCHEDULE_FREE),
        ge=0,
    )
    silent_sgd_phase: bool = described(
        True,
        label="Schedule-free: wait at first",
        what="RAdam skips its first few steps, until it knows how large a step may be.",
        why="Leave it on.",
        higher="The first few steps change nothing.",
        lower="The first few steps are plain ones.",
        **_of(*RADAM_SCHEDULE_FREE),
    )


class OptimizerArguments(_ScheduleFree, _Came, _Adafactor, _Prodigy):
    """What one optimizer has and others do not."""

    momentum: float | None = described(
        None,
        label="Momentum",
        what="How much of the last step goes on into the next. If it is empty, the optimizer's own is used.",
        why="With SGD, 0.9 is common.",
        higher="Steps are more even and go on longer.",
        lower="Each step stands more on its own.",
        **_of(*SGD, *SGD_SCHEDULE_FREE, *torch_names("RMSprop")),
        ge=0,
        lt=1,
        advice=Advice(0, 0.99, "0.9 is common."),
    )
    dampening: float = described(
        0.0,
        label="SGD: weaker new steps",
        what="Takes this share away from what is new in each step. It cannot go with Nesterov.",
        why="Leave it at 0.",
        higher="What is new counts less.",
        lower="What is new counts more.",
        **_of(*torch_names("SGD")),
        ge=0,
        le=1,
    )
    nesterov: bool = described(
        False,
        label="SGD: look ahead",
        what="Takes each step from where the last one leads. It needs a momentum.",
        why="Turn it on if a recipe names Nesterov.",
        higher="The way bends sooner.",
        lower="Plain momentum is used.",
        **_of(*torch_names("SGD")),
    )
    amsgrad: bool = described(
        False,
        label="Adam: never grow a step again",
        what="Keeps the largest mistake in mind, so that steps only get smaller. It is called AMSGrad.",
        why="Leave it off, unless a recipe names it.",
        higher="Steps get smaller over time, and more memory is used.",
        lower="Steps may grow again.",
        **_of(*ADAMW, *torch_names("Adam")),
    )
    decoupled_weight_decay: bool = described(
        False,
        label="Weight decay apart from the rate",
        what="Pulls the LoRA back apart from the step itself. With Lion, the rate then does not scale it.",
        why="Leave it off, unless a recipe names it.",
        higher="The weight decay acts on its own.",
        lower="The weight decay acts through the step or the rate.",
        **_of(*PLAIN_LION, *torch_names("Adam", "NAdam", "RAdam")),
    )
