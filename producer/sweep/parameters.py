"""What a sweep file may fix or search, in whose words, and what is refused with which reason."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from producer.sweep.document import KeyPath, Problem, shown
from producer.sweep.search import Value
from worker.contract.environments import PROVEN, wrong_keyword
from worker.contract.job import Hyperparameters

KWARGS: Final = "env.kwargs."
SCALAR_WORDS: Final = "a word, a number, true or false"
"""What a keyword argument of an environment may be."""
ONE_MINUS_GAMMA: Final = "one_minus_gamma"
"""The zoo's way to search gamma: the distance to 1, so that log spreads it well."""

ALLOWED: Final[Mapping[str, str]] = {
    "learning_rate": "a number above 0 and at most 1, or lin_X (from X straight down to 0, for example lin_7.3e-4)",
    "buffer_size": "a whole number from 1,000 to 2,000,000",
    "learning_starts": "a whole number from 0 to 1,000,000",
    "batch_size": "a whole number from 1 to 4,096",
    "tau": "a number above 0 and at most 1",
    "gamma": "a number above 0 and at most 1",
    "train_freq": "a whole number from 1 to 10,000 (steps), or [n, episode] with n from 1 to 10",
    "gradient_steps": "a whole number from 1 to 10,000, or -1 (one update a step)",
    "ent_coef": "a number from 0 to 100, auto, or auto_X with a first value X above 0 and at most 100",
    "target_entropy": "a number from -1,000 to 1,000, or auto (minus the number of actions)",
    "target_update_interval": "a whole number from 1 to 100,000",
    "policy_kwargs.net_arch": "a list of 1 to 4 widths from 1 to 1,024, or {pi: [...], qf: [...]} of such lists",
    "policy_kwargs.activation_fn": "relu, tanh, elu or leaky_relu",
}
"""Every hyperparameter, with what it may be. The bounds are those of the contract; a test compares them."""

INTEGERS: Final = frozenset(
    {"buffer_size", "learning_starts", "batch_size", "train_freq", "gradient_steps", "target_update_interval"}
)
NUMBERS: Final = INTEGERS | {"learning_rate", "tau", "gamma", "ent_coef", "target_entropy", ONE_MINUS_GAMMA}
"""Hyperparameters that a range makes sense for."""

_CONTAINERS = ("policy_kwargs", "env", "env.kwargs")
_INEXACT = "cannot be resumed bit for bit yet, and is therefore refused"

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("use_sde", "sde_sample_freq", "use_sde_at_warmup", "log_std_init", "use_expln"), f"gSDE {_INEXACT}"
    ),
    **dict.fromkeys(("normalize", "normalize_kwargs", "vec_normalize"), f"VecNormalize {_INEXACT}"),
    **dict.fromkeys(("n_envs", "vec_env_class", "vec_env_wrapper"), f"more than one environment in a job {_INEXACT}"),
    **dict.fromkeys(("action_noise", "noise_type", "noise_std"), f"action noise {_INEXACT}"),
    "optimize_memory_usage": f"the memory-saving replay buffer {_INEXACT}",
    **dict.fromkeys(("replay_buffer_class", "replay_buffer_kwargs"), f"another replay buffer (HER, …) {_INEXACT}"),
    "n_steps": f"n-step returns {_INEXACT}",
    **dict.fromkeys(("env_wrapper", "frame_stack", "history"), f"an environment wrapper {_INEXACT}"),
    "callback": f"a callback of your own {_INEXACT}",
    "policy": "every job uses MlpPolicy",
    "n_timesteps": "write timesteps, at the top of the file",
    "seed": "write seeds, at the top of the file",
    "device": "every job trains on one CPU core",
    **dict.fromkeys(
        (
            "n_critics",
            "share_features_extractor",
            "features_extractor_class",
            "features_extractor_kwargs",
            "optimizer_class",
            "optimizer_kwargs",
            "normalize_images",
            "clip_mean",
        ),
        "of policy_kwargs only net_arch and activation_fn are taken",
    ),
    **dict.fromkeys(
        ("verbose", "tensorboard_log", "stats_window_size", "monitor_kwargs"), "this does not change what is trained"
    ),
}
"""Options of SB3 and the zoo that a file may bring along, and why they are not taken."""


