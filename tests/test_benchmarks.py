"""The benchmarks' own logic: statistics, gate, catalogue, table, libraries that agree. Nothing is timed."""

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import catalogue, problems, report
from benchmarks.controller import Measurement, disagreements, rotations
from benchmarks.fresh import FreshResult
from benchmarks.gate import Gate, process_cpu
from benchmarks.peers import PEERS, runs_here
from benchmarks.ratios import fastest, paired_ratio, verdict
from benchmarks.workloads import builders

TICKS = os.sysconf("SC_CLK_TCK")


class TestRatios:
    def test_pairs_cancel_a_drift_that_hits_both(self):
        drift = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
        ratio = paired_ratio(0.5 * drift, drift)
        assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)

    def test_median_and_quartiles_are_those_of_the_per_round_ratios(self):
        ratio = paired_ratio([1, 2, 3, 4, 50], [1, 1, 1, 1, 1])
        assert (ratio.low, ratio.median, ratio.high) == (2, 3, 4)

    def test_one_round_is_its_own_spread(self):
        ratio = paired_ratio([3.0], [4.0])
        assert (ratio.low, ratio.median, ratio.high) == (0.75, 0.75, 0.75)

    def test_rounds_of_different_number_are_refused(self):
        with pytest.raises(ValueError, match="longer"):
            paired_ratio([1.0], [1.0, 2.0])

    def test_fastest_goes_by_median_and_ignores_the_absent(self):
        times = {"torch": [1.0, 9.0, 9.0], "torch-tuned": [5.0, 5.0, 50.0]}
        assert fastest(times, ("torch", "torch-tuned", "jax")) == "torch-tuned"
        assert fastest(times, ("jax",)) is None

    @pytest.mark.parametrize(("value", "said"), [(0.5, "met"), (0.51, "tie"), (0.574, "tie"), (0.576, "missed")])
    def test_less_than_fifteen_percent_over_the_goal_is_a_tie(self, value, said):
        assert verdict(value, 0.5) == said


