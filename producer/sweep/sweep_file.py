"""The sweep file: the interface that users meet first. From a document to a validated `SweepFile`.

Every complaint names the file, the line, the key path, the value and what is allowed, and all complaints come at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from producer.sweep.document import Document, KeyPath, Problem, read_document, shown
from producer.sweep.parameters import ALLOWED, KWARGS, SCALAR_WORDS, unknown_key
from producer.sweep.search import no_truth
from producer.sweep.space import Space, SpaceReader
from worker.contract.base import Frozen, Scalar, SweepName
from worker.contract.job import Evaluation
from worker.contract.plan import MAX_JOBS

DEFAULT_TRAINER: Final = "fast"
"""The trainer of a file that names none. It is part of a job's id."""
MAX_SEED: Final = 2**30 - 1
MAX_COMPLAINTS: Final = 20


def _env_id(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


def _first_seeds(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return list(range(value)) if whole and 1 <= value <= MAX_JOBS else value


def _different(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a seed stands here twice")
    return values


Whole = Annotated[int, BeforeValidator(no_truth)]
Seed = Annotated[Whole, Field(ge=0, le=MAX_SEED)]


class Environment(Frozen):
    """`env: ID`, or with keyword arguments `env: {id: ID, kwargs: {…}}`."""

    id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w./:-]+$")]
    kwargs: Mapping[str, Scalar] = {}


class GridSearch(Frozen):
    """Every combination of the space."""

    method: Literal["grid"]


class RandomSearch(Frozen):
    """`count` draws from the space."""

    method: Literal["random"]
    count: Annotated[Whole, Field(ge=1, le=MAX_JOBS)]
    seed: Annotated[Whole, Field(ge=0, le=2**63 - 1)] = 0


class ListSearch(Frozen):
    """`space` is a list of hyperparameter sets."""

    method: Literal["list"]


class SweepFile(Frozen):
    """A sweep file as written; `parameters` and `space` are in their one spelling."""

    name: SweepName
    env: Annotated[Environment, BeforeValidator(_env_id)]
    timesteps: Annotated[Whole, Field(ge=1, le=50_000_000)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), BeforeValidator(_first_seeds), AfterValidator(_different)]
    trainer: Literal["fast", "sb3"] = DEFAULT_TRAINER
    fixed: Mapping[str, Any] = {}
    search: Annotated[GridSearch | RandomSearch | ListSearch, Field(discriminator="method")] | None = None
    space: Literal["zoo"] | Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None = None
    baseline: Annotated[Mapping[str, Any], Field(min_length=1)] | None = None
    evaluation: Evaluation = Evaluation()
    budget_usd: Annotated[float, Field(gt=0), BeforeValidator(no_truth)] | None = None


_WORDS: Final[Mapping[str, str]] = {
    "name": "lower-case letters and digits, with single dashes between them, at most 40",
    "env": "the id of a gymnasium environment, or {id: …, kwargs: {…}}",
    "env.id": "the id of a gymnasium environment, such as LunarLanderContinuous-v3",
    "env.kwargs": "keyword arguments of the environment, such as {enable_wind: true}",
    "timesteps": "a whole number from 1 to 50,000,000",
    "seeds": f"a list of different whole numbers from 0 to {MAX_SEED:,}, or how many (N means 0 to N-1)",
    "trainer": "fast or sb3",
    "fixed": "hyperparameters, such as {learning_rate: 3e-4}",
    "search": "{method: grid}, {method: random, count: N, seed: N} or {method: list}",
    "search.method": "grid, random or list",
    "search.count": f"a whole number from 1 to {MAX_JOBS:,}",
    "search.seed": "a whole number from 0 on",
    "space": "zoo, or parameters with {low: …, high: …} or {choices: […]}; with method: list, a list of sets",
    "baseline": "hyperparameters of one more set, such as {tau: 0.01}",
    "evaluation": "{every: STEPS, episodes: N, final_episodes: N}",
    "evaluation.every": "a whole number of steps from 100 to 50,000,000",
    "evaluation.episodes": "a whole number from 1 to 100",
    "evaluation.final_episodes": "a whole number from 1 to 1,000",
    "budget_usd": "a number of dollars above 0",
}
"""What each key may be."""


def read_sweep_file(path: Path) -> tuple[SweepFile, Document]:
    """Read and validate a sweep file. Raises InputError that says what is wrong, and where."""
    document = read_document(path)
    return parse_sweep_file(document), document


def parse_sweep_file(document: Document) -> SweepFile:
    """Validate a document. Raises InputError."""
    try:
        file = SweepFile.model_validate(document.content)
    except ValidationError as error:
        problems = dict.fromkeys(_structural(document, details) for details in error.errors(include_url=False))
        raise document.refuse(*list(problems)[:MAX_COMPLAINTS]) from error
    complaints: list[Problem] = []
    reader = SpaceReader(file.env.id, complaints.append)
    reader.keywords(file.env.kwargs)
    fixed = reader.one_set(file.fixed, ("fixed",), searched=False)
    baseline = reader.one_set(file.baseline, ("baseline",)) if file.baseline is not None else None
    space: Space = ()
    if file.search is not None:
        space = reader.space(file.search.method, file.space, fixed)
    elif file.space is not None:
        complaints.append(Problem(("search",), f"this key is missing; it must be {_WORDS['search']}"))
    if complaints:
        raise document.refuse(*complaints[:MAX_COMPLAINTS])
    return file.model_copy(update={"fixed": fixed, "space": space, "baseline": baseline})


def _structural(document: Document, details: ErrorDetails) -> Problem:
    path = _file_path(details["loc"])
    if details["type"] == "missing":
        return Problem(path, f"this key is missing; it must be {_WORDS[_key(path)]}")
    if details["type"] == "extra_forbidden":
        return Problem(path, _unknown(path))
    if details["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        path = (*path, "method")
    if path[:2] == ("env", "kwargs") and len(path) > 2:
        keyword = document.content["env"]["kwargs"][path[2]]
        return Problem(path[:3], f"{shown(keyword)} is not allowed; it must be {SCALAR_WORDS}")
    while _key(path) not in _WORDS or isinstance(path[-1], int):
        path = path[:-1]
    value: Any = document.content
    for depth, part in enumerate(path):
        if not isinstance(value, dict):  # env: ID, which stands for {id: ID}
            path = path[:depth]
            break
        value = value.get(part)
    allowed = _WORDS[_key(path)]
    if value in ([], {}):
        return Problem(path, f"is empty; it must be {allowed}")
    return Problem(path, f"{shown(value)} is not allowed; it must be {allowed}")


def _key(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _file_path(loc: tuple[int | str, ...]) -> KeyPath:
    """Leave out what pydantic adds for the branch of a union: the path is that of the file."""
    if loc[0] == "space":
        return ("space",)
    return tuple(part for number, part in enumerate(loc) if not (loc[0] == "search" and number == 1))


def _unknown(path: KeyPath) -> str:
    key = str(path[-1])
    if len(path) == 1:
        below = {name: f"belongs under fixed, space or baseline, as {name}" for name in ALLOWED}
        below |= {name.rpartition(".")[2]: words for name, words in below.items() if "." in name}
        if key.startswith(KWARGS):
            return f"belongs under space, or as {{id: …, kwargs: {{{key.removeprefix(KWARGS)}: …}}}} under env"
        return unknown_key(key, SweepFile.model_fields, below | {"policy_kwargs": "belongs under fixed"})
    models: Mapping[str, Mapping[str, Any]] = {
        "env": Environment.model_fields,
        "search": RandomSearch.model_fields,
        "evaluation": Evaluation.model_fields,
    }
    known = models[str(path[0])]
    if path[0] == "search" and key in known:
        return "only method: random takes this: a grid and a list say themselves how many sets there are"
    return unknown_key(key, known)
