"""The main job from end to end: whole runs, what they say and leave, Ctrl-C, and everything that may be missing."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import graphzoo as gz
from graphzoo import cli
from graphzoo.demo.model import CharacterModel, draw, load_model, sample
from graphzoo.demo.report import measure, running_mean
from graphzoo.demo.training import again_and_again, ctrl_c, evaluate

ROOT = Path(__file__).parents[1]
SENTENCE = "She sells sea shells by the sea shore; the shells she sells are sea shells for sure.\n"
SMALL = ["--hidden", "16", "--batch", "4", "--unroll", "10"]
FILES = {
    "graph.dot", "graph.svg", "loss.csv", "bptt.csv", "loss.png", "bptt.png", "weights.npz", "summary.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "shells.txt"
    file.write_text(SENTENCE * 40)
    return file


def demo(text: Path, out: Path, *options: str) -> int:
    return cli.main(["demo", "--text", str(text), "--out", str(out), *SMALL, *options])


def graphzoo(*arguments: str | Path, **streams: object) -> subprocess.Popen[str]:
    """`python -m graphzoo` in a process of its own, without CI set."""
    variables = {key: value for key, value in os.environ.items() if key != "CI"}
    return subprocess.Popen(
        [sys.executable, "-m", "graphzoo", *map(str, arguments)],
        env=variables | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        **streams,  # type: ignore[call-overload]
    )


# A whole run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Folder, stdout and stderr of a run."""
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    run = graphzoo(
        "demo", "--text", text, "--out", out, "--steps", "150", *SMALL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, progress = run.communicate(timeout=120)
    assert run.returncode == 0, progress
    return out, said, progress


def test_it_says_what_it_does(finished: tuple[Path, str, str], text: Path) -> None:
    _, said, _ = finished
    assert f"Text: {text}, 3,400 characters, 17 different ones.\n" in said
    assert "Model: LSTM with 16 hidden units, " in said
    assert "unrolled over 10 time steps, 4 streams" in said
    before, after = (
        part.split("\n\n")[0] for part in re.split("Before training it writes:\n|Now it writes:\n", said)[1:]
    )
    assert len(before) > 300
    assert len(after) > 300
    assert after.count("sh") > before.count("sh")


def test_the_loss_falls(finished: tuple[Path, str, str]) -> None:
    folder, said, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    loss = summary["loss"]
    assert abs(loss["first"] - math.log(17)) < 0.5  # it starts as unsure as a blind guess
    assert loss["last"] < 1.2
    assert loss["held_out"] < 1.2  # the held-out text repeats the one that was learnt
    assert f"Loss {loss['first']:.2f} → {loss['last']:.2f} nats per character" in said
    assert f"({loss['last'] / math.log(2):.2f} bits)" in said
    assert f"A blind guess among 17 characters costs {math.log(17):.2f} nats" in said


def test_it_leaves_its_files(finished: tuple[Path, str, str]) -> None:
    folder, said, _ = finished
    left = {file.name for file in folder.iterdir()}
    assert left == FILES
    (told,) = re.findall(f"In {re.escape(str(folder))}: (.*)\n", said)
    assert set(told.split(", ")) == left
    for name in ("loss.png", "bptt.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_summary(finished: tuple[Path, str, str], text: Path) -> None:
    folder, _, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["settings"] == {
        "text": str(text), "steps": 150, "cell": "lstm", "hidden": 16, "batch": 4, "unroll": 10, "seed": 0,
        "out": str(folder),
    }  # fmt: skip
    assert (summary["characters"], summary["alphabet"]) == (3400, 17)
    assert (summary["steps_done"], summary["interrupted"]) == (150, False)
    speed = 150 * 4 * 10 / summary["seconds"]
    assert summary["characters_per_second"] == pytest.approx(speed, rel=1e-2)
    assert summary["bits_per_character"]["last"] == pytest.approx(summary["loss"]["last"] / math.log(2))


def read_table(file: Path) -> dict[str, list[float]]:
    with file.open() as stream:
        header, *rows = csv.reader(stream)
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(header)}


def test_the_tables(finished: tuple[Path, str, str]) -> None:
    folder, _, _ = finished
    losses = read_table(folder / "loss.csv")
    assert losses["step"] == list(range(1, 151))
    assert losses["loss"][0] == json.loads((folder / "summary.json").read_text())["loss"]["first"]
    norms = read_table(folder / "bptt.csv")
    assert norms["t"] == list(range(10))
    variables = ("h", "weight_ih", "weight_hh")
    assert set(norms) == {"t"} | {f"{loss}/d{name}" for loss in ("dL", "dL_last") for name in variables}
    assert norms["dL_last/dh"][0] < norms["dL_last/dh"][9]


def test_the_graph_shows_all_time_steps(finished: tuple[Path, str, str]) -> None:
    folder, _, _ = finished
    dot, svg = (folder / "graph.dot").read_text(), (folder / "graph.svg").read_text(encoding="utf-8")
    assert dot.startswith("digraph {")
    assert len(re.findall(r'label="?<?[^"]*LSTMCell', dot)) == 10
    assert svg.count("LSTMCell</text>") == 9  # one column stands for two steps
    assert "CrossEntropyLoss" in dot
    assert "CrossEntropyLoss" in svg


def test_progress_without_a_terminal_is_plain_lines(finished: tuple[Path, str, str]) -> None:
    _, _, progress = finished
    lines = progress.splitlines()
    assert lines[0].startswith("step 1/150, loss ")
    assert lines[-1].startswith("step 150/150, loss ")
    assert all(re.fullmatch(r"step \d+/150, loss \d\.\d{3}, [\d,]+ chars/s, \d+ s left", line) for line in lines)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("ci", "width"), [(False, 80), (True, 80), (False, 0)])
