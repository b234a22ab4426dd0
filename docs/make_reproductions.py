"""Makes the figures and tables of docs/reproductions.md: `python docs/make_reproductions.py [NAME ...]`.

Trainings go on from what `reproductions-cache/` holds of them, so that a break costs nothing. All of it takes about
half an hour on two cores.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import graphzoo as gz
from graphzoo import bptt

FOLDER = Path(__file__).parent / "reproductions"
CACHE = Path("reproductions-cache")

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "graphzoo", "savefig.facecolor": "white", "font.size": 9})


def write(name: str, text: str, figure: Any) -> None:
    """A figure and the table below it."""
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    (FOLDER / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    print(text)


def axes(count: int) -> tuple[Any, Any]:
    return plt.subplots(1, count, figsize=(4.4 * count if count > 1 else 6.4, 3.3), layout="constrained")


def spectral_radius() -> None:
    """R. Pascanu, T. Mikolov, Y. Bengio (2013), section 2: the recurrent weight decides what becomes of gradients."""
    steps, units, batch = 100, 50, 20
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(units, units)) / np.sqrt(units)
    weight /= np.abs(np.linalg.eigvals(weight)).max()
    x = rng.normal(size=(steps, batch, 1))
    radii = [0.5, 0.8, 0.95, 1.0, 1.05, 1.2, 1.5, 2.0]
    figure, both = axes(2)
    rows = []
    for kind, ax in zip(("linear", "tanh"), both, strict=True):
        for radius in radii:
            cell = gz.RNNCell(1, units, rng=0)
            for parameter in cell.parameters():
                parameter.data[...] *= 0.1
                parameter.mark_written("docs/make_reproductions.py")
            cell = cell.astype(np.float64)
            cell.weight_hh.data[...] = radius * weight
            cell.weight_hh.mark_written("docs/make_reproductions.py")
            step = cell if kind == "tanh" else linear(cell)
            run = bptt.unroll(step, x, np.zeros((batch, units)))
            found = bptt.state_gradients(run, (run.h[-1] * rng.normal(size=units)).sum())
            norms = found.norms()["h"].mean(axis=1)[::-1]
            ax.plot(norms / norms[0], label=f"ρ = {radius}")
            rows.append((kind, radius, (norms[-1] / norms[20]) ** (1 / (steps - 21))))
        ax.set_yscale("log")
        ax.set_ylim(1e-30, 1e30)
        ax.set_xlabel("lag T − t")
        ax.set_title(kind)
    both[0].set_ylabel("‖∂L/∂hₜ‖ / ‖∂L/∂h_T‖")
    both[1].legend(fontsize=7, ncols=2)
    lines = ["ρ       linear   tanh     growth of ‖∂L/∂hₜ‖ for each step back, lags 20 to 99"]
    for radius in radii:
        growth = {kind: rate for kind, other, rate in rows if other == radius}
        lines.append(f"{radius:<6}  {growth['linear']:.3f}    {growth['tanh']:.3f}")
    write("spectral_radius", "\n".join(lines), figure)


def linear(cell: gz.RNNCell) -> Callable[[Any, gz.Tensor], gz.Tensor]:
    return lambda x, h: x @ cell.weight_ih.T + h @ cell.weight_hh.T


def adding() -> None:
    """S. Hochreiter, J. Schmidhuber (1997), section 5.4: gates carry over 100 steps what a tanh network loses."""
    found = bptt.compare(
        {
            "RNN, tanh": lambda features, rng: gz.RNNCell(features, 64, rng=rng),
            "LSTM": lambda features, rng: bptt.inits.forget_bias(gz.LSTMCell(features, 64, rng=rng)),
            "GRU": lambda features, rng: gz.GRUCell(features, 64, rng=rng),
        },
        lambda rng: bptt.tasks.adding(100, 32, rng),
        seeds=[0, 1, 2],
        steps=6000,
        folder=CACHE / "adding",
    )
    learning_curves("adding", found)


def irnn() -> None:
    """Q. V. Le, N. Jaitly, G. E. Hinton (2015), section 4.1: ReLU and an identity matrix instead of gates."""
    found = bptt.compare(
        {
            "RNN, tanh": lambda features, rng: gz.RNNCell(features, 100, rng=rng),
            "IRNN": lambda features, rng: bptt.inits.identity(gz.RNNCell(features, 100, nonlinearity="relu", rng=rng)),
        },
        lambda rng: bptt.tasks.adding(150, 16, rng),
        seeds=[0, 1, 2],
        steps=6000,
        optimizer=lambda parameters: gz.optim.Adam(parameters, lr=1e-3),
        folder=CACHE / "irnn",
    )
    learning_curves("irnn", found)


def chrono() -> None:
    """C. Tallec, Y. Ollivier (2018), section 3: forget gates that begin with memories as long as the task's."""
    delay = 200
    found = bptt.compare(
        {
            "LSTM, forget bias 1": lambda features, rng: bptt.inits.forget_bias(gz.LSTMCell(features, 64, rng=rng)),
            "LSTM, chrono": lambda features, rng: bptt.inits.chrono(
                gz.LSTMCell(features, 64, rng=rng), 1.5 * delay, rng=rng
            ),
        },
        lambda rng: bptt.tasks.copy_memory(delay, 32, rng, length=3),
        seeds=[0, 1, 2],
        steps=8000,
        optimizer=lambda parameters: gz.optim.Adam(parameters, lr=1e-2),
        folder=CACHE / "chrono",
    )
    learning_curves("chrono", found)


