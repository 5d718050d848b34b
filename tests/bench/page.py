"""docs/benchmarks.md and its plots, from the figures that were kept."""

import textwrap
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from producer.results.statistics import difference_interval
from tests.bench import goals
from tests.bench.figures import FOLDER, ROOT, Spread, kept

PAGE = ROOT / "docs" / "benchmarks.md"
INK, BLUE, ORANGE, GREY = "#222222", "#1f6fb4", "#d8791a", "#8a8a8a"
NAMES = {
    "fast": "tranquility (`trainer: fast`)",
    "worker": "the same inside a worker",
    "sb3": "Stable-Baselines3",
    "sb3-fused": "Stable-Baselines3, fused Adam",
    "sbx": "SBX (JAX)",
}


def write_page() -> None:
    """Write the page; what was never measured is said to be missing."""
    figures = {name: found for name in SECTIONS if (found := kept(name))}
    parts = [HEAD, _goals(figures), *(section(figures.get(name)) for name, section in SECTIONS.items())]
    PAGE.write_text("\n\n".join(part.strip() for part in parts) + "\n")


HEAD = """
# Benchmarks

Made by `make bench`; nothing here is written by hand. Rates are taken in turns, a few hundred steps each, in one
process tree, and compared turn by turn, so that a machine that is slower now than a minute ago does not favour anyone.
Figures are medians with the lowest and the highest turn.
"""


def _goals(figures: Mapping[str, Any]) -> str:
    return _section(
        "## What was aimed at",
        _table(("figure", "goal", "reached", ""), list(goals.rows(figures))),
        """The goals of speed were set on a machine whose cores compute 72 to 77 GFLOP/s of such products, where they
        leave more time for everything else: the faster a core multiplies, the more weigh Adam, activations, noise, the
        environment and Python, on which SB3 spends more, but which no trainer is spared. Medians of turns are compared;
        their spread is below.""",
    )


def _per_core(found: dict[str, Any] | None) -> str:
    title = "## Steps per second of one core"
    if found is None:
        return _section(title, _missing("per_core"))
    rates, ratio = found["steps_per_second"], found["ratio"]
    rows = [
        (NAMES[kind], f"{rates[kind]:.1f}", f"{ratio[kind]:.2f}" if kind in ratio else "1")
        for kind in NAMES
        if kind in rates
    ]
    floor = found["floor"]
    plot_rates(rates)
    return _section(
        title,
        f"""LunarLanderContinuous-v3 without Gymnasium's checker, hidden layers of 256 and 256, batches of 256, one
        gradient step per environment step, environment and rollout included, one thread on one pinned core, from step
        {found["at_step"]:,} on. {_machine(found)}""",
        _table(("trainer", "steps/s", "tranquility is × as fast"), rows),
        "![Steps per second of one core](benchmarks/rates.svg)",
        f"""The matrix products of one update are {floor["mflop_per_update"]:.0f} MFLOP in SB3's form; done alone, one
        after another, this core computes {floor["gflop_per_second"]:.0f} GFLOP/s of them. The whole step, environment
        included, reaches **{_percent(found["share_of_floor"])}** of that floor. (It needs 34 MFLOP fewer: each row of
        the actor's update goes back through one critic only.)""",
    )


def _late(found: dict[str, Any] | None) -> str:
    title = "## Late in a run"
    if found is None:
        return _section(title, _missing("late"))
    return _section(
        title,
        f"""Weights that have gone to zero and moments that have become subnormal slow some trainers down with time. At
        step {found["at_step"]:,} this one makes {found["steps_per_second"]["fast"]:.1f} steps/s,
        {_percent(found["share_of_floor"])} of the floor as measured between its turns. {_machine(found)}""",
    )


def _whole_machine(found: dict[str, Any] | None) -> str:
    title = "## The whole machine"
    if found is None:
        return _section(title, _missing("machine"))
    rates, ratio = found["steps_per_second"], found["ratio"]
    rows = [
        (f"{found['workers']} workers, one thread each", f"{rates['packed']:.1f}", "1"),
        ("one process of SB3, default threads", f"{rates['sb3']:.1f}", f"{ratio['sb3']:.2f}"),
        ("one process of tranquility, default threads", f"{rates['fast']:.1f}", f"{ratio['fast']:.2f}"),
    ]
    return _section(
        title,
        f"One worker per core against the usual way, one process that takes all threads. {_machine(found)}",
        _table(("way", "steps/s together", "packed is × as fast"), rows),
    )


def _checkpoints(found: dict[str, Any] | None) -> str:
    title = "## Checkpoints"
    if found is None:
        return _section(title, _missing("checkpoints"))
    rows = [
        (
            f"{int(size):,}",
            f"{row['bytes'].median / 1e6:.2f} MB",
            f"{row['stall_ms'].median:.1f} / {row['stall_p99_ms']:.1f} ms",
            f"{100 * row['share_of_run']:.2f} %",
            f"{row['restore_s']:.2f} s, {row['requests_to_restore']} GETs",
            f"{row['sb3_bytes'] / 1e6:.1f} MB",
            f"{row['sb3_stall_ms'] / 1000:.2f} s",
            f"{row['sb3_restore_s']:.2f} s",
        )
        for size, row in found["sizes"].items()
    ]
    heads = ("transitions", "a commit", "stall, median / p99", "of the run", "restore", "SB3 saves", "stall", "restore")
    return _section(
        title,
        f"""{found["commits"]} commits, {found["steps_between"]} steps apart, over a local Azurite, against SB3's `save`
        and `save_replay_buffer` of the same model on a local disk. A commit brings the state and the rows since the
        last whole segment: at most 8,191 rows of 45 bytes. “Of the run” is the stall and the uploading thread's
        processor time, once a minute. {_machine(found)}""",
        _table(heads, rows),
    )


