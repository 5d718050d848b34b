"""Which trainer can train what: one rule, asked by `enqueue` before a job is planned and by the fast trainer itself."""

from collections.abc import Mapping

FAST_ACTIVATIONS = ("relu", "tanh", "elu", "leaky_relu")
"""Activations whose derivative follows from their output, so that the backward pass needs nothing else."""

_COVERED: Mapping[str, tuple[object, ...]] = {
    "activation_fn": FAST_ACTIVATIONS,
    "policy": ("MlpPolicy",),
    "features_extractor_class": ("FlattenExtractor",),
    "share_features_extractor": (False,),
    "n_critics": (2,),
    "optimizer_class": ("Adam",),
    "optimizer_kwargs.amsgrad": (False,),
    "optimizer_kwargs.maximize": (False,),
    "optimizer_kwargs.capturable": (False,),
    "optimizer_kwargs.differentiable": (False,),
    "optimizer_kwargs.decoupled_weight_decay": (False,),
    "use_sde": (False,),
    "n_steps": (1,),
    "optimize_memory_usage": (False,),
    "observation_space": ("flat Box of floats",),
    "device": ("cpu",),
}


def uncovered_by_fast(options: Mapping[str, object]) -> list[str]:
    """Return one sentence for each of SAC's `options` that the fast trainer does not cover; none: it covers them all.

    Options bear the names of SB3's SAC and its policy (those of `policy_kwargs` without that prefix), classes are
    given by name. An option that the rule does not know, such as `gamma` or `net_arch`, is covered with any value.
    """
    return [
        f"{name} {value!r} is not covered by the fast trainer, which covers {_choices(_COVERED[name])}"
        for name, value in options.items()
        if name in _COVERED and value not in _COVERED[name]
    ]


def _choices(values: tuple[object, ...]) -> str:
    return " | ".join(repr(value) for value in values)