def learning_curves(name: str, found: bptt.Comparison) -> None:
    figure, ax = axes(1)
    found.plot(ax)
    write(name, found.table(), figure)


def truncation() -> None:
    """C. Tallec, Y. Ollivier (2017), section 5: a truncated gradient of the wrong sign, and an unbiased one."""
    cell = bptt.tasks.InfluenceBalancing()
    run = bptt.unroll(cell, np.zeros((200, 1)), np.zeros((1, cell.units)))
    losses = [((output - 1.0) ** 2).sum() * 0.5 for output in run.outputs]
    lengths = [1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200]
    bias = bptt.truncation_bias(run, losses, lengths)
    error, cosine = bias.relative_error["theta"], bias.cosine["theta"]
    figure, (left, right) = axes(2)
    left.plot(lengths, np.where(error > 1e-15, error, np.nan), marker="o")
    left.plot(np.array(lengths)[cosine < 0], error[cosine < 0], "rx", label="wrong sign")
    left.set_xlabel("k₂, steps back")
    left.set_ylabel("relative error of dL/dθ")
    left.set_yscale("log")
    left.legend()
    lines = ["k₂      relative error   sign", *(
        f"{k:<6}  {e:<15.3g}  {'right' if c > 0 else 'wrong'}" for k, e, c in zip(lengths, error, cosine, strict=True)
    ), "", f"θ after 3,000 steps of training, {cell.best:.4f} is right"]  # fmt: skip
    for label, settings in (
        ("truncated, k₁ = k₂ = 10", {"k1": 10}),
        ("truncated, k₁ = 10, k₂ = 100", {"k1": 10, "k2": 100}),
        ("randomised, 16 steps on average", {"k1": 16, "mode": "randomised", "rng": 0}),
    ):
        path = trained_theta(3000, **settings)
        right.plot([t for t, _ in path], [theta for _, theta in path], label=label)
        lines.append(f"{label:<34}{path[-1][1]: .4f}")
    right.axhline(cell.best, color="0.5", linestyle="--", label="best")
    right.set_ylim(-0.35, 0.35)
    right.set_xlabel("step of the sequence")
    right.set_ylabel("θ")
    right.legend(fontsize=7)
    write("truncation", "\n".join(lines), figure)


def trained_theta(steps: int, **settings: Any) -> list[tuple[int, float]]:
    """θ along one long sequence, with plain gradient descent after each window."""
    cell = bptt.tasks.InfluenceBalancing()
    path = [(0, 0.0)]
    for window in bptt.tbptt(
        cell, np.zeros((steps, 1)), np.ones(steps), loss=lambda out, y: 0.5 * ((out - y) ** 2).sum(),
        state=np.zeros(cell.units), **settings,
    ):  # fmt: skip
        rate = 1e-4 / np.sqrt(1 + window.stop / 100)
        cell.theta.data[...] = np.clip(cell.theta.data - rate * cell.theta.grad, -1, 1)
        cell.theta.mark_written("docs/make_reproductions.py")
        path.append((window.stop, float(cell.theta.data)))
    return path


def clipping() -> None:
    """R. Pascanu, T. Mikolov, Y. Bengio (2013), section 3.2: gradient descent survives the cliffs if it is clipped."""
    losses: dict[str, np.ndarray] = {}
    found = {}
    for label, clip in (("not clipped", None), ("clipped to norm 1", 1.0)):
        found[label] = bptt.compare(
            {label: lambda features, rng: bptt.inits.orthogonal(gz.RNNCell(features, 50, rng=rng), 1.2, rng=rng)},
            lambda rng: bptt.tasks.temporal_order(50, 20, rng),
            seeds=range(6),
            steps=6000,
            clip=clip,
            optimizer=lambda parameters: gz.optim.SGD(parameters, lr=0.05),
            folder=CACHE / f"clipping {clip}",
        )
        losses |= found[label].losses
    both = found["not clipped"]
    for field in ("losses", "parameters", "seconds"):
        getattr(both, field).update(getattr(found["clipped to norm 1"], field))
    learning_curves("clipping", both)


ALL = {each.__name__: each for each in (spectral_radius, truncation, adding, irnn, chrono, clipping)}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        print(f"\n{name}")
        ALL[name]()
