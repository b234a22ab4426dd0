"""The command `graphzoo`: its subcommands, their options, and one line on stderr for what cannot be used.

What a subcommand needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from graphzoo import __version__

OUT = Path("graphzoo-demo")
CELLS = ("rnn", "lstm", "gru")
TASKS = ("adding", "copy", "order", "parity", "text")
DEFAULT = " (default: %(default)s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; `arguments` default to those of the process. Returns the exit code.

    0: done. 1: reading or writing failed on the way. 2: something that was given cannot be used. 130: interrupted
    before there was anything to keep.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show “ or → shall show ? and not fail
            stream.reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\ngraphzoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough: `graphzoo sample | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        return 1
    except OSError as error:  # a full disk
        print(f"graphzoo: error: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"graphzoo: error: not enough memory for these settings: {error}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and name the subcommand whose option it was."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:  # a subcommand's would be handed to the parser of all commands, whose help doesn't list options
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        print(f"{self.prog}: error: {message}; see `{self.prog} --help`", file=sys.stderr)
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `run` of what it returns is the subcommand's function."""
    top = _Parser(
        prog="graphzoo",
        usage="graphzoo COMMAND [options]",
        description="""\
A dynamic computation-graph engine with tape autodiff, on NumPy.

commands:
  demo    train a character-level LSTM on real text; see its graph and gradients
  sample  write on from what a demo has learnt
  bptt    study a recurrent network on a task: one page with all figures
  draw    run a program and draw the graph of one of its tensors
  zoo     list the modules, or print one with its formulas
  check   prove the modules' passes, and print the proof as a table
  doctor  tell what graphzoo finds here, and what could be better""",
        epilog="""\
Start with `graphzoo demo`: it takes about a minute and brings its own text.
`graphzoo COMMAND --help` tells more.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"graphzoo {__version__}"
    top.add_argument("--version", action="version", version=version, help="print the version and exit")
    top.set_defaults(run=lambda options: _help(top))
    commands = top.add_subparsers(metavar="COMMAND", prog="graphzoo", help=argparse.SUPPRESS, parser_class=_Parser)
    _add_demo(commands)
    _add_sample(commands)
    _add_bptt(commands)
    _add_draw(commands)
    zoo = commands.add_parser(
        "zoo",
        usage="graphzoo zoo [NAME]",
        description="Lists the modules of the zoo with their forward passes and parameters; or prints one\n"
        "with its documentation and the formulas of its three passes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    zoo.add_argument("name", metavar="NAME", nargs="?", help="a module, such as LSTM; small letters will do")
    zoo.set_defaults(run=_zoo)
    check = commands.add_parser(
        "check",
        usage="graphzoo check [NAME ...]",
        description="Proves the passes of the zoo's modules, all or those named: against their definitions,\n"
        "central differences, PyTorch where it is installed, and themselves used twice.\n"
        "Prints a table; exits with 1 if anything differs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    check.add_argument("names", metavar="NAME", nargs="*", help="modules, such as LSTMCell Conv2d")
    check.set_defaults(run=_check)
    doctor = commands.add_parser(
        "doctor",
        usage="graphzoo doctor",
        description="Prints versions, BLAS and its kernels, threads, Graphviz and extras, and one line of "
        "advice for each thing that could be better. Changes nothing.",
    )
    doctor.set_defaults(run=_doctor)
    return top


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        usage="graphzoo demo [options]",
        description="Trains a character-level recurrent network by truncated backpropagation\n"
        "through time, and prints text that it writes before and after.",
        epilog="""\
what it leaves in DIR:
  graph.dot, graph.svg  the graph of a training step, unrolled over its time steps,
                        which the SVG folds into 9 columns
  loss.png, loss.csv    the loss over the steps of training
  bptt.png, bptt.csv    over the time steps t: the gradient that reaches h_t, and
                        what each t contributes to the gradients of the weights
                        (the PNGs need matplotlib: pip install 'graphzoo[plot]')
  weights.npz           what was learnt; `graphzoo sample DIR` writes on from it
  summary.json          settings, speed, loss before and after

Ctrl-C ends the training early, keeps what was learnt and writes all of this.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = demo.add_argument
    add("--text", metavar="FILE", type=Path, help="UTF-8 text to learn from (default: Python's manual)")
    add("--steps", metavar="N", type=whole(1), default=2000, help="steps of training" + DEFAULT)
    add("--cell", metavar="CELL", choices=CELLS, default="lstm", help="rnn, lstm or gru" + DEFAULT)
    add("--hidden", metavar="N", type=whole(1, 8192), default=128, help="size of the state" + DEFAULT)
    add("--batch", metavar="N", type=whole(1, 4096), default=32, help="texts read side by side" + DEFAULT)
    add("--unroll", metavar="N", type=whole(1, 10_000), default=50, help="time steps unrolled" + DEFAULT)
    add("--seed", metavar="N", type=whole(0), default=0, help="where all randomness starts" + DEFAULT)
    add("--out", metavar="DIR", type=Path, default=OUT, help="where the results go" + DEFAULT)
    demo.set_defaults(run=_demo)


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        usage="graphzoo sample [DIR|FILE] [options]",
        description="Writes text, character by character, with the weights that `graphzoo demo` left.",
        allow_abbrev=False,
    )
    add = sample.add_argument
    whose = "a demo's folder or its weights.npz" + DEFAULT
    add("weights", metavar="DIR|FILE", type=Path, nargs="?", default=OUT, help=whose)
    add("--prompt", metavar="TEXT", default="", help="text to go on from (default: the start of a line)")
    add("--length", metavar="N", type=whole(1), default=400, help="characters to write" + DEFAULT)
    scale = "0: always the likeliest character, 1: as learnt, above: wilder" + DEFAULT
    add("--temperature", metavar="T", type=temperature, default=0.6, help=scale)
    add("--seed", metavar="N", type=whole(0), help="for the same text every time (default: another each time)")
    sample.set_defaults(run=_sample)


