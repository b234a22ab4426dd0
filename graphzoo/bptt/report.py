"""`graphzoo bptt`: a recurrent network on a task, studied from all sides, as one self-contained page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError
from ..module import Module
from ..tensor import Tensor
from ..zoo.gated import GRUCell, LSTMCell
from ..zoo.recurrent import RNNCell
from . import tasks
from .gradients import progress, state_gradients, weight_contributions
from .learning import Network, adam, total_of
from .reach import contribution_matrix, truncation_bias
from .results import Arrays, Result, curve
from .run import Run, unroll
from .spectrum import carousel, gate_stats, jacobian_spectrum, jacobians
from .tasks import Task

CELLS: dict[str, Callable[..., Module]] = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}
TASKS: dict[str, Callable[[int, int, np.random.Generator], Task]] = {
    "adding": tasks.adding,
    "copy": tasks.copy_memory,
    "order": tasks.temporal_order,
    "parity": tasks.parity,
    "text": tasks.characters,
}
STUDIED = 8
"""How many sequences are studied; more are trained on."""


@dataclass
class Settings:
    """What is studied.

    Attributes:
        cell: one of `CELLS`. task: one of `TASKS`. steps: of a sequence; for "copy" of the delay.
        hidden: units of the state. train: steps of Adam before the study. batch: sequences in each.
        seed: where all randomness starts.
    """

    cell: str = "lstm"
    task: str = "adding"
    steps: int = 100
    hidden: int = 32
    train: int = 300
    batch: int = 32
    seed: int = 0


class Figure(NamedTuple):
    """A figure of the page: its title, what draws it, and two sentences with their source."""

    key: str
    title: str
    result: Result
    words: str
    source: str


@dataclass(eq=False, repr=False)
class Learning(Result):
    """The loss over the steps of training.

    Attributes:
        losses: (N,). baseline: what is reached without memory.
    """

    losses: np.ndarray
    baseline: float

    def _draw(self, ax: Any) -> None:
        ax.plot(self.losses, label="loss")
        ax.axhline(self.baseline, color="0.5", linestyle="--", label="without memory")
        ax.set_yscale("log")
        ax.set_xlabel("step of training")
        ax.legend()


@dataclass(eq=False, repr=False)
class Lags(Result):
    """How much of a loss reaches the state some steps before it.

    Attributes:
        norms: (T,): ‖∂L_s/∂h_t‖ at each lag s − t, the mean over the losses, each a share of the whole.
    """

    norms: np.ndarray

    def _draw(self, ax: Any) -> None:
        curve(ax, self.norms, "‖∂Lₛ/∂hₜ‖")
        ax.set_xlabel("lag s − t")
        ax.legend()


def study(settings: Settings, out: Path) -> list[str]:
    """Train, study, and write the page and the numbers.

    Args:
        settings: what to study.
        out: the page; the numbers go beside it, with the ending .npz.

    Returns:
        Lines that say what came out.

    Raises:
        ArgumentError: unknown names, an ending other than .html, a folder that does not exist.
        ModuleNotFoundError: matplotlib is not installed.
    """
    check_settings(settings, out)
    import matplotlib.pyplot  # noqa: F401  # where it is missing, say so before the training, not after it

    rng = np.random.default_rng(settings.seed)
    draw = TASKS[settings.task]
    sample = draw(settings.steps, 1, np.random.default_rng(settings.seed))
    network = Network(CELLS[settings.cell](sample.x.shape[2], settings.hidden, rng=rng), sample, rng)
    learning = train(network, settings, rng)
    task = draw(settings.steps, STUDIED, rng)
    network.astype(np.float64)
    run = unroll(network.cell, task.x)
    losses = network.losses(task, run.outputs)
    total = total_of(losses)

    figures = list(figures_of(run, losses, total, learning))
    numbers = numbers_of(settings, figures, total, learning)
    picture = run.graph(total).to_svg(fold=9)
    out.write_text(page(settings, figures, numbers, picture), encoding="utf-8")
    arrays: Arrays = {
        f"{figure.key}.{name}": array for figure in figures for name, array in figure.result.arrays().items()
    }
    np.savez_compressed(out.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]  # as in Result.to_npz
    return [f"{name}: {value}" for name, value in numbers] + [f"In {out} and {out.with_suffix('.npz').name}."]


def check_settings(settings: Settings, out: Path) -> None:
    for what, name, known in (("cell", settings.cell, CELLS), ("task", settings.task, TASKS)):
        if name not in known:
            raise ArgumentError(f"unknown {what}", got=repr(name), expected=", ".join(known))
    if out.suffix.lower() != ".html":
        raise ArgumentError("the report is a page", got=str(out), expected="a path that ends in .html")
    if not out.parent.is_dir():
        raise ArgumentError("the folder of the report does not exist", got=str(out.parent), todo="create it first")


def train(network: Network, settings: Settings, rng: np.random.Generator) -> Learning:
    """Adam on fresh batches, with gradients clipped to norm 1."""
    optimizer, draw = adam(list(network.parameters())), TASKS[settings.task]
    baseline = draw(settings.steps, settings.batch, np.random.default_rng(0)).baseline
    found = [
        network.learn(draw(settings.steps, settings.batch, rng), optimizer, clip=1.0)
        for _ in progress(range(settings.train), "training")
    ]
    return Learning(np.array(found), baseline)


def figures_of(run: Run, losses: list[tuple[int, Tensor]], total: Tensor, learning: Learning) -> Iterator[Figure]:
    """The figures, from what is learnt to what is lost."""
    if len(learning.losses):
        yield Figure(
            "learning", "Learning", learning,
            "The loss on fresh batches while the network learns; the dashed line is the best that can be done without "
            "memory. Where the loss stays there, nothing of the past has been put to use.",
            "S. Hochreiter, J. Schmidhuber (1997), section 5",
        )  # fmt: skip
    yield Figure(
        "state_gradients", "What reaches the states", state_gradients(run, total),
        "The norm of ∂L/∂hₜ: its direct share comes from losses that use hₜ themselves, the carried one back through "
        "the next step. A gradient that vanishes falls towards the left, one that explodes rises.",
        "Y. Bengio, P. Simard, P. Frasconi (1994); M. Arjovsky, A. Shah, Y. Bengio (2016), figure 4",
    )  # fmt: skip
    yield Figure(
        "weight_contributions", "What each step contributes to the weights",
        weight_contributions(run, total, values=False),
        "The gradient of a weight is the sum of what its use at each time step contributes. Contributions may cancel: "
        "one counts as far as its cosine with the sum is not zero.",
        "R. Pascanu, T. Mikolov, Y. Bengio (2013), equation 4",
    )  # fmt: skip
    if len(losses) > 1:
        matrix = contribution_matrix(run, [loss for _, loss in losses], steps=[t for t, _ in losses])
        yield Figure(
            "reach", "How far losses reach back", Lags(matrix.by_lag("h")),
            "How much of a loss arrives at the states some steps before it, on average over the losses. The lag at "
            "which the curve has fallen by a factor of ten is about what the network can learn from.",
            "R. Pascanu, T. Mikolov, Y. Bengio (2013), section 2",
        )  # fmt: skip
    steps = jacobians(run)
    yield Figure(
        "spectrum", "Products of Jacobians", jacobian_spectrum(run, steps=steps),
        "Singular values of ∂(state at the end)/∂(state at t), a product of the Jacobians of the steps between. "
        "Directions whose values fall are forgotten; those above 1 are amplified.",
        "R. Pascanu, T. Mikolov, Y. Bengio (2013), section 2.1",
    )  # fmt: skip
    if isinstance(run.cell, (LSTMCell, GRUCell)):
        yield Figure(
            "carousel", "The constant error carousel", carousel(run, steps=steps),
            "The product of the gates that keep the state, beside the true derivative of the last state. Where the two "
            "agree, memory is carried by those gates alone; where they differ, paths through the other gates matter.",
            "S. Hochreiter, J. Schmidhuber (1997), section 3; F. Gers, J. Schmidhuber, F. Cummins (2000)",
        )  # fmt: skip
        yield Figure(
            "gates", "Gates", gate_stats(run),
            "How far each gate is open on average, and how often it is saturated. A forget gate of mean f keeps a "
            "value for about 1/(1 − f) steps.",
            "A. Karpathy, J. Johnson, L. Fei-Fei (2015), section 4.2; C. Tallec, Y. Ollivier (2018)",
        )  # fmt: skip
    last = len(run["h"])
    lengths = sorted({max(1, round(last * share)) for share in (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1)})
    yield Figure(
        "truncation", "What truncation loses",
        truncation_bias(run, [loss for _, loss in losses], lengths, steps=[t for t, _ in losses]),
        "The error of the gradient if it is carried back through k₂ steps only, relative to the whole gradient. It "
        "falls to zero at full length; a plateau before that is memory that no shorter window can train.",
        "R. Williams, J. Peng (1990); C. Tallec, Y. Ollivier (2017)",
    )  # fmt: skip


def numbers_of(settings: Settings, figures: list[Figure], total: Tensor, learning: Learning) -> list[tuple[str, str]]:
    """The table of the page: a name and a value each."""
    by_key: dict[str, Any] = {figure.key: figure.result for figure in figures}
    h = by_key["state_gradients"].norms("total")["h"].mean(axis=1)
    spectrum, truncation = by_key["spectrum"], by_key["truncation"]
    numbers = [
        ("network", f"{settings.cell.upper()}, {settings.hidden} units, {settings.train} steps of Adam"),
        ("task", f"{settings.task}, {len(h)} time steps"),
        ("loss", f"{total.item():.4g} (without memory {learning.baseline:.4g})"),
        ("‖∂L/∂h‖ at the first and the last step", f"{h[0]:.3g}, {h[-1]:.3g}"),
        ("largest Lyapunov exponent", f"{np.max(spectrum.lyapunov):.4g} per step"),
    ]
    for name, error in truncation.relative_error.items():
        numbers.append((f"error of dL/d({name}) with k₂ = {truncation.k2[0]}", f"{error[0]:.3g}"))
    return numbers


def drawn(result: Result) -> str:
    """A figure as SVG text, the same on every run."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "graphzoo", "svg.fonttype": "none"}):
        figure, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
        result.plot(ax)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