def _learning(found: dict[str, Any] | None) -> str:
    title = "## Does it learn?"
    if found is None:
        return _section(title, _missing("learning"))
    runs = found["runs"]
    plot_curves(runs)
    return _section(
        title,
        f"""rl-baselines3-zoo's configuration for LunarLanderContinuous with fewer steps, trained through the fleet on
        this machine by both trainers; the final model on 100 held-out episodes that are the same for every run.
        {_machine(found)}""",
        _table(("seed", "fast", "sb3", "landings, fast", "landings, sb3"), _run_rows(runs)),
        f"{_difference(runs)} Whole runs of the two trainers differ bit for bit, since their arithmetic is done in "
        "another order; against itself each is bit-exact.",
        "![Evaluations during training](benchmarks/learning.svg)",
    )


Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def _run_rows(runs: Runs) -> list[tuple[str, ...]]:
    by_seed = [{run["seed"]: run for run in runs[trainer]} for trainer in ("fast", "sb3")]
    seeds = sorted({seed for found in by_seed for seed in found})
    return [
        (
            str(seed),
            *(f"{found[seed]['score']:.1f}" if seed in found else "" for found in by_seed),
            *(f"{100 * found[seed]['landings']:.0f} %" if seed in found else "" for found in by_seed),
        )
        for seed in seeds
    ]


def _difference(runs: Runs) -> str:
    fast, sb3 = ([run["score"] for run in runs[trainer]] for trainer in ("fast", "sb3"))
    interval = difference_interval(fast, sb3)
    if interval is None:
        return f"Not finished: {len(fast)} and {len(sb3)} runs so far, too few for an interval."
    both = [*runs["fast"], *runs["sb3"]]
    steps = " or ".join(f"{count:,}" for count in sorted({run["timesteps"] for run in both}))
    return (
        f"The means differ by **{mean(fast) - mean(sb3):+.1f}** (fast − sb3; Welch's 95 % interval {interval.low:+.1f} "
        f"to {interval.high:+.1f}, {interval.runs} runs of {steps} steps each). There were "
        f"{sum(run['evictions'] for run in both)} evictions on the way."
    )


def _answers(found: dict[str, Any] | None) -> str:
    title = "## Waiting for an answer"
    if found is None:
        return _section(title, _missing("answers"))
    commands = {**found["commands"], f"report of {found['reported']} jobs, without a film": found["report"]}
    asked = found["requests"]
    return _section(
        title,
        f"""From the call of a command in a terminal to its whole answer (watch: to its first lines), Python's start and
        imports included, about a sweep of {found["jobs"]:,} jobs whose manifests lie in a local Azurite. A look of
        status or watch is {asked["first look of status and watch"]} requests to storage, every later one of watch
        {asked["every later look of watch"]}. Azurite has one thread, and is busy for about half of the time.
        {_machine(found)}""",
        _table(
            ("command", "s", "of which computing"),
            [(name, f"{row['seconds']:.2f}", f"{row['computing']:.2f}") for name, row in commands.items()],
        ),
    )


SECTIONS = {
    "per_core": _per_core,
    "late": _late,
    "machine": _whole_machine,
    "checkpoints": _checkpoints,
    "answers": _answers,
    "learning": _learning,
}


def plot_rates(rates: Mapping[str, Spread]) -> None:
    """Draw bars with the range of the turns."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in NAMES if kind in rates]
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.subplots()
    medians = [rates[kind].median for kind in kinds]
    errors = [
        [rates[kind].median - rates[kind].low for kind in kinds],
        [rates[kind].high - rates[kind].median for kind in kinds],
    ]
    colours = [BLUE if kind in ("fast", "worker") else GREY for kind in kinds]
    axes.barh([NAMES[kind].replace("`", "") for kind in kinds], medians, xerr=errors, color=colours, ecolor=INK)
    axes.invert_yaxis()
    axes.set_xlabel("steps per second of one core")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "rates")


def plot_curves(runs: Runs) -> None:
    """Draw every run of both trainers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for kind, colour in (("fast", BLUE), ("sb3", ORANGE)):
        for number, run in enumerate(runs[kind]):
            label = kind if number == 0 else None
            axes.plot(run["steps"], run["means"], color=colour, alpha=0.8, linewidth=1.2, label=label)
    axes.axhline(200, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("mean return of 10 episodes")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "learning")


def _save(figure: Any, name: str) -> None:
    from matplotlib import rc_context

    FOLDER.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": name}):  # else the same figures make another file each time
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


def _percent(share: Spread) -> str:
    return f"{100 * share.median:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f})"


def _machine(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"Measured on {found['date']} at {found['commit']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, torch {machine['torch']}, NumPy {machine['numpy']}, SB3 {machine['stable_baselines3']}."
    )


def _section(*parts: str) -> str:
    """Return the parts under one another, prose filled to the width of a page."""
    return "\n\n".join(
        part if part.startswith(("|", "!", "#")) else textwrap.fill(" ".join(part.split()), 118) for part in parts
    )


def _missing(name: str) -> str:
    return f"Not measured yet: `.venv/bin/python -m tests.bench {name.replace('_', '-')}`."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
