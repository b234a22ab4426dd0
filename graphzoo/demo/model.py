"""The network of the demo, how it writes text, and how it is kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import graphzoo as gz

from ..bptt.text import encode
from .text import InputError

CELLS = {"rnn": gz.RNNCell, "lstm": gz.LSTMCell, "gru": gz.GRUCell}
EMBEDDING = 32
KIND = "character model"


class CharacterModel(gz.Module):
    """Tells from the characters so far what the next one may be: embedding, recurrent cell, linear layer.

    Args:
        alphabet: the characters it knows.
        hidden: size of the recurrent state.
        cell: ``"rnn"``, ``"lstm"`` or ``"gru"``.
        rng: seed or generator for the initial weights.
    """

    def __init__(
        self, alphabet: str, hidden: int, cell: str = "lstm", rng: int | np.random.Generator | None = None
    ) -> None:
        rng = np.random.default_rng(rng)
        self.alphabet = alphabet
        self.embedding = gz.Embedding(len(alphabet), EMBEDDING, rng=rng)
        self.cell = CELLS[cell](EMBEDDING, hidden, rng=rng)
        self.output = gz.Linear(hidden, len(alphabet), rng=rng)

    def forward(self, characters: np.ndarray, state: Any = None) -> tuple[gz.Tensor, Any]:
        """Read characters (time, batch) from a state on (None: zeros).

        Returns:
            The logits of each next character, (time · batch, alphabet), and the state after the last step.
        """
        hidden, state = self.read(characters, state)
        return self.output(gz.concatenate(hidden)), state

    def read(self, characters: np.ndarray, state: Any = None) -> tuple[list[gz.Tensor], Any]:
        """The hidden state h_t (batch, hidden) after each time step, and the whole state after the last."""
        hidden = []
        for t, now in enumerate(characters):
            with gz.time_step(t):
                state = self.cell(self.embedding(now), state)
            hidden.append(state[0] if isinstance(state, tuple) else state)  # an LSTM's state is (h, c)
        return hidden, state


@gz.no_grad()
def sample(
    model: CharacterModel,
    length: int,
    rng: np.random.Generator,
    *,
    prompt: str = "",
    temperature: float = 0.6,
) -> str:
    """Text that the model writes after a prompt, character by character.

    Args:
        model: which writes.
        length: number of characters.
        rng: draws the characters.
        prompt: what was written so far; if empty, the end of a line or, in an alphabet that has none, the
            first character.
        temperature: divides the logits; 0 always takes the likeliest character.
    """
    written = []
    logits, state = model(encode(prompt or first_prompt(model.alphabet), model.alphabet)[:, None])
    for _ in range(length):
        choice = draw(logits.numpy()[-1], temperature, rng)
        written.append(model.alphabet[choice])
        logits, state = model(np.array([[choice]]), state)
    return "".join(written)


def first_prompt(alphabet: str) -> str:
    return "\n" if "\n" in alphabet else alphabet[0]


def draw(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """An index, drawn with the probabilities softmax(logits / temperature)."""
    if temperature == 0:
        return int(logits.argmax())
    # The largest logit after adding Gumbel noise is a draw from the softmax, with no overflow near T = 0.
    return int((logits + temperature * rng.gumbel(size=logits.shape)).argmax())


def save_model(path: Path, model: CharacterModel, cell: str, hidden: int) -> None:
    """Write the weights, and what `load_model` needs beside them: alphabet, cell and size."""
    kept = {"kind": KIND, "alphabet": model.alphabet, "cell": cell, "hidden": hidden}
    gz.save(path, {**kept, "weights": model.state_dict()})


def load_model(path: Path) -> CharacterModel:
    """The model that a demo left in a folder or file.

    Raises:
        InputError: there is none.
    """
    file = path / "weights.npz" if path.is_dir() else path
    try:
        kept = gz.load(file)
    except FileNotFoundError:
        raise InputError(f"there is no {file}; `graphzoo demo --out {path}` makes one") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except gz.ArgumentError as error:
        raise InputError(str(error).partition("\n")[0]) from None
    if not isinstance(kept, dict) or kept.get("kind") != KIND:
        raise InputError(f"{file} holds no character model; expected a weights.npz of `graphzoo demo`")
    try:
        model = CharacterModel(kept["alphabet"], kept["hidden"], kept["cell"], rng=0)
        model.load_state_dict(kept["weights"])
    except KeyError:  # gz.StateError is one
        raise InputError(f"{file} was written by another version of graphzoo; run `graphzoo demo` again") from None
    return model