STYLE = """
:root { color-scheme: light dark; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
figure { margin: 0; padding: 0.5rem; background: #ffffff; border-radius: 6px; overflow-x: auto; }
figure svg { width: 100%; height: auto; }
figure.wide { padding: 0; background: none; }
table { border-collapse: collapse; } td { padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; }
.source { opacity: 0.7; font-size: 0.9em; }
"""


def page(settings: Settings, figures: list[Figure], numbers: list[tuple[str, str]], picture: str) -> str:
    """The page: numbers, the network over time, and a section for each figure."""
    title = f"Backpropagation through time: {settings.cell.upper()} on {settings.task}, {settings.steps} steps"
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in numbers)
    sections = "\n".join(
        f'<section id="{figure.key}"><h2>{escape(figure.title)}</h2><p>{escape(figure.words)}</p>'
        f"<figure>{unique(drawn(figure.result), figure.key)}</figure>"
        f'<p class="source">{escape(figure.source)}</p></section>'
        for figure in figures
    )
    settled = " ".join(f"--{name} {value}" for name, value in vars(settings).items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<table>{rows}</table>
<p class="source">Made by <code>graphzoo bptt {escape(settled)}</code>.
The numbers behind the figures are in the .npz file.</p>
<section id="network"><h2>The network over time</h2>
<p>Each column is a time step, and the long middle is folded into one. Blue edges carry the state to the next step;
along them gradients go back.</p>
<figure class="wide"><iframe title="The network over time" sandbox style="width: 100%; height: 420px; border: 0"
srcdoc="{escape(picture)}"></iframe></figure></section>
{sections}
</body></html>
"""


def unique(svg: str, key: str) -> str:
    """An SVG whose ids are its own on a page with several."""
    return svg.replace('id="', f'id="{key}-').replace('href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-")
