"""From a sweep file to the plan of all its jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from producer.sweep.document import Document, KeyPath, Problem, shown
from producer.sweep.environment import QUICK_EPISODES, CannotExamine, EnvironmentRefused, Examine, examine
from producer.sweep.parameters import ALLOWED, KWARGS, ONE_MINUS_GAMMA, nested
from producer.sweep.search import Value, draws, grid, grid_size
from producer.sweep.sweep_file import MAX_SEED, RandomSearch, SweepFile, read_sweep_file
from producer.words import plural
from worker.contract.base import canonical_json
from worker.contract.environments import PROVEN, ProbeVerdict
from worker.contract.job import Configuration, EnvironmentSpec, Hyperparameters, Job, job_id
from worker.contract.plan import MAX_JOBS, MAX_PLAN_BYTES, Plan, PlannedJob, PlannedSet, resolve

MAX_PROBED_VARIANTS: Final = 16


@dataclass(frozen=True)
class Planned:
    """A plan, and what the person should know about how it came about."""

    plan: Plan
    notes: tuple[str, ...] = ()


def plan_file(path: Path, *, allow_unproven: bool = False, look: Examine = examine) -> Planned:
    """Read a sweep file and return its plan.

    Raises:
        InputError: the file cannot be used; the message names file, line, key path, value and what is allowed.
    """
    file, document = read_sweep_file(path)
    return make_plan(file, document, allow_unproven=allow_unproven, look=look)


def make_plan(file: SweepFile, document: Document, *, allow_unproven: bool = False, look: Examine = examine) -> Planned:
    """Return the plan of a sweep file. Raises InputError."""
    _check_count(file, document)
    defaults = _defaults(file)
    sets = [{**defaults, **values} for values in _sets(file)]
    environment = _environment(file, document, sets, allow_unproven=allow_unproven, look=look)
    common = _common(file, document, environment, sets)
    unique: dict[str, tuple[PlannedSet, Configuration]] = {}
    for number, differs in enumerate(sets):
        configuration = _configuration(file, document, common, differs, number)
        baseline = number == 0 and file.baseline is not None
        unique.setdefault(configuration.set_id, (PlannedSet(differs=differs, baseline=baseline), configuration))
    plan = Plan(
        sweep=file.name,
        source=document.text,
        common=common,
        sets=tuple(planned for planned, _ in unique.values()),
        jobs=tuple(
            PlannedJob(id=job_id(configuration, seed), set=number, seed=seed)
            for number, (_, configuration) in enumerate(unique.values())
            for seed in file.seeds
        ),
        budget_usd=file.budget_usd,
    )
    _check_sizes(plan, document)
    return Planned(plan, tuple(_notes(file, len(sets) - len(unique), sets)))


def _check_count(file: SweepFile, document: Document) -> None:
    sets = _set_count(file, document)
    jobs = sets * len(file.seeds)
    if jobs > MAX_JOBS:
        raise document.refuse(
            Problem(
                _searched(file),
                f"{plural(sets, 'set')} × {plural(len(file.seeds), 'seed')} are {jobs:,} jobs; a sweep has "
                f"at most {MAX_JOBS:,}",
            )
        )


def _set_count(file: SweepFile, document: Document) -> int:
    extra = file.baseline is not None
    if file.search is None:
        return 1 + extra
    if isinstance(file.search, RandomSearch):
        return file.search.count + extra
    if isinstance(file.space, tuple):
        return len(file.space) + extra
    space: Any = file.space
    endless = [name for name, distribution in space.items() if not distribution.size]
    if endless:
        raise document.refuse(
            *(Problem(("space", name), "a grid needs choices, or a range with step: or int: true") for name in endless)
        )
    return grid_size(space) + extra


def _sets(file: SweepFile) -> Iterator[Mapping[str, Value]]:
    """Yield what each set says itself, the baseline first."""
    if file.baseline is not None:
        yield file.baseline
    space: Any = file.space
    if file.search is None:
        yield {}
    elif isinstance(file.search, RandomSearch):
        yield from map(_with_gamma, draws(file.search.seed, file.search.count, space))
    elif isinstance(space, tuple):
        yield from space
    else:
        yield from map(_with_gamma, grid(space))


def _with_gamma(values: Mapping[str, Value]) -> dict[str, Value]:
    found = dict(values)
    distance = found.pop(ONE_MINUS_GAMMA, None)
    if isinstance(distance, int | float):
        found["gamma"] = round(1 - distance, 12)
    return found


def _defaults(file: SweepFile) -> dict[str, Value]:
    """Return what every searched hyperparameter is where a set does not name it: a table of sets has no holes."""
    names: dict[str, None] = {}
    space: Any = file.space
    for keys in (file.baseline or {}, *(space if isinstance(space, tuple) else (space or {},))):
        names |= dict.fromkeys("gamma" if name == ONE_MINUS_GAMMA else name for name in keys)
    default = Hyperparameters.model_validate(nested(file.fixed)).model_dump(mode="json")
    flat = {**default, **{f"policy_kwargs.{name}": value for name, value in default["policy_kwargs"].items()}}
    return {
        name: file.timesteps if name == "timesteps" else flat[name] for name in names if not name.startswith(KWARGS)
    }


def _common(
    file: SweepFile, document: Document, environment: EnvironmentSpec, sets: Sequence[Mapping[str, Value]]
) -> Configuration:
    """Return what all sets share.

    What is fixed may make sense only together with what is searched (many gradient steps with small batches); then
    the first set that makes sense of it completes it. Every set names all of those itself.

    Raises InputError where no set does: then what is fixed is at fault.
    """
    content: dict[str, Any] = {
        "environment": environment.model_dump(mode="json"),
        "timesteps": file.timesteps,
        "trainer": file.trainer,
        "evaluation": file.evaluation.model_dump(mode="json"),
    }
    refusals: list[tuple[ValidationError, Mapping[str, Value]]] = []
    nothing: Mapping[str, Value] = {}
    for differs in (nothing, *sets):
        values = {**file.fixed, **{name: value for name, value in differs.items() if name in ALLOWED}}
        try:
            return Configuration.model_validate({**content, "hyperparameters": nested(values)})
        except ValidationError as error:
            refusals.append((error, values))
    first, completed = refusals[1]
    raise document.refuse(Problem(("fixed",), _reason(first, _weights(completed)))) from first


def _configuration(
    file: SweepFile, document: Document, common: Configuration, differs: Mapping[str, Value], number: int
) -> Configuration:
    try:
        return resolve(common, differs)
    except ValidationError as error:
        path: KeyPath = _searched(file)
        if file.baseline is not None:
            path = ("baseline",) if number == 0 else path
            number -= 1
        if isinstance(file.space, tuple) and path == ("space",):
            path = ("space", number)
        raise document.refuse(Problem(path, _reason(error, differs))) from error


def _searched(file: SweepFile) -> KeyPath:
    if file.search is None:
        return ("seeds",) if file.baseline is None else ("baseline",)
    return ("space",) if not isinstance(file.search, RandomSearch) else ("search", "count")


def _reason(error: ValidationError, values: Mapping[str, Value]) -> str:
    reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    listed = ", ".join(f"{name}={shown(value)}" for name, value in values.items())
    return f"with {listed}: {reason}" if listed else reason


def _weights(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return what decides how long a job cannot be interrupted, defaults included."""
    whole = Hyperparameters.model_validate(nested(values)).model_dump(mode="json")
    return {
        **{name: whole[name] for name in ("train_freq", "gradient_steps", "batch_size")},
        "net_arch": whole["policy_kwargs"]["net_arch"],
    }


