"""A sweep file is read in its users' words, and every mistake in it is named."""

import re

import pytest

from producer.sweep.document import InvalidFile, parse_document
from producer.sweep.parameters import ALLOWED, INTEGERS, NUMBERS, ONE_MINUS_GAMMA, REFUSED
from producer.sweep.search import ZOO, Choices, Range
from producer.sweep.sweep_file import SweepFile, parse_sweep_file
from worker.contract.job import Hyperparameters

TOP = "name: s\nenv: LunarLanderContinuous-v3\ntimesteps: 1000\nseeds: [0]\n"


def read(text: str) -> SweepFile:
    return parse_sweep_file(parse_document("s.yaml", text.encode()))


def complaint(text: str) -> str:
    with pytest.raises(InvalidFile) as caught:
        read(text)
    return str(caught.value)


def top(**changes: str) -> str:
    """Return the four keys that every file has, with some changed, left out ("") or added."""
    keys = {"name": "s", "env": "LunarLanderContinuous-v3", "timesteps": "1000", "seeds": "[0]"} | changes
    return "".join(f"{key}: {value}\n" for key, value in keys.items() if value)


def test_the_keys_are_read_as_users_know_them() -> None:
    file = read(
        "name: lunar\n"
        "env: {id: LunarLanderContinuous-v3, kwargs: {enable_wind: true}}\n"
        "timesteps: 200_000\n"
        "seeds: [0, 1, 2, 3, 4]\n"
        "fixed:\n"
        "  learning_rate: lin_7.3e-4\n"
        "  policy_kwargs: {net_arch: [400, 300], activation_fn: relu}\n"
        "search: {method: random, count: 20, seed: 1}\n"
        "space:\n"
        "  tau: {low: 1e-3, high: 8e-2, log: true}\n"
        "  batch_size: {choices: [128, 256]}\n"
        "  env.kwargs.wind_power: {choices: [5, 15]}\n"
        "baseline: {tau: 0.01, batch_size: 256}\n"
        "evaluation: {every: 10_000, episodes: 10, final_episodes: 100}\n"
        "budget_usd: 5\n"
    )
    assert file.timesteps == 200_000
    assert file.fixed == {
        "learning_rate": "lin_0.00073",
        "policy_kwargs.net_arch": [400, 300],
        "policy_kwargs.activation_fn": "relu",
    }
    assert file.space == {
        "tau": Range(low=1e-3, high=8e-2, log=True),
        "batch_size": Choices(choices=(128, 256)),
        "env.kwargs.wind_power": Choices(choices=(5.0, 15.0)),
    }
    assert file.baseline == {"tau": 0.01, "batch_size": 256}
    assert file.budget_usd == 5


def test_a_number_of_seeds_means_the_first_ones() -> None:
    assert read(top(seeds="3")).seeds == (0, 1, 2)


def test_nested_and_dotted_keys_are_the_same() -> None:
    dotted = read(TOP + "search: {method: grid}\nspace: {policy_kwargs.net_arch: {choices: [[8], [8, 8]]}}\n")
    nested = read(TOP + "search: {method: grid}\nspace: {policy_kwargs: {net_arch: {choices: [[8], [8, 8]]}}}\n")
    assert dotted == nested


def test_the_zoos_space_leaves_out_what_is_fixed() -> None:
    file = read(TOP + "fixed: {gamma: 0.98, tau: 0.01}\nsearch: {method: random, count: 1}\nspace: zoo\n")
    assert file.space == {name: ZOO[name] for name in ZOO if name not in {ONE_MINUS_GAMMA, "tau"}}