def test_progress_on_a_terminal(ci: bool, width: int, text: Path, tmp_path: Path) -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
    variables = os.environ | {"PYTHONPATH": str(ROOT), "CI": "true" if ci else ""}
    command = [sys.executable, "-m", "graphzoo", "demo", "--text", text, "--out", tmp_path, "--steps", "30", *SMALL]
    run = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal:
        try:
            while piece := terminal.read(4096):
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
    assert run.wait(timeout=120) == 0
    if ci or not width:
        assert b"step 30/30, loss " in shown
        assert b"%|" not in shown
    else:
        assert re.search(rb"\r100%\|.*\| loss \d\.\d{3} \| .*char/s \| 00:\d\d gone, 00:00 left", shown)


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_other_cells(cell: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(text, tmp_path, "--cell", cell, "--steps", "60") == 0
    loss = json.loads((tmp_path / "summary.json").read_text())["loss"]
    assert loss["last"] < loss["first"] - 0.3
    assert f"{cell.upper()}Cell" in (tmp_path / "graph.dot").read_text()
    assert cli.main(["sample", str(tmp_path), "--length", "20", "--seed", "1"]) == 0
    assert f"Model: {cell.upper()} with 16 hidden units" in capsys.readouterr().out


def test_a_seed_gives_the_same_run_to_the_bit(text: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert demo(text, tmp_path / name, "--steps", "3", "--seed", seed) == 0
    a, b, c = (load_model(tmp_path / name).state_dict() for name in "abc")
    assert all(a[key].tobytes() == b[key].tobytes() for key in a)
    assert any(a[key].tobytes() != c[key].tobytes() for key in a)


def test_the_shortest_run_on_the_shortest_text(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("ab" * 20)
    assert cli.main(["demo", "--text", str(file), "--out", str(tmp_path / "out"), "--steps", "1", "--batch", "1",
                     "--unroll", "1", "--hidden", "1"]) == 0  # fmt: skip


# Interrupted ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT as on POSIX")
def test_ctrl_c_keeps_what_was_learnt(text: Path, tmp_path: Path) -> None:
    run = graphzoo(
        "demo", "--text", text, "--out", tmp_path, "--steps", "10000000", *SMALL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stderr is not None
    assert run.stderr.readline().startswith("step 1/10000000")
    run.send_signal(signal.SIGINT)
    said, complaints = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "Traceback" not in complaints
    done = json.loads((tmp_path / "summary.json").read_text())
    assert done["interrupted"]
    assert f"Stopped by Ctrl-C after {done['steps_done']} of 10000000 steps; what was learnt is kept." in said
    assert len(read_table(tmp_path / "loss.csv")["step"]) == done["steps_done"] >= 1
    assert {file.name for file in tmp_path.iterdir()} >= {"graph.dot", "weights.npz", "bptt.csv"}
    assert load_model(tmp_path).alphabet == "".join(sorted(set(SENTENCE)))


def test_the_second_ctrl_c_is_as_ever() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c() as pressed:
        assert not pressed()
        signal.raise_signal(signal.SIGINT)
        assert pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_left_alone_in_other_threads() -> None:
    seen = []

    def work() -> None:
        with ctrl_c() as pressed:
            seen.append(pressed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


# What may be missing or wrong -----------------------------------------------------------------------------------------


def test_without_matplotlib_and_with_no_programs(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    missing = ("matplotlib", "pygraphviz")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in missing else find_spec(name, *more)
    )
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert demo(text, tmp_path, "--steps", "2") == 0
    assert {file.name for file in tmp_path.iterdir()} == FILES - {"loss.png", "bptt.png"}
    said = capsys.readouterr().out
    assert (
        "No plots: they need matplotlib (pip install 'graphzoo[plot]'); loss.csv and bptt.csv have the numbers.\n"
        in said
    )


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (None, "there is no file {file}"),
        (b"", "{file} is empty: expected text to learn from"),
        (b"some text\0", "{file} is not text: byte 9 is NUL; expected a UTF-8 text file"),
        (b"\xff\xfea", "{file} is not UTF-8 text: byte 0 is 0xff; convert it, for example with iconv -t utf-8"),
        (b"aaaa" * 1000, "the text repeats one character, 'a': expected text to learn from"),
        (
            b"short",
            "the text is too short: 5 characters, expected at least 220 for --batch 4 --unroll 10; "
            "give a longer text or smaller numbers",
        ),
    ],
)
def test_useless_texts(raw: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text"
    if raw is not None:
        file.write_bytes(raw)
    assert demo(file, tmp_path / "out") == 2
    assert capsys.readouterr() == ("", f"graphzoo demo: error: {complaint.format(file=file)}\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, why in ((text, "File exists"), (text / "below", "Not a directory")):
        assert demo(text, out) == 2
        complaint = f"graphzoo demo: error: cannot write to {out}: {why}; give another --out\n"
        assert capsys.readouterr() == ("", complaint)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_folder_that_cannot_be_written_to(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert demo(text, tmp_path) == 2
    assert "Permission denied; give another --out" in capsys.readouterr().err


# Sampling -------------------------------------------------------------------------------------------------------------


def written(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert cli.main(["sample", *map(str, arguments)]) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_sample_writes_on(finished: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = finished
    first = written(capsys, folder, "--seed", "3", "--length", "50")
    assert len(first) == 50
    assert set(first) <= set(SENTENCE)
    assert written(capsys, folder / "weights.npz", "--seed", "3", "--length", "50") == first
    assert written(capsys, folder, "--seed", "4", "--length", "50") != first
    assert written(capsys, folder, "--length", "200") != written(capsys, folder, "--length", "200")


def test_a_prompt_is_gone_on_from(finished: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = finished
    greedy = written(capsys, folder, "--prompt", "She sells sea sh", "--length", "4", "--temperature", "0")
    assert greedy.startswith("She sells sea sh")
    assert len(greedy) == 20


def test_what_cannot_be_sampled(
    finished: tuple[Path, str, str], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = finished
    gz.save(tmp_path / "other.npz", {"step": 3})
    gz.save(tmp_path / "future.npz", gz.load(folder / "weights.npz") | {"weights": {"W": np.zeros(3)}})
    np.savez(tmp_path / "plain.npz", x=np.zeros(3))
    for arguments, complaint in (
        ([tmp_path], f"there is no {tmp_path}/weights.npz; `graphzoo demo --out {tmp_path}` makes one"),
        ([folder, "--prompt", "Zoë"], "the prompt has characters that the text did not have: 'Zë'"),
        (
            [tmp_path / "other.npz"],
            f"{tmp_path}/other.npz holds no character model; expected a weights.npz of `graphzoo demo`",
        ),
        (
            [tmp_path / "future.npz"],
            f"{tmp_path}/future.npz was written by another version of graphzoo; run `graphzoo demo` again",
        ),
        ([tmp_path / "plain.npz"], f"{tmp_path}/plain.npz is not a graphzoo checkpoint"),
        ([text], f"{text} cannot be read: it is no npz file, or was damaged or cut off"),
    ):
        assert cli.main(["sample", *map(str, arguments)]) == 2
        assert capsys.readouterr() == ("", f"graphzoo sample: error: {complaint}\n")


def test_draws_follow_the_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = np.array([0.0, 1.0, -1.0, 2.0])
    for temperature in (0.5, 1.0, 2.0):
        draws = 20_000
        counts = np.bincount([draw(logits, temperature, rng) for _ in range(draws)], minlength=4)
        p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        chi_squared = ((counts - draws * p) ** 2 / (draws * p)).sum()
        assert chi_squared < 16.3  # one in a thousand, with three degrees of freedom
    assert draw(logits, 0.0, rng) == 3
    assert draw(logits * 1e4, 1e-9, rng) == 3


def test_sampling_records_nothing() -> None:
    model = CharacterModel("abc", 4, rng=0)
    with gz.Tape() as tape:
        sample(model, 5, np.random.default_rng(0))
    assert len(tape) == 0


# The parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("first_target", [0, 3])
def test_gradients_over_time_against_central_differences(cell: str, first_target: int) -> None:
    rng = np.random.default_rng(0)
    model = CharacterModel("abcde", 3, cell, rng=rng).astype(np.float64)
    inputs, targets = rng.integers(5, size=(2, 4, 2))
    norms = measure(model, inputs, targets, first_target)

    def loss(disturbed: int, of_state: np.ndarray | None, of_weights: dict[str, np.ndarray]) -> float:
        """The loss when at one time step the state or the weights are others than they were."""
        state, hidden = None, []
        for t, now in enumerate(inputs):
            here = t == disturbed
            for name, change in of_weights.items() if here else ():
                getattr(model.cell, name).data += change
            state = model.cell(model.embedding(now), state)
            for name, change in of_weights.items() if here else ():
                getattr(model.cell, name).data -= change
            if here and of_state is not None:
                state = (state[0] + of_state, state[1]) if cell == "lstm" else state + of_state
            hidden.append(state[0] if cell == "lstm" else state)
        logits = np.concatenate([model.output(h).numpy() for h in hidden[first_target:]])
        right = logits[np.arange(len(logits)), targets[first_target:].reshape(-1)]
        return float((np.log(np.exp(logits).sum(axis=1)) - right).mean())

    def norm(t: int, shape: tuple[int, ...], name: str | None) -> float:
        slopes = []
        for index in np.ndindex(shape):
            change = np.zeros(shape)
            change[index] = 1e-5
            at = [
                loss(t, sign * change, {}) if name is None else loss(t, None, {name: sign * change}) for sign in (1, -1)
            ]
            slopes.append((at[0] - at[1]) / 2e-5)
        return float(np.linalg.norm(slopes))

    with gz.no_grad():
        for t in range(4):
            assert norms["h"][t] == pytest.approx(norm(t, (2, 3), None), rel=1e-6, abs=1e-9)
            for name, parameter in model.cell.named_parameters():
                if parameter.ndim < 2:
                    continue
                expected = norm(t, parameter.shape, name)
                assert norms[name][t] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_evaluate_is_the_mean_over_the_text() -> None:
    model = CharacterModel("ab", 3, rng=0)
    characters = np.random.default_rng(0).integers(2, size=(13, 1))
    with gz.no_grad():
        logits = model(characters)[0].numpy()[:-1].astype(np.float64)
    right = logits[np.arange(12), characters[1:, 0]]
    assert evaluate(model, characters, 4) == pytest.approx(
        (np.log(np.exp(logits).sum(axis=1)) - right).mean(), rel=1e-5
    )


def test_windows_come_again_and_again() -> None:
    streams = np.arange(10)[:, None]
    windows = again_and_again(streams, 4)
    starts = [(int(inputs[0, 0]), anew) for (inputs, _, anew), _ in zip(windows, range(5), strict=False)]
    assert starts == [(0, True), (4, False), (0, True), (4, False), (0, True)]


def test_running_mean_of_few() -> None:
    np.testing.assert_allclose(running_mean([3.0], 50), [3.0])