def _environment(
    file: SweepFile,
    document: Document,
    sets: Sequence[Mapping[str, Value]],
    *,
    allow_unproven: bool,
    look: Examine,
) -> EnvironmentSpec:
    """Return the environment with its proof. Raises InputError where there is none."""
    if file.env.id in PROVEN:
        return EnvironmentSpec(id=file.env.id, kwargs=file.env.kwargs)
    path = ("env", "id") if isinstance(document.content["env"], dict) else ("env",)
    try:
        if allow_unproven:
            return EnvironmentSpec(id=file.env.id, kwargs=file.env.kwargs, probe=_probed(file, sets, look))
        look(file.env.id, file.env.kwargs, QUICK_EPISODES)
    except EnvironmentRefused as error:
        reason = error.detail if error.detail.endswith(("?", ".")) else f"{error.detail}."
        words = f"{file.env.id} is not allowed: {reason} Proven environments: {', '.join(PROVEN)}"
        raise document.refuse(Problem(path, words)) from error
    except CannotExamine as error:
        words = f"{file.env.id} is not one of the proven environments ({', '.join(PROVEN)}), and it cannot be looked at"
        raise document.refuse(Problem(path, f"{words}: {error.detail.rstrip('.')}")) from error
    raise document.refuse(
        Problem(
            path,
            f"{file.env.id} exists, but nobody has proven yet that it resumes bit for bit (proven: "
            f"{', '.join(PROVEN)}); --allow-unproven examines it here and then takes it",
        )
    )