def test_whole_numbers_need_not_say_so() -> None:
    file = read(TOP + "search: {method: random, count: 1}\nspace: {train_freq: {low: 1, high: 10}}\n")
    assert file.space == {"train_freq": Range.model_validate({"low": 1, "high": 10, "int": True})}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # what every file must have
        (top(name=""), "s.yaml, line 1: name: this key is missing; it must be lower-case letters"),
        (top(seeds=""), "seeds: this key is missing; it must be a list"),
        (top(name="Lunar_1"), 's.yaml, line 1: name: "Lunar_1" is not allowed; it must be lower-case letters'),
        (top(name="x" * 41), "at most 40"),
        (top(name="7"), "name: 7 is not allowed"),
        (top(timesteps="0"), "s.yaml, line 3: timesteps: 0 is not allowed; it must be a whole number from 1 to"),
        (top(timesteps="1.5"), "timesteps: 1.5 is not allowed"),
        (top(timesteps="true"), "timesteps: true is not allowed"),
        (top(timesteps="many"), 'timesteps: "many" is not allowed'),
        (top(seeds="[]"), "s.yaml, line 4: seeds: is empty; it must be a list of different whole numbers"),
        (top(seeds="[0, 0]"), "seeds: [0, 0] is not allowed; it must be a list of different"),
        (top(seeds="[-1]"), "seeds: [-1] is not allowed"),
        (top(seeds="[1073741824]"), "from 0 to 1,073,741,823"),
        (top(seeds="0"), "seeds: 0 is not allowed"),
        (top(trainer="turbo"), 'trainer: "turbo" is not allowed; it must be fast or sb3'),
        (top(budget_usd="0"), "budget_usd: 0 is not allowed; it must be a number of dollars above 0"),
        (top(budget_usd=".inf"), "budget_usd: .inf is not allowed: numbers are finite here"),
        (top(env="[a]"), 'env: ["a"] is not allowed; it must be the id of a gymnasium environment'),
        (
            top(env="Lunar Lander"),
            's.yaml, line 2: env: "Lunar Lander" is not allowed; it must be the id of a gymnasium',
        ),
        (top(env="''"), 's.yaml, line 2: env: "" is not allowed; it must be the id of a gymnasium environment, or'),
        (top(env="{id: Lunar Lander}"), 'env.id: "Lunar Lander" is not allowed; it must be the id of a gymnasium'),
        (top(env="{kwargs: {a: 1}}"), "env.id: this key is missing"),
        (top(env="{id: Pendulum-v1, kwarg: {}}"), "env.kwarg: unknown key; did you mean kwargs?"),
        (top(env="{id: Pendulum-v1, kwargs: {g: 50}}"), "env.kwargs.g: 50 is not a number from 0.1 to 20"),
        (
            top(env="{id: Pendulum-v1, kwargs: {g: [1]}}"),
            "env.kwargs.g: [1] is not allowed; it must be a word, a number, true or false",
        ),
        (top(env="{id: Pendulum-v1, kwargs: {h: 5}}"), "env.kwargs.h: Pendulum-v1 takes no 'h' (it takes g)"),
        # keys that nobody knows
        (top(seedz="3"), "s.yaml, line 5: seedz: unknown key; did you mean seeds? Known here: baseline, budget_usd"),
        (top(learning_rate="3e-4"), "learning_rate: belongs under fixed, space or baseline"),
        (top(net_arch="[8]"), "net_arch: belongs under fixed, space or baseline, as policy_kwargs.net_arch"),
        (top(**{"env.kwargs.g": "9"}), "env.kwargs.g: belongs under space, or as {id: …, kwargs: {g: …}} under env"),
        (top(n_timesteps="1000"), "n_timesteps: write timesteps, at the top of the file"),
        (top(evaluation="{evry: 1000}"), "evaluation.evry: unknown key; did you mean every?"),
        (
            top(evaluation="{every: 1}"),
            "evaluation.every: 1 is not allowed; it must be a whole number of steps from 100",
        ),
        (
            top(fixed="{learnin_rate: 1}"),
            "s.yaml, line 5: fixed.learnin_rate: unknown key; did you mean learning_rate?",
        ),
        (top(fixed="{policy_kwargs: {net_arc: [8]}}"), "did you mean policy_kwargs.net_arch?"),
        (top(fixed="{policy_kwargs: 'dict(net_arch=[8])'}"), "policy_kwargs: must be keys of its own: {net_arch"),
        # values out of range
        (top(fixed="{tau: 2}"), "fixed.tau: 2 is not allowed; it must be a number above 0 and at most 1"),
        (top(fixed="{tau: null}"), "fixed.tau: null is not allowed"),
        (
            top(fixed="{batch_size: true}"),
            "fixed.batch_size: true is not allowed; it must be a whole number from 1 to 4,096",
        ),
        (top(fixed="{gradient_steps: 0}"), "it must be a whole number from 1 to 10,000, or -1 (one update a step)"),
        (
            top(fixed="{learning_rate: lin_2}"),
            '"lin_2" is not allowed; it must be a number above 0 and at most 1, or lin_X',
        ),
        (top(fixed="{policy_kwargs: {net_arch: [0]}}"), "fixed.policy_kwargs.net_arch: [0] is not allowed"),
        (top(fixed="{policy_kwargs: {activation_fn: gelu}}"), '"gelu" is not allowed; it must be relu, tanh, elu or'),
        (top(fixed="{one_minus_gamma: 0.01}"), "fixed.one_minus_gamma: belongs under space; fix gamma instead"),
        (top(fixed="[tau]"), 'fixed: ["tau"] is not allowed; it must be hyperparameters'),
        # the search
        (top(space="{tau: {low: 0.1, high: 0.2}}"), "search: this key is missing; it must be {method: grid}"),
        (top(search="random"), 'search: "random" is not allowed; it must be {method: grid}'),
        (top(search="{method: bayes}"), 'search.method: "bayes" is not allowed; it must be grid, random or list'),
        (top(search="{count: 3}"), "s.yaml, line 5: search.method: "),
        (top(search="{method: random}", space="zoo"), "search.count: this key is missing; it must be a whole number"),
        (top(search="{method: random, count: 0}", space="zoo"), "search.count: 0 is not allowed"),
        (top(search="{method: grid, count: 5}", space="zoo"), "search.count: only method: random takes this"),
        (top(search="{method: grid, cuont: 5}", space="zoo"), "search.cuont: unknown key; did you mean count?"),
        (top(search="{method: grid}"), "space: is empty; write zoo, or parameters"),
        (top(search="{method: grid}", space="{}"), "space: is empty"),
        (top(search="{method: grid}", space="7"), "space: 7 is not allowed"),
        (top(search="{method: grid}", space="cleanrl"), 'space: "cleanrl" is not allowed'),
        (top(search="{method: grid}", space="[{tau: 0.1}]"), "is not allowed; write zoo, or parameters"),
        (top(search="{method: list}", space="{tau: 0.1}"), "with method: list, write a list of sets"),
        (top(search="{method: list}", space="[]"), "space: is empty; with method: list, write a list of sets"),
        (top(search="{method: list}", space="[{tau: 0.1}, {tau: 3}]"), "space[1].tau: 3 is not allowed"),
        (top(search="{method: list}", space="[{tau: 0.1}]", fixed="{tau: 0.2}"), "space[0].tau: fixed says this too"),
        (top(search="{method: list}", space="[{one_minus_gamma: 0.1}]"), "only a range takes this; write gamma"),
        (
            top(search="{method: grid}", space="{tau: [0.1, 0.2]}"),
            "space.tau: [0.1, 0.2] is not allowed; write {choices: [0.1, 0.2]}",
        ),
        (top(search="{method: grid}", space="{tau: {choices: []}}"), "space.tau.choices: is empty; list at least one"),
        (top(search="{method: grid}", space="{tau: {choices: [0.1, 9]}}"), "space.tau.choices[1]: 9 is not allowed"),
        (top(search="{method: grid}", space="{tau: {choices: [0.1, 0.1]}}"), "a choice stands here twice"),
        (top(search="{method: grid}", space="{tau: {choices: [0.1], low: 1}}"), "space.tau.low: choices have no range"),
        (top(search="{method: grid}", space="{tau: {low: 0.1, max: 1}}"), "space.tau.max: write high"),
        (top(search="{method: grid}", space="{tau: {low: 0.1, high: 0.2, step: 1e-320}}"), "makes too many values"),
        (
            top(search="{method: grid}", space="{tau: {low: 0.1, high: 0.2, step: 1}}"),
            "step (1) is wider than the range",
        ),
        (
            top(env="Odd-v0", search="{method: grid}", space="{env.kwargs.a: {low: -1e308, high: 1e308, int: true}}"),
            "space.env.kwargs.a: low (-1e+308) and high (1e+308) are too far apart",
        ),
        (
            top(env="Odd-v0", search="{method: grid}", space="{env.kwargs.a: {low: 0, high: 1e308, int: true}}"),
            "space.env.kwargs.a: a spacing of 1 makes too many values",
        ),
        (
            top(search="{method: grid}", space="{tau: {low: 0.1}}"),
            "space.tau: high is missing; write {low: A, high: B}",
        ),
        (top(search="{method: grid}", space="{tau: {low: 0.2, high: 0.1}}"), "low (0.2) must be below high (0.1)"),
        (top(search="{method: grid}", space="{tau: {low: 0.2, high: 7}}"), "space.tau.high: 7.0 is not allowed"),
        (top(search="{method: grid}", space="{tau: {low: a, high: 1}}"), 'space.tau.low: "a" is not allowed; write'),
        (top(search="{method: grid}", space="{tau: {low: true, high: 1}}"), "space.tau.low: true is not allowed"),
        (top(search="{method: grid}", space="{batch_size: {low: 1.5, high: 8}}"), "must be whole numbers"),
        (
            top(search="{method: grid}", space="{policy_kwargs.activation_fn: {low: 1, high: 2}}"),
            "a range makes no sense",
        ),
        (top(search="{method: grid}", space="{env.kwargs.enable_wind: {low: 0, high: 1}}"), "a range makes no sense"),
        (
            top(search="{method: grid}", space="{env.kwargs.wind: {choices: [1]}}"),
            "did you mean env.kwargs.wind_power?",
        ),
        (
            top(search="{method: grid}", space="{env.id: {choices: [Pendulum-v1]}}"),
            "one sweep is about one environment",
        ),
        (top(search="{method: grid}", space="{tua: {choices: [1]}}"), "space.tua: unknown key; did you mean tau?"),
        (
            top(search="{method: grid}", space="{tau: {choices: [0.1]}}", fixed="{tau: 0.2}"),
            "space.tau: fixed says this",
        ),
        (
            top(
                search="{method: random, count: 1}",
                space="{gamma: {choices: [1]}, one_minus_gamma: {low: 0.1, high: 0.2}}",
            ),
            "space.one_minus_gamma: gamma is searched too",
        ),
        (top(baseline="{}"), "baseline: is empty"),
        (top(baseline="{tau: 0}"), "baseline.tau: 0 is not allowed"),
        (top(baseline="{wind_power: 5}"), "baseline.wind_power: unknown key"),
    ],
)
def test_every_mistake_is_named_with_its_place_and_what_is_allowed(text: str, words: str) -> None:
    message = complaint(text)
    assert words in message
    assert re.match(r"s\.yaml, line \d+: ", message)
    assert "\n" not in message


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_an_option_that_is_not_taken_is_refused_with_the_reason_wherever_it_stands(key: str) -> None:
    for text in (
        top(fixed=f"{{{key}: 1}}"),
        top(fixed=f"{{policy_kwargs: {{{key}: 1}}}}"),
        top(baseline=f"{{{key}: 1}}"),
        top(search="{method: grid}", space=f"{{{key}: {{choices: [1]}}}}"),
        top(search="{method: list}", space=f"[{{{key}: 1}}]"),
        top(**{key: "1"}),
    ):
        message = complaint(text)
        assert REFUSED[key] in message
        assert "unknown key" not in message