class FakeMachine:
    """A /proc/stat of two processors whose clock only moves when told to."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.busy, self.idle, self.own = folder, 1000, 5000, 0.0
        self._write()

    def run(self, seconds: float, ours: float, foreign: float) -> str:
        """Two processors pass `seconds`, of which we use `ours` CPU seconds and others `foreign`."""
        self.own += ours
        self.busy += round((ours + foreign) * TICKS)
        self.idle += round((2 * seconds - ours - foreign) * TICKS)
        self._write()
        return "result"

    def _write(self) -> None:
        # user nice system idle iowait irq softirq steal guest guest_nice; guest is part of user.
        user, system = self.busy // 2, self.busy - self.busy // 2
        line = f"cpu  {user} 0 {system} {self.idle} 0 0 0 0 {user} 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
        (self.proc / "stat").write_text(line)

    def gate(self, foreign_while_waiting: float = 0.0, **options) -> Gate:
        def sleep(seconds: float) -> None:
            self.run(seconds, 0.0, foreign_while_waiting * 2 * seconds)

        return Gate(self.proc, sleep=sleep, pause=1.0, **options)


@pytest.fixture
def machine(tmp_path):
    return FakeMachine(tmp_path)


class TestGate:
    def test_our_own_load_is_not_foreign(self, machine):
        gated = machine.gate().measure(lambda: machine.run(10, ours=20, foreign=0), lambda: machine.own)
        assert (gated.result, gated.rejected, gated.disturbed) == ("result", 0, False)
        assert gated.foreign == pytest.approx(0, abs=1e-9)

    def test_a_disturbed_repetition_is_repeated(self, machine):
        foreign = iter([8.0, 4.0, 1.0])
        gated = machine.gate().measure(lambda: machine.run(10, 10, next(foreign)), lambda: machine.own)
        assert (gated.rejected, gated.disturbed) == (2, False)
        assert gated.foreign == pytest.approx(0.05)

    def test_after_the_last_try_the_least_disturbed_is_kept_and_marked(self, machine):
        foreign = iter([9.0, 5.0, 7.0])
        action = iter("abc")

        def repetition() -> str:
            machine.run(10, 10, next(foreign))
            return next(action)

        gated = machine.gate(retries=2).measure(repetition, lambda: machine.own)
        assert (gated.result, gated.rejected, gated.disturbed) == ("b", 2, True)
        assert gated.foreign == pytest.approx(0.25)

    @pytest.mark.parametrize(("foreign", "quiet"), [(0.2, True), (0.3, False)])
    def test_waits_for_less_than_a_quarter_and_not_for_ever(self, machine, foreign, quiet):
        gate = machine.gate(foreign_while_waiting=foreign, patience=3.0)
        assert gate.wait_until_quiet(lambda: machine.own) is quiet

    def test_waits_until_the_neighbour_is_done(self, machine):
        loads = iter([1.0, 1.0, 0.0])
        gate = Gate(machine.proc, pause=1.0, sleep=lambda seconds: machine.run(seconds, 0, next(loads) * seconds))
        assert gate.wait_until_quiet(lambda: machine.own)
        assert next(loads, None) is None

    def test_no_time_passed_means_nothing_foreign(self, machine):
        gated = machine.gate().measure(lambda: "at once", lambda: machine.own)
        assert gated.foreign == 0.0

    def test_process_time_is_read_past_a_command_with_blanks_and_parentheses(self, tmp_path):
        (tmp_path / "42").mkdir()
        after = "S 1 1 1 0 -1 4194304 100 0 0 0 " + f"{3 * TICKS} {2 * TICKS} 7 7 20 0 1"
        (tmp_path / "42" / "stat").write_text(f"42 (a (b) c) {after}\n")
        assert process_cpu(42, tmp_path) == pytest.approx(5.0)


class TestPeers:
    def test_stock_means_nothing_of_the_callers_tuning(self):
        shell = {
            "OPENBLAS_CORETYPE": "Haswell",
            "OPENBLAS_L2_SIZE": "1",
            "MALLOC_ARENA_MAX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/h",
        }
        environment = PEERS["graphzoo"].environment(shell)
        assert environment["HOME"] == "/h"
        assert not environment.keys() & (shell.keys() - {"HOME"})
        assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "2"
        assert PEERS["graphzoo-tuned"].environment(shell)["OPENBLAS_CORETYPE"] == "SkylakeX"
        assert "MALLOC_TRIM_THRESHOLD_" in PEERS["torch-tuned"].environment(shell)

    def test_tuned_needs_the_processors_flag(self, tmp_path):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("flags : fpu avx2\n")
        assert runs_here(PEERS["graphzoo"], cpuinfo)
        assert not runs_here(PEERS["graphzoo-tuned"], cpuinfo)
        cpuinfo.write_text("flags : fpu avx2 avx512f\n")
        assert runs_here(PEERS["graphzoo-tuned"], cpuinfo)

    def test_rotation_gives_everybody_every_place(self):
        orders = list(rotations(["a", "b", "c"], 3))
        assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]
        assert list(rotations([], 2)) == [[], []]


class TestCatalogue:
    def test_names_are_unique_and_peers_and_goals_known(self):
        assert len(set(command.NAMES)) == len(command.NAMES)
        for workload in catalogue.WORKLOADS:
            assert set(workload.peers) <= PEERS.keys()
            assert workload.goals.keys() <= {"graphzoo", "graphzoo-tuned", "graphzoo-fast"}
            assert workload.rival_goals.keys() <= set(workload.peers)

    @pytest.mark.parametrize("library", ["graphzoo", "torch", "autograd", "mygrad"])
    def test_every_library_has_the_programs_that_the_catalogue_asks_of_it(self, library):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
        peers = {peer.name for peer in PEERS.values() if peer.library == library}
        asked = {workload.builder for workload in catalogue.WORKLOADS if peers & set(workload.peers)}
        assert asked <= builders(library).keys()

    def test_only_takes_patterns_and_refuses_what_matches_nothing(self, capsys):
        assert command.main(["--list"]) == 0
        assert "lstm-cell-128" in capsys.readouterr().out.splitlines()
        assert command._chosen(["lstm-cell-*", "import-time"]) == {
            "lstm-cell-32", "lstm-cell-128", "lstm-cell-512", "import-time",
        }  # fmt: skip
        with pytest.raises(SystemExit):
            command.main(["--only", "lstn-*"])
        assert "no workload is named lstn-*" in capsys.readouterr().err


class TestComparison:
    def test_a_wrong_gradient_is_named_and_a_rounding_error_is_not(self):
        right = {"loss": np.float32(2.0), "grad weight": np.array([100.0, 1.0])}
        close = {"loss": np.float32(2.0), "grad weight": np.array([100.0, 1.001])}
        wrong = {"loss": np.float32(2.0), "grad weight": np.array([100.0, 1.1])}
        complaints, largest = disagreements({"torch": right, "graphzoo": close, "mygrad": wrong})
        assert complaints.keys() == {"mygrad"}
        assert "grad weight differs from torch's" in complaints["mygrad"]
        assert largest == pytest.approx(1e-3)

    @pytest.mark.parametrize("bad", [{}, {"loss": np.ones((1, 1))}, {"loss": np.array([np.nan])}])
    def test_missing_misshapen_and_nan_values_are_wrong(self, bad):
        complaints, largest = disagreements({"torch": {"loss": np.ones(1)}, "graphzoo": bad})
        assert complaints.keys() == {"graphzoo"}
        assert largest == float("inf")

    def test_one_library_alone_is_not_checked(self):
        assert disagreements({"graphzoo": {}, "graphzoo-tuned": {}}) == ({}, None)


class TestReport:
    def test_row_is_judged_against_the_better_torch(self):
        workload = next(w for w in catalogue.WORKLOADS if w.name == "tiny-chain")
        times = {"torch": [4.0] * 3, "torch-tuned": [2.0] * 3, "graphzoo": [1.2] * 3, "autograd": [6.0] * 3}
        (row,) = report.rows(workload, Measurement("tiny-chain", times))
        assert (row.torch, row.to_torch.verdict) == ("torch-tuned", "missed")
        assert row.to_torch.ratio.median == pytest.approx(0.6)
        assert row.to_rivals["autograd"].verdict == "met"
        assert str(row).split()[:4] == ["tiny-chain", "stock", "2000", "m"]
        assert json.dumps(dataclasses.asdict(row))

    def test_remarks_tell_what_spoils_a_figure(self):
        spoilt = Measurement("x", {"graphzoo": [1.0]}, ["torch: boom"], None, rejected=7, disturbed=2)
        assert [line.split(" ! ")[1].split(":")[0] for line in report.remarks(spoilt)] == [
            "torch", "values unchecked", "other processes",
        ]  # fmt: skip
        assert report.remarks(Measurement("x", {"graphzoo": [1.0]}, largest_difference=1e-7)) == []

    def test_chains_say_time_bytes_and_flatness(self):
        def chain(size: int, seconds: float, held: float) -> FreshResult:
            cost = {"build": seconds / 2, "backward": seconds / 2, "drop": 0.0, "bytes": held}
            times = [seconds * 1e6] * 3
            return FreshResult(f"deep-chain-{size}", "torch", "µs", times, [4.0] * 3, {"graphzoo": cost, "torch": cost})

        measure = catalogue.FreshMeasure("deep-chain-10", "torch", 0.4, 10)
        line = report.fresh_line(measure, chain(10, 1e-6, 500.0))
        assert "0.25 [0.25–0.25]" in line
        assert "500 B/node (≤ 400: missed)" in line
        flat = report.flatness_line({10: chain(10, 1e-6, 400.0), 100: chain(100, 2e-6, 420.0)})
        assert "time 2.00 (missed)" in flat
        assert "bytes 1.05 (tie)" in flat


# The same programs, small. Inputs and hidden units differ in number, so that no transposed weight passes.
SMALL = {
    "chain": ("chain", problems.chain(10)),
    "moons": ("classifier", problems.moons(hidden=5, points=7)),
    "digits": ("classifier", problems.digits(features=6, hidden=5, classes=3, batch=4)),
    **{
        f"{kind} {builder}": (builder, problems.recurrent(kind, 3, steps=5, batch=4, inputs=2))
        for kind in ("rnn", "lstm", "gru")
        for builder in ("cell", "sequence")
    },
    **{kind: ("layer", problems.layer(kind, small=True)) for kind in (*problems._CONVOLUTIONS, *problems._SHAPES)},
    "convnet": ("convnet", problems.convnet(batch=3, size=6, width=4)),
    "gru default cell": ("cell", problems.recurrent("gru", 3, steps=5, batch=4, inputs=2, reset_after=False)),
}


class TestValues:
    @pytest.mark.parametrize("library", ["torch", "autograd", "mygrad"])
    @pytest.mark.parametrize("name", SMALL)
    def test_graphzoo_computes_what_the_peer_does(self, name, library):
        pytest.importorskip(library)
        builder, problem = SMALL[name]
        if builder not in builders(library):
            pytest.skip(f"{library} has no {builder}")
        if isinstance(problem, problems.Layer) and library not in ("torch", *catalogue._LAYERS[name][2]):
            pytest.skip(f"{library} has no {name}")
        theirs = builders(library)[builder](problem)
        if not theirs.comparable:
            pytest.skip(f"{library} has no such {builder}")
        ours = builders("graphzoo")[builder](problem).values()
        assert disagreements({library: theirs.values(), "graphzoo": ours})[0] == {}

    def test_chain_has_the_values_of_plain_numpy(self):
        problem = problems.chain(3)
        values = builders("graphzoo")["chain"](problem).values()
        y = np.tanh((problem.start + problem.addend) * problem.factor)
        np.testing.assert_allclose(values["output"], y, rtol=1e-6)
        np.testing.assert_allclose(values["grad start"], (1 - y**2) * problem.factor, rtol=1e-5)
        np.testing.assert_allclose(values["grad factor"], (1 - y**2) * (problem.start + problem.addend), rtol=1e-5)

    @pytest.mark.parametrize("name", ["moons", "digits"])
    def test_training_steps_lower_the_loss(self, name):
        builder, problem = SMALL[name]
        case = builders("graphzoo")[builder](dataclasses.replace(problem, learning_rate=0.05))
        first = case.values()["loss"]
        for _ in range(20):
            case.step()
        assert case.values()["loss"] < first


class TestStudies:
    @pytest.mark.parametrize("what", ["bptt-weight-contributions", "bptt-state-gradients"])
    def test_a_study_and_a_backward_pass_share_a_graph(self, what):
        from benchmarks.workloads import on_graphzoo

        problem = problems.recurrent("lstm", 4, steps=3, batch=2, inputs=5)
        both = on_graphzoo.studies(problem, what)
        both["backward"]()
        found = both["study"]()
        if what == "bptt-weight-contributions":
            case = on_graphzoo.cell(problem)
            expected = case.values()["grad weight_hh"]
            np.testing.assert_allclose(found.values["weight_hh"].sum(axis=0), expected, rtol=1e-4, atol=1e-7)
        else:
            assert found.total["h"].shape == (3, 2, 4)

    def test_truncated_goes_through_the_stream(self, monkeypatch):
        from benchmarks.workloads import on_graphzoo

        seen = []
        monkeypatch.setattr(on_graphzoo.gz.optim.SGD, "step", lambda self: seen.append(1))
        on_graphzoo.truncated(problems.recurrent("lstm", 4, steps=1, batch=2, inputs=5), 25)
        assert len(seen) == 3