def _probed(file: SweepFile, sets: Sequence[Mapping[str, Value]], look: Examine) -> ProbeVerdict:
    variants: dict[bytes, dict[str, Any]] = {}
    for differs in sets:
        own = {name.removeprefix(KWARGS): value for name, value in differs.items() if name.startswith(KWARGS)}
        variant = {**file.env.kwargs, **own}
        variants[canonical_json(variant)] = variant
    if len(variants) > MAX_PROBED_VARIANTS:
        raise EnvironmentRefused(
            f"its keyword arguments come in {len(variants)} variants, each of which would have to be examined; "
            f"at most {MAX_PROBED_VARIANTS} are"
        )
    verdicts = [look(file.env.id, variant, None) for variant in variants.values()]
    for variant, verdict in zip(variants.values(), verdicts, strict=True):
        if not verdict.exact:
            raise EnvironmentRefused(
                f"with kwargs {shown(variant)}, replayed episodes did not go on like the original ones, so its jobs "
                "could not be resumed after an eviction"
            )
        if verdict.model_copy(update={"episodes": verdicts[0].episodes}) != verdicts[0]:
            raise EnvironmentRefused("the sizes of its observations or actions differ between the sets of this sweep")
    return verdicts[0]


def _check_sizes(plan: Plan, document: Document) -> None:
    size = len(plan.canonical())
    if size > MAX_PLAN_BYTES:
        raise document.refuse(
            Problem((), f"its plan has {size:,} bytes; at most {MAX_PLAN_BYTES:,} are stored: split the sweep")
        )
    longest = max(range(len(plan.sets)), key=lambda number: len(canonical_json(plan.sets[number].differs)))
    try:
        Job.of(plan.sweep, plan.configurations[longest], seed=MAX_SEED).encode()
    except ValueError as error:
        raise document.refuse(Problem((), str(error))) from error


def _trains_nothing(file: SweepFile, values: Mapping[str, Value]) -> bool:
    default = Hyperparameters().learning_starts
    starts: Any = values.get("learning_starts", file.fixed.get("learning_starts", default))
    steps: Any = values.get("timesteps", file.timesteps)
    return bool(starts >= steps)


def _notes(file: SweepFile, folded: int, sets: Sequence[Mapping[str, Value]]) -> Iterable[str]:
    if folded:
        yield f"{folded} of {len(sets)} sets are equal to an earlier one and count once."
    idle = sum(_trains_nothing(file, values) for values in sets)
    if idle:
        where = f"In {idle} of {plural(len(sets), 'set')}"
        yield f"{where} learning_starts is not below timesteps: nothing is trained there."
    if file.baseline is not None:
        missing = sorted(
            {name for values in sets[1:] for name in values if name.startswith(KWARGS)} - file.baseline.keys()
        )
        if missing:
            yield (
                f"The baseline does not say {', '.join(missing)}: it flies in an environment of its own, and is "
                "not ranked with the other sets."
            )