@pytest.mark.parametrize(
    "key", ["use_sde", "sde_sample_freq", "normalize", "n_envs", "action_noise", "optimize_memory_usage", "n_steps"]
)
def test_what_cannot_be_resumed_exactly_is_refused_with_that_sentence(key: str) -> None:
    assert "cannot be resumed bit for bit yet, and is therefore refused; leave it out" in complaint(
        top(fixed=f"{{{key}: 1}}")
    )


def test_all_mistakes_are_told_at_once() -> None:
    message = complaint(top(fixed="{tau: 2, gama: 0.9}", baseline="{tau: 3}"))
    assert [line.split(": ")[1] for line in message.splitlines()] == ["fixed.tau", "fixed.gama", "baseline.tau"]


def test_every_hyperparameter_has_its_words() -> None:
    fields = set(Hyperparameters.model_fields) - {"policy_kwargs"}
    inner = {f"policy_kwargs.{name}" for name in type(Hyperparameters().policy_kwargs).model_fields}
    assert set(ALLOWED) == fields | inner
    assert NUMBERS - {ONE_MINUS_GAMMA} <= set(ALLOWED)
    assert INTEGERS <= NUMBERS


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("learning_rate", ["1e-9", "1", "lin_1", "lin_7.3e-4"], ["0", "1.1", "lin_0", "lin_1.1", "lin_x", "linear"]),
        ("buffer_size", ["1_000", "2_000_000", "1e6"], ["999", "2_000_001", "1000.5"]),
        ("learning_starts", ["0", "1_000_000"], ["-1", "1_000_001"]),
        ("batch_size", ["1", "4096"], ["0", "4097"]),
        ("tau", ["1e-9", "1"], ["0", "1.1"]),
        ("gamma", ["1e-9", "1"], ["0", "1.1"]),
        ("train_freq", ["1", "10_000", "[1, episode]", "[10, episode]"], ["0", "10_001", "[11, episode]", "[1, day]"]),
        ("gradient_steps", ["1", "10_000", "-1"], ["0", "-2", "10_001"]),
        ("ent_coef", ["0", "100", "auto", "auto_0.1", "auto_100"], ["-1", "101", "auto_0", "auto_101", "automatic"]),
        ("target_entropy", ["-1000", "1000", "auto"], ["-1001", "1001", "auto_1"]),
        ("target_update_interval", ["1", "100_000"], ["0", "100_001"]),
        (
            "policy_kwargs.net_arch",
            ["[1]", "[1, 1024, 1, 1]", "{pi: [8], qf: [8]}"],
            ["[]", "{pi: [], qf: [8]}", "[0]", "[1025]", "[1, 1, 1, 1, 1]"],
        ),
        ("policy_kwargs.activation_fn", ["relu", "tanh", "elu", "leaky_relu"], ["gelu", "1"]),
    ],
)
def test_what_the_words_promise_is_what_the_contract_takes(name: str, allowed: list[str], refused: list[str]) -> None:
    for value in allowed:
        assert name in read(top(fixed=f"{{{name}: {value}}}")).fixed
    for value in refused:
        assert f"is not allowed; it must be {ALLOWED[name]}" in complaint(top(fixed=f"{{{name}: {value}}}"))