def _add_bptt(commands: Any) -> None:
    bptt = commands.add_parser(
        "bptt",
        usage="graphzoo bptt -o REPORT.html [options]",
        description="Trains a recurrent network on a task and studies its backpropagation through time:\n"
        "what reaches states and weights, how far back, through which gates, and what\n"
        "truncation loses. Writes one page, and the numbers beside it as .npz.",
        epilog="The figures need matplotlib: pip install 'graphzoo[plot]'.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = bptt.add_argument
    add("-o", "--out", metavar="FILE", type=Path, required=True, help="where to, with the ending .html")
    add("--cell", metavar="CELL", choices=CELLS, default="lstm", help="rnn, lstm or gru" + DEFAULT)
    add("--task", metavar="TASK", choices=TASKS, default="adding", help="adding, copy, order, parity or text" + DEFAULT)
    add("--steps", metavar="N", type=whole(2, 5000), default=100, help="time steps" + DEFAULT)
    add("--hidden", metavar="N", type=whole(1, 512), default=32, help="size of the state" + DEFAULT)
    add("--train", metavar="N", type=whole(0), default=300, help="steps of training before the study" + DEFAULT)
    add("--batch", metavar="N", type=whole(1, 4096), default=32, help="sequences in each of them" + DEFAULT)
    add("--seed", metavar="N", type=whole(0), default=0, help="where all randomness starts" + DEFAULT)
    bptt.set_defaults(run=_bptt)


def _add_draw(commands: Any) -> None:
    draw = commands.add_parser(
        "draw",
        usage="graphzoo draw PROGRAM.py:NAME -o FILE [options]",
        description="Runs a Python program and draws what led to the tensor (or tensors, or gz.Graph)\n"
        "that its variable NAME holds in the end.",
        epilog="""\
The ending of FILE decides: .html (a page to search and click in), .svg, .dot,
.gv, .png, .pdf. PNG and PDF, and the SVG of a graph without time steps, need
Graphviz.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = draw.add_argument
    add("target", metavar="PROGRAM.py:NAME", help="the program, and the variable to draw")
    add("-o", "--out", metavar="FILE", type=Path, required=True, help="where to")
    add(
        "--view",
        choices=("columns", "rolled", "graph"),
        help="of an SVG: time in columns, one step with edges bent back, or Graphviz's graph",
    )
    add("--fold", metavar="N", type=whole(3), help="of SVG and HTML: fold time into so many columns")
    add("--depth", metavar="N", type=whole(0), help="close the boxes that stand inside of more than N others")
    add("--expand", metavar="CLASS", action="append", default=[], help="replace modules by what they are defined as")
    add("--gradients", action="store_true", help="with the gradients of a backward pass: SVG colours, HTML steps")
    add("--values", action="store_true", help="look at all values while the program runs, and note its lines, for HTML")
    draw.set_defaults(run=_draw)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A converter to a whole number in a range.

    >>> whole(1, 10)("7")
    7
    >>> whole(1)("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: 0 is impossible: expected a whole number of at least 1
    """
    expected = "a whole number " + (f"of at least {least}" if most is None else f"from {least} to {most}")

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number: expected {expected}") from None
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{number} is impossible: expected {expected}")
        return number

    return convert


def temperature(text: str) -> float:
    """A converter to a number from 0 to 100."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: expected one from 0 to 100") from None
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text} is impossible: expected a number from 0 to 100")
    return number


def _help(top: argparse.ArgumentParser) -> int:
    top.print_help()
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import InputError, Settings, run

    settings = vars(options)
    del settings["run"]
    try:
        run(Settings(**settings))
    except InputError as error:
        print(f"graphzoo demo: error: {error}", file=sys.stderr)
        return 2
    return 0


def _sample(options: argparse.Namespace) -> int:
    from .demo import InputError, write_on

    try:
        text = write_on(options.weights, options.prompt, options.length, options.temperature, options.seed)
    except InputError as error:
        print(f"graphzoo sample: error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def _bptt(options: argparse.Namespace) -> int:
    import importlib.util

    from .bptt.report import Settings, study
    from .errors import GraphzooError

    if importlib.util.find_spec("matplotlib") is None:
        print("graphzoo bptt: error: the figures need matplotlib: pip install 'graphzoo[plot]'", file=sys.stderr)
        return 2
    settings = {key: value for key, value in vars(options).items() if key not in ("run", "out")}
    try:
        print("\n".join(study(Settings(**settings), options.out)))
    except GraphzooError as error:
        print(f"graphzoo bptt: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _draw(options: argparse.Namespace) -> int:
    from .draw import draw
    from .errors import GraphzooError

    try:
        print(
            draw(
                options.target,
                options.out,
                view=options.view,
                fold=options.fold,
                depth=options.depth,
                expand=options.expand,
                gradients=options.gradients,
                values=options.values,
            )
        )
    except GraphzooError as error:
        print(f"graphzoo draw: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _zoo(options: argparse.Namespace) -> int:
    import shutil

    from .catalogue import listing, whole
    from .errors import ArgumentError

    try:
        print(listing(shutil.get_terminal_size((100, 24)).columns) if options.name is None else whole(options.name))
    except ArgumentError as error:
        print(f"graphzoo zoo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> int:
    from .errors import ArgumentError
    from .proof import head, line, prove

    try:
        rows = prove(options.names)
    except ArgumentError as error:
        print(f"graphzoo check: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(head(26))
    failed = 0
    for row in rows:
        print(line(row, 26), flush=True)
        failed += not row
    print(f"\n{failed} failed" if failed else "\nAll proven; – where there is nothing to compare.")
    return 1 if failed else 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import report

    print(report())
    return 0
