"""`graphzoo demo` and `graphzoo sample`: a character-level recurrent network learns real text, and is looked at.

`text` reads and cuts the text, `model` is the network, `training` teaches it, `report` draws and tabulates;
here the parts are put together and talk to the user.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shlex
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphzoo as gz

from ..bptt.text import alphabet_of, encode
from . import report
from .model import CharacterModel, load_model, sample, save_model
from .text import InputError, read_text, split, windows
from .training import History, evaluate, one_blas_thread, train

__all__ = ["InputError", "Settings", "run", "write_on"]

SAMPLE_LENGTH = 300
TOPICS = "pydoc_data.topics"


@dataclass(frozen=True)
class Settings:
    """The options of `graphzoo demo`."""

    text: Path | None = None
    steps: int = 2000
    cell: str = "lstm"
    hidden: int = 128
    batch: int = 32
    unroll: int = 50
    seed: int = 0
    out: Path = Path("graphzoo-demo")


@one_blas_thread()
def run(settings: Settings) -> None:
    """Train, and leave the results in a folder; talk about it on stdout, show progress on stderr.

    Raises:
        InputError: the text or the folder cannot be used; nothing was trained then.
    """
    text = read_text(settings.text)
    alphabet = alphabet_of(text)
    if len(alphabet) < 2:
        raise InputError(f"the text repeats one character, {alphabet!r}: expected text to learn from")
    streams, held_out = split(encode(text, alphabet), settings.batch, settings.unroll)
    folder = folder_for_results(settings.out)

    model = CharacterModel(alphabet, settings.hidden, settings.cell, rng=settings.seed)
    introduce(settings, model, len(text))
    show_sample("Before training it writes:", model, settings.seed)
    history = train(model, streams, settings.steps, settings.unroll)
    save_model(folder / "weights.npz", model, settings.cell, settings.hidden)
    if history.interrupted:
        done = len(history.losses)
        say(f"\nStopped by Ctrl-C after {done} of {settings.steps} steps; what was learnt is kept.")
    say()
    show_sample("Now it writes:", model, settings.seed)

    held_out_loss = evaluate(model, held_out, settings.unroll)
    say(describe_losses(history, held_out_loss, len(alphabet)))
    inputs, targets = next(windows(streams, settings.unroll))
    files, hints = write_report(folder, model, history, held_out_loss, inputs, targets, settings.cell)
    save_summary(folder / "summary.json", settings, history, held_out_loss, len(text), model)
    say(f"In {folder}: {', '.join(file.name for file in files)}, weights.npz, summary.json")
    for hint in hints:
        say(hint)
    say(f"Let it write on: graphzoo sample {shlex.quote(str(folder))} --length 1000")


def write_on(path: Path, prompt: str, length: int, temperature: float, seed: int | None) -> str:
    """What the model in a file, or in a demo's folder, writes after a prompt; the prompt included.

    Raises:
        InputError: there is no model, or the prompt has characters that it does not know.
    """
    model = load_model(path)
    unknown = "".join(sorted(set(prompt) - set(model.alphabet)))
    if unknown:
        raise InputError(f"the prompt has characters that the text did not have: {unknown!r}")
    written = sample(model, length, np.random.default_rng(seed), prompt=prompt, temperature=temperature)
    return prompt + written


def folder_for_results(folder: Path) -> Path:
    """Make the folder, and make sure before the training that files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; give another --out") from None
    return folder


def say(text: str = "") -> None:
    print(text, flush=True)  # at once: stdout and the progress on stderr shall come in order


def introduce(settings: Settings, model: CharacterModel, characters: int) -> None:
    source = settings.text or f"Python's reference manual ({TOPICS})"
    numbers = sum(parameter.size for parameter in model.parameters())
    say(f"Text: {source}, {characters:,} characters, {len(model.alphabet)} different ones.")
    say(
        f"Model: {settings.cell.upper()} with {settings.hidden} hidden units, {numbers:,} parameters, unrolled "
        f"over {settings.unroll} time steps, {settings.batch} streams of text side by side.\n"
    )


def show_sample(title: str, model: CharacterModel, seed: int) -> None:
    written = sample(model, SAMPLE_LENGTH, np.random.default_rng(seed))
    say(title)
    say("\n".join("    " + line for line in written.strip("\n").split("\n")) + "\n")


def describe_losses(history: History, held_out: float, alphabet: int) -> str:
    """What the losses came to, and what the numbers mean."""
    first, last = history.losses[0], history.recent
    return (
        f"Loss {first:.2f} → {last:.2f} nats per character ({last / math.log(2):.2f} bits); {held_out:.2f} on "
        f"text held out from training.\nA blind guess among {alphabet} characters costs "
        f"{math.log(alphabet):.2f} nats; {last:.2f} is to be as unsure as among {math.exp(last):.1f}.\n"
    )


def write_report(
    folder: Path,
    model: CharacterModel,
    history: History,
    held_out: float,
    inputs: np.ndarray,
    targets: np.ndarray,
    cell: str,
) -> tuple[list[Path], list[str]]:
    """Write graph, tables and plots; gives the files, and a sentence on each that could not be made."""
    hints = []
    graph = report.training_graph(model, inputs, targets)
    files = [graph.save(folder / "graph.dot"), graph.save(folder / "graph.svg", fold=report.GRAPH_COLUMNS)]
    norms = report.gradients_over_time(model, inputs, targets)
    steps = range(1, len(history.losses) + 1)
    files.append(report.save_table(folder / "loss.csv", {"step": steps, "loss": history.losses}))
    files.append(report.save_table(folder / "bptt.csv", norms))
    if importlib.util.find_spec("matplotlib"):
        files.append(report.save_loss_plot(folder / "loss.png", history, len(model.alphabet), held_out))
        files.append(report.save_time_plot(folder / "bptt.png", norms, cell))
    else:
        hints.append(
            "No plots: they need matplotlib (pip install 'graphzoo[plot]'); loss.csv and bptt.csv have the numbers."
        )
    return files, hints


def save_summary(
    file: Path, settings: Settings, history: History, held_out: float, characters: int, model: CharacterModel
) -> None:
    """Write settings and outcome as JSON; losses in nats per character."""
    done = len(history.losses)
    summary: dict[str, Any] = {
        "graphzoo": gz.__version__,
        "settings": asdict(settings) | {"text": str(settings.text or TOPICS), "out": str(settings.out)},
        "characters": characters,
        "alphabet": len(model.alphabet),
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "steps_done": done,
        "interrupted": history.interrupted,
        "seconds": round(history.seconds, 3),
        "characters_per_second": round(done * settings.batch * settings.unroll / history.seconds),
        "loss": {"first": history.losses[0], "last": history.recent, "held_out": held_out},
        "bits_per_character": {"last": history.recent / math.log(2), "held_out": held_out / math.log(2)},
    }
    file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
