"""The command line: help and errors as texts, exit codes, and that each mistake takes one line and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphzoo
from graphzoo import cli, doctor

ROOT = Path(__file__).parents[1]

HELP = """\
usage: graphzoo COMMAND [options]

A dynamic computation-graph engine with tape autodiff, on NumPy.

commands:
  demo    train a character-level LSTM on real text; see its graph and gradients
  sample  write on from what a demo has learnt
  bptt    study a recurrent network on a task: one page with all figures
  draw    run a program and draw the graph of one of its tensors
  zoo     list the modules, or print one with its formulas
  check   prove the modules' passes, and print the proof as a table
  doctor  tell what graphzoo finds here, and what could be better

options:
  -h, --help  show this help message and exit
  --version   print the version and exit

Start with `graphzoo demo`: it takes about a minute and brings its own text.
`graphzoo COMMAND --help` tells more.
"""

DEMO_HELP = """\
usage: graphzoo demo [options]

Trains a character-level recurrent network by truncated backpropagation
through time, and prints text that it writes before and after.

options:
  -h, --help   show this help message and exit
  --text FILE  UTF-8 text to learn from (default: Python's manual)
  --steps N    steps of training (default: 2000)
  --cell CELL  rnn, lstm or gru (default: lstm)
  --hidden N   size of the state (default: 128)
  --batch N    texts read side by side (default: 32)
  --unroll N   time steps unrolled (default: 50)
  --seed N     where all randomness starts (default: 0)
  --out DIR    where the results go (default: graphzoo-demo)

what it leaves in DIR:
  graph.dot, graph.svg  the graph of a training step, unrolled over its time steps,
                        which the SVG folds into 9 columns
  loss.png, loss.csv    the loss over the steps of training
  bptt.png, bptt.csv    over the time steps t: the gradient that reaches h_t, and
                        what each t contributes to the gradients of the weights
                        (the PNGs need matplotlib: pip install 'graphzoo[plot]')
  weights.npz           what was learnt; `graphzoo sample DIR` writes on from it
  summary.json          settings, speed, loss before and after

Ctrl-C ends the training early, keeps what was learnt and writes all of this.
"""

SAMPLE_HELP = """\
usage: graphzoo sample [DIR|FILE] [options]

Writes text, character by character, with the weights that `graphzoo demo`
left.

positional arguments:
  DIR|FILE         a demo's folder or its weights.npz (default: graphzoo-demo)

options:
  -h, --help       show this help message and exit
  --prompt TEXT    text to go on from (default: the start of a line)
  --length N       characters to write (default: 400)
  --temperature T  0: always the likeliest character, 1: as learnt, above:
                   wilder (default: 0.6)
  --seed N         for the same text every time (default: another each time)
"""


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def stopped(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--help"], HELP), (["demo", "--help"], DEMO_HELP), (["sample", "--help"], SAMPLE_HELP)],
)
def test_help(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(arguments) == 0
    assert capsys.readouterr() == (text, "")


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert capsys.readouterr() == (HELP, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(["--version"]) == 0
    assert capsys.readouterr() == (f"graphzoo {graphzoo.__version__}\n", "")


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "report", lambda: "all is well")
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr() == ("all is well\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("demo --steps 0", "graphzoo demo: error: --steps: 0 is impossible: expected a whole number of at least 1"),
        (
            "demo --steps 1.5",
            "graphzoo demo: error: --steps: '1.5' is no number: expected a whole number of at least 1",
        ),
        (
            "demo --hidden 1000000",
            "graphzoo demo: error: --hidden: 1000000 is impossible: expected a whole number from 1 to 8192",
        ),
        ("demo --batch -3", "graphzoo demo: error: --batch: -3 is impossible: expected a whole number from 1 to 4096"),
        ("demo --unroll 0", "graphzoo demo: error: --unroll: 0 is impossible: expected a whole number from 1 to 10000"),
        ("demo --seed -1", "graphzoo demo: error: --seed: -1 is impossible: expected a whole number of at least 0"),
        (
            "sample --length 0",
            "graphzoo sample: error: --length: 0 is impossible: expected a whole number of at least 1",
        ),
        (
            "sample --temperature nan",
            "graphzoo sample: error: --temperature: nan is impossible: expected a number from 0 to 100",
        ),
        (
            "sample --temperature -0.1",
            "graphzoo sample: error: --temperature: -0.1 is impossible: expected a number from 0 to 100",
        ),
        (
            "sample --temperature hot",
            "graphzoo sample: error: --temperature: 'hot' is no number: expected one from 0 to 100",
        ),
    ],
)
def test_impossible_numbers(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(arguments.split()) == 2
    command = "graphzoo " + arguments.split()[0]
    assert capsys.readouterr() == ("", f"{line}; see `{command} --help`\n")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        # What stands between the parts differs from one version of Python to the next.
        ("demo --cell grru", ["graphzoo demo: error: --cell: invalid choice: 'grru'", "rnn", "lstm", "gru"]),
        ("dmeo", ["graphzoo: error: COMMAND: invalid choice: 'dmeo'", "demo", "sample", "doctor"]),
        ("demo --size 3", ["graphzoo demo: error: unrecognized arguments: --size 3; see `graphzoo demo --help`"]),
        ("demo --text", ["graphzoo demo: error: --text: expected one argument"]),
    ],
)
def test_impossible_options(arguments: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(parts[0])
    assert all(part in err for part in parts)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "\ngraphzoo: interrupted\n"),
        (
            OSError(28, "No space left on device", "x.npz"),
            1,
            "graphzoo: error: [Errno 28] No space left on device: 'x.npz'\n",
        ),
        (
            MemoryError("Unable to allocate 15 TiB"),
            2,
            "graphzoo: error: not enough memory for these settings: Unable to allocate 15 TiB\n",
        ),
    ],
)
def test_what_may_happen_any_time(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(doctor, "report", fail)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr() == ("", line)


def graphzoo_in(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m graphzoo` as a process of its own, that works in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "graphzoo", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_as_a_program(tmp_path: Path) -> None:
    done = graphzoo_in(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"graphzoo {graphzoo.__version__}\n", "")
    done = graphzoo_in(tmp_path, "sample", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("graphzoo sample: error: there is no nowhere; `graphzoo demo --out nowhere` makes one\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a pipe that breaks as on POSIX")
def test_a_reader_that_has_seen_enough() -> None:
    command = f"{sys.executable} -m graphzoo doctor | true"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
