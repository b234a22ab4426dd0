"""Cells compared on a task: the learning curves of several seeds each, in parallel processes, and resumable."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from ..errors import ArgumentError, describe
from ..interop import npz
from .learning import Network, Optimizer, adam
from .results import Arrays, Result
from .tasks import Task

SAVED_EVERY = 20.0  # seconds of training: what is lost at most when a run is broken off


@dataclass(eq=False, repr=False)
class Comparison(Result):
    """The learning curves of several cells on one task.

    Attributes:
        losses: by cell (S, N): the loss of each seed at each step of training, always on a fresh batch, so that it is
            the loss on what the network has not seen. NaN from where it left the finite numbers.
        seeds: (S,).
        baseline: the loss of the best prediction without memory.
        parameters: by cell how many numbers are learnt, those of the read-out included.
        seconds: by cell (S,) the time that the training took.
        task: its name.
    """

    losses: Arrays
    seeds: np.ndarray
    baseline: float
    parameters: dict[str, int]
    seconds: Arrays
    task: str

    def smooth(self, window: int = 0) -> Arrays:
        """By cell (S, M): the losses as means over stretches of `window` steps; a hundred stretches by default."""
        found = {}
        for name, losses in self.losses.items():
            width = min(window or -(-losses.shape[1] // 100), losses.shape[1])
            kept = losses[:, losses.shape[1] % width :]
            found[name] = kept.reshape(len(kept), -1, width).mean(axis=-1)
        return found

    def table(self) -> str:
        """The end of each curve, mean over its last hundredth: median, best and worst seed; and how many seeds got
        below half the baseline, which takes memory."""
        rows = [("Cell", "Parameters", "Loss", "best … worst", "Below half the baseline", "Time")]
        for name, smooth in self.smooth().items():
            end = np.where(np.isfinite(smooth[:, -1]), smooth[:, -1], np.inf)
            solved = int((end < self.baseline / 2).sum())
            rows.append(
                (
                    name, f"{self.parameters[name]:,}", f"{np.median(end):.4g}", f"{end.min():.4g} … {end.max():.4g}",
                    f"{solved} of {len(end)} seeds", f"{np.mean(self.seconds[name]):.0f} s",
                )
            )  # fmt: skip
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        steps = next(iter(self.losses.values())).shape[1]
        title = f"{self.task}, {steps:,} steps of training, {len(self.seeds)} seeds; without memory {self.baseline:.4g}"
        return "\n".join([title, rule, lines[0], rule, *lines[1:], rule])

    def _draw(self, ax: Any) -> None:
        for name, smooth in self.smooth().items():
            steps = self.losses[name].shape[1]
            at = np.linspace(steps / smooth.shape[1], steps, smooth.shape[1])
            [line] = ax.plot(at, np.median(smooth, axis=0), label=name)
            ax.fill_between(at, smooth.min(axis=0), smooth.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0)
        ax.axhline(self.baseline, color="0.5", linestyle="--", label="without memory")
        ax.set_yscale("log")
        ax.set_ylim(top=min(ax.get_ylim()[1], 30 * self.baseline))  # a loss that jumps must not hide the others
        ax.set_xlabel("step of training")
        ax.set_ylabel("loss")
        ax.set_title(f"{self.task}: median and range of {len(self.seeds)} seeds", fontsize="medium")
        ax.legend()


class Training(NamedTuple):
    """One cell with one seed: all that another process must know."""

    name: str
    cell: Callable[..., Any]
    task: Callable[..., Task]
    seed: int
    steps: int
    optimizer: Optimizer
    clip: float | None
    file: Path | None


class Curve(NamedTuple):
    """What a training found."""

    name: str
    seed: int
    losses: np.ndarray
    seconds: float
    parameters: int


def compare(
    cells: Mapping[str, Callable[..., Any]],
    task: Callable[..., Task],
    seeds: Iterable[int] = (0, 1, 2),
    steps: int = 1000,
    *,
    optimizer: Optimizer = adam,
    clip: float | None = 1.0,
    folder: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> Comparison:
    """Train several cells on a task, each from several seeds, and set their learning curves side by side.

    Every cell sees the same batches (those of its seed), and gets a linear read-out of its states.

    Args:
        cells: by name, what makes a cell from the number of features: ``lambda features, rng: gz.GRUCell(features, 64,
            rng=rng)``. Anything that the zoo's cells can stand for: a module of one step.
        task: draws a batch from a generator: ``lambda rng: gz.bptt.tasks.adding(100, 32, rng)``.
        seeds: of the initial values and the batches.
        steps: of training, a batch each.
        optimizer: makes an optimiser from a list of parameters; Adam with a learning rate of 3e-3 by default.
        clip: the norm to which gradients are clipped; None: not at all.
        folder: where each training keeps what it has reached, in a file of its own. Called again with the same folder,
            `compare` goes on from there: after a break, with more seeds or cells, or for more steps. Made if missing.
        workers: processes; as many as processors (and no more than trainings) if None. 1 trains in this process.

    Returns:
        A `Comparison`: print its `table()`, `plot()` it.

    Raises:
        ArgumentError: no cells or seeds, impossible numbers; a file in the folder belongs to another comparison.
        ModuleNotFoundError: joblib, which brings the processes, is not installed (``pip install graphzoo[parallel]``).

    >>> import graphzoo as gz
    >>> found = gz.bptt.compare(
    ...     {
    ...         "RNN": lambda features, rng: gz.RNNCell(features, 8, rng=rng),
    ...         "GRU": lambda features, rng: gz.GRUCell(features, 8, rng=rng),
    ...     },
    ...     lambda rng: gz.bptt.tasks.temporal_order(10, 16, rng),
    ...     seeds=[0, 1], steps=20, workers=1,
    ... )
    >>> found.losses["GRU"].shape, found.parameters
    ((2, 20), {'RNN': 164, 'GRU': 420})
    """
    seeds = list(seeds)
    for what, given in (("cells", cells), ("seeds", seeds)):
        if not given:
            raise ArgumentError(f"compare: there are no {what}", got=describe(given), expected="at least one")
    if len(set(seeds)) < len(seeds):
        raise ArgumentError("compare: a seed comes twice", got=seeds, todo="each would give the same curve again")
    if steps < 1 or (workers is not None and workers < 1):
        raise ArgumentError(
            "compare: impossible numbers", got=f"steps={steps}, workers={workers}", expected="at least 1 each"
        )
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    trainings = [
        Training(name, cell, task, seed, steps, optimizer, clip, file_of(folder, name, seed))
        for seed in seeds
        for name, cell in cells.items()
    ]
    curves = {(curve.name, curve.seed): curve for curve in trained(trainings, workers)}
    return Comparison(
        losses={name: np.stack([curves[name, seed].losses for seed in seeds]) for name in cells},
        seeds=np.array(seeds),
        baseline=float(np.mean([first_batch(task, seed).baseline for seed in seeds])),
        parameters={name: curves[name, seeds[0]].parameters for name in cells},
        seconds={name: np.array([curves[name, seed].seconds for seed in seeds]) for name in cells},
        task=first_batch(task, seeds[0]).name,
    )


def file_of(folder: str | os.PathLike[str] | None, name: str, seed: int) -> Path | None:
    return None if folder is None else Path(folder) / f"{quote(name, safe=' ()=,.')}-{seed}.npz"


def first_batch(task: Callable[..., Task], seed: int) -> Task:
    return task(np.random.default_rng(seed))


def trained(trainings: Sequence[Training], workers: int | None) -> Iterable[Curve]:
    """The curves as they get ready, with a progress bar in a terminal."""
    from tqdm import tqdm

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or processors, len(trainings))
    if workers == 1:
        curves: Iterable[Curve] = map(train, trainings)
    else:
        joblib = imported_joblib()
        threads = max(1, processors // workers)
        with joblib.parallel_config("loky", inner_max_num_threads=threads):
            parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
            curves = parallel(joblib.delayed(train)(each) for each in trainings)
    return tqdm(curves, desc="trainings", total=len(trainings), delay=1.0, disable=None, leave=False)


def imported_joblib() -> Any:
    try:
        import joblib
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "compare() in several processes needs joblib: pip install 'graphzoo[parallel]', or pass workers=1"
        ) from None
    return joblib


def train(training: Training) -> Curve:
    """One training, from its file on if there is one."""
    rng = np.random.default_rng(training.seed)
    sample = first_batch(training.task, training.seed)
    network = Network(training.cell(sample.x.shape[2], rng), sample, rng)
    optimizer = training.optimizer(list(network.parameters()))
    settings = fingerprint(network, sample, optimizer, training.clip)
    losses, seconds = np.full(training.steps, np.nan), 0.0
    done = 0
    if training.file is not None and training.file.exists():
        saved = npz.load(training.file)
        if saved["settings"] != settings:
            raise ArgumentError(
                f"{training.file} belongs to another comparison",
                got="a training with other initial values, batches or settings",
                todo="choose another folder, or remove the file",
            )
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        rng.bit_generator.state = saved["rng"]
        seconds, done = saved["seconds"], min(len(saved["losses"]), training.steps)
        losses[:done] = saved["losses"][:done]
    start = last = time.monotonic()
    step, over = done, done == training.steps or (done > 0 and not np.isfinite(losses[done - 1]))
    while not over:
        with np.errstate(over="ignore", invalid="ignore"):  # a training that explodes is a result
            losses[step] = network.learn(training.task(rng), optimizer, training.clip)
        over = step + 1 == training.steps or not np.isfinite(losses[step])
        step += 1
        if training.file is not None and (over or time.monotonic() - last > SAVED_EVERY):
            last = time.monotonic()
            state = {"settings": settings, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
            rest = {"rng": rng.bit_generator.state, "seconds": seconds + last - start, "losses": losses[:step]}
            npz.save(training.file, state | rest)
    seconds += time.monotonic() - start
    return Curve(training.name, training.seed, losses, seconds, sum(p.size for p in network.parameters()))


def fingerprint(network: Network, sample: Task, optimizer: Any, clip: float | None) -> str:
    """What a training begins with, in a few words: two that begin alike go on alike."""
    arrays = [sample.x, sample.y, *[p.data for p in network.parameters()]]
    begun = 0
    for array in arrays:
        begun = zlib.crc32(np.ascontiguousarray(array).tobytes(), begun)
    return f"{network.cell!r}, {sample.name} {sample.x.shape}, {optimizer!r}, clip {clip}, {begun:08x}"