def unknown_key(key: str, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """Return what to say of a key that is not taken here; `elsewhere` tells where a known key belongs."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf in REFUSED:
        return f"{REFUSED[leaf]}; leave it out"
    if elsewhere and key in elsewhere:
        return elsewhere[key]
    known = sorted(known)
    close = difflib.get_close_matches(key, known, 1) or difflib.get_close_matches(key, sorted(elsewhere or ()), 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}Known here: {', '.join(known)}"


def flattened(content: Mapping[str, Any], path: KeyPath = (), prefix: str = "") -> Iterator[tuple[str, Any, KeyPath]]:
    """Yield dotted key, value and place of everything in a mapping; `policy_kwargs` and `env` may be nested."""
    for key, value in content.items():
        name = prefix + key
        if name in _CONTAINERS and isinstance(value, Mapping):
            yield from flattened(value, (*path, key), name + ".")
        else:
            yield name, value, (*path, key)


def wrong_name(name: str, environment: str, *, searched: bool) -> str | None:
    """Return what is wrong with a parameter's name, or None. `searched`: it may also be of the environment."""
    if name == "policy_kwargs":
        return "must be keys of its own: {net_arch: [400, 300], activation_fn: relu}"
    if name in ALLOWED:
        return None
    if not searched:
        belongs = {ONE_MINUS_GAMMA: "belongs under space; fix gamma instead"}
        return unknown_key(name, ALLOWED, belongs)
    if name in {ONE_MINUS_GAMMA, "timesteps"}:
        return None
    if name.startswith(KWARGS):
        proven = PROVEN.get(environment)
        keyword = name.removeprefix(KWARGS)
        known = (*proven.flags, *proven.numbers) if proven else (keyword,)
        return None if keyword in known else unknown_key(name, [KWARGS + word for word in known])
    if name == "env" or name.startswith("env."):
        return "one sweep is about one environment; only its env.kwargs.… can be searched"
    return unknown_key(name, [*ALLOWED, ONE_MINUS_GAMMA, "timesteps", "env.kwargs.…"])


def checked(name: str, value: Any, environment: str, path: KeyPath) -> tuple[Value, Problem | None]:
    """Return a parameter's value in its one spelling, and what is wrong with it, if anything."""
    if name == ONE_MINUS_GAMMA:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
            return value, None
        return value, Problem(path, f"{shown(value)} is not allowed; it must be a number from 0 to below 1")
    if name == "timesteps":
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 50_000_000:
            return value, None
        return value, Problem(path, f"{shown(value)} is not allowed; it must be a whole number from 1 to 50,000,000")
    if name.startswith(KWARGS):
        return _checked_keyword(name.removeprefix(KWARGS), value, environment, path)
    try:
        normal = _hyperparameter(name, value)
    except (ValidationError, TypeError):
        return value, Problem(path, f"{shown(value)} is not allowed; it must be {ALLOWED[name]}")
    return normal, None


def _checked_keyword(name: str, value: Any, environment: str, path: KeyPath) -> tuple[Value, Problem | None]:
    proven = PROVEN.get(environment)
    if proven is None:
        if isinstance(value, bool | int | float | str):
            return value, None
        return value, Problem(path, f"{shown(value)} is not allowed; it must be {SCALAR_WORDS}")
    wrong = wrong_keyword(proven, name, value)
    if wrong:
        return value, Problem(path, wrong)
    return (float(value) if name in proven.numbers else value), None


def _hyperparameter(name: str, value: Any) -> Value:
    if isinstance(value, bool):
        raise TypeError("true and false are no hyperparameters")
    outer, _, inner = name.partition(".")
    model = Hyperparameters.model_validate({outer: {inner: value} if inner else value})
    content = model.model_dump(mode="json")[outer]
    normal: Value = content[inner] if inner else content
    if name == "train_freq" and isinstance(normal, list) and normal[1] == "step":
        return int(normal[0])  # train_freq: [4, step] is 4, and a job has one id
    return normal


def nested(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return hyperparameters with dotted keys as SB3 takes them."""
    content: dict[str, Any] = {}
    for name, value in values.items():
        outer, _, inner = name.partition(".")
        if inner:
            content.setdefault(outer, {})[inner] = value
        else:
            content[outer] = value
    return content
