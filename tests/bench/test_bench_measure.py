"""The parts of `elmo_fast.bench` that make a figure: turns, fresh text, percentiles, limits, the probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from elmo_fast import _cpu
from elmo_fast.bench import limits, machine, suites, texts
from elmo_fast.bench.implementations import Implementation
from elmo_fast.bench.measure import Pace, ratio, summary, take_turns
from elmo_fast.weights.options import Options

SENTENCES = [[f"w{i}_{k}" for k in range(3 + i % 30)] for i in range(400)]


class Players:
    """Implementations that record who was called with what, and move a clock of their own."""

    def __init__(self, **seconds: float) -> None:
        self.calls: list[tuple[str, str]] = []
        self.prepared: list[str] = []
        self.now = 0.0
        self.implementations = [self._make(name, duration) for name, duration in seconds.items()]

    def _make(self, name: str, duration: float) -> Implementation:
        def forward(ids: str) -> None:
            self.calls.append((name, ids))
            self.now += duration

        return Implementation(name, forward, prepare=lambda char_ids: self.prepared.append(name))

    def play(self, workload: texts.Workload, repeats: int, **options: object):  # type: ignore[no-untyped-def]
        return take_turns(
            workload, self.implementations, repeats, clock=lambda: self.now, to_ids=lambda batch: batch[0][0], **options
        )


def test_they_take_turns_on_the_same_batch_each_turn_beginning_with_another() -> None:
    players = Players(a=1.0, b=2.0, c=3.0)
    workload = texts.as_they_come("any", 2, SENTENCES)
    turns = players.play(workload, 4, warm_ups=2)
    first = [workload.batch(i)[0][0] for i in range(6)]
    warm_up = [(name, first[i]) for name in "abc" for i in (0, 1)]
    order = [(name, first[2 + turn]) for turn, names in enumerate(("abc", "bca", "cab", "abc")) for name in names]
    assert players.calls == warm_up + order
    assert players.prepared == [name for name, _ in players.calls]
    assert turns.seconds == {"a": [1.0] * 4, "b": [2.0] * 4, "c": [3.0] * 4}
    assert turns.batches == [workload.batch(i) for i in range(2, 6)]
    assert turns.fresh and not turns.skipped


def test_preparing_is_not_timed() -> None:
    players = Players(a=1.0)
    slow_to_prepare = players.implementations[0]
    slow_to_prepare.prepare = lambda char_ids: setattr(players, "now", players.now + 100.0)
    assert players.play(texts.as_they_come("any", 1, SENTENCES), 2).seconds == {"a": [1.0, 1.0]}


def test_a_budget_ends_turns_and_skips_what_would_take_too_long() -> None:
    players, pace = Players(quick=0.5, slow=4.0, slower=20.0), Pace()
    small, large = (texts.running_text(str(n), n, SENTENCES, 10) for n in (1, 20))
    turns = players.play(small, 6, budget=10.0, pace=pace)
    assert turns.seconds == {"quick": [0.5] * 6, "slow": [4.0, 4.0, 4.0, None, None, None]}
    assert list(turns.skipped) == ["slower"] and "takes 20 s" in turns.skipped["slower"]
    players.calls.clear()
    turns = players.play(large, 1, budget=10.0, pace=pace)
    assert sorted(turns.skipped) == ["slow", "slower"] and "at least 16 s" in turns.skipped["slow"]
    assert {name for name, _ in players.calls} == {"quick"}, "what was predicted to be too slow was run"


def test_wrong_numbers_of_turns() -> None:
    with pytest.raises(ValueError, match="repeats.*got 0"):
        Players(a=1.0).play(texts.as_they_come("any", 1, SENTENCES), 0)


def test_summary() -> None:
    result = summary([0.001 * i for i in range(1, 102)], [1000] * 101)
    assert result == {
        "repeats": 101, "milliseconds": 51.0, "spread": 25.0, "tokens_per_second": 19610.0, "p50": 51.0, "p90": 91.0,
        "p99": 100.0,
    }  # fmt: skip
    result = summary([0.1, None, 0.3, 0.2] * 4, [10, 10, 60, 20] * 4)
    assert (result["repeats"], result["milliseconds"], result["tokens_per_second"]) == (12, 200.0, 100.0)
    assert result["p90"] == 300.0 and result["p99"] is None
    assert summary([0.1] * 9, [1] * 9)["p90"] is None


def test_ratio_is_within_a_turn() -> None:
    assert ratio([10.0, 200.0, None, 30.0], [1.0, 10.0, 1.0, None]) == 15.0
    assert ratio([None, 1.0], [1.0, None]) is None


@pytest.mark.parametrize(
    "workload",
    [
        texts.as_they_come("as they come", 16, SENTENCES),
        texts.of_length("of length", 4, SENTENCES, 18, 22),
        texts.running_text("running", 8, SENTENCES, 20),
    ],
    ids=lambda workload: workload.name,
)
def test_every_batch_is_other_text(workload: texts.Workload) -> None:
    assert workload.num_fresh > 3
    batches = [workload.batch(i) for i in range(workload.num_fresh)]
    sentences = [tuple(sentence) for batch in batches for sentence in batch]
    assert len(set(sentences)) == len(sentences) == workload.num_fresh * workload.batch_size
    again = [workload.batch(i) for i in range(workload.num_fresh, 2 * workload.num_fresh)]
    assert not any(batch in batches for batch in again), "a second lap repeats a batch"


def test_a_report_says_when_the_text_began_again() -> None:
    workload = texts.as_they_come("any", 100, SENTENCES)
    assert Players(a=1.0).play(workload, 3).fresh
    assert not Players(a=1.0).play(workload, 4).fresh


def test_lengths() -> None:
    assert {len(s) for s in texts.of_length("x", 64, SENTENCES, 10, 10).batch(3)} == {10}
    assert {len(s) for s in texts.running_text("x", 3, SENTENCES[:2], 500).batch(0)} == {500}
    for suite in suites.SUITES:
        for cell in suites.cells(suite, SENTENCES, 1, smoke=True):
            assert cell.length is None or {len(s) for s in cell.workload.batch(0)} == {cell.length}


def test_pythons_own_text() -> None:
    pytest.importorskip("pydoc_data.topics", reason="this Python comes without its help topics")
    sentences = texts._python_topics()
    assert len(sentences) > 500 and all(3 <= len(sentence) <= 100 for sentence in sentences)


def test_least_seconds() -> None:
    options = Options("relu", 4, ((1, 10),), 1, 50, cell_size=20, projection_dim=5, n_layers=2, cell_clip=0.0,
                      proj_clip=0.0, use_skip_connections=True)  # fmt: skip
    weights = limits.Weights.of(options)
    assert weights == limits.Weights(encoder=2 * 100 + 50, inputs=(2 * 80 * 5,) * 2, recurrent=80 * 5 + 5 * 20)
    assert weights.nbytes("float32") == (4 * (250 + 1600 + 4 * 500), 2000)
    assert weights.nbytes("int8") == (2 * 250 + 1600 + 4 * 500, 500)
    batch = [["a", "b", "a"], ["b"]]  # 4 distinct with the markers, 8 rows, 5 steps
    read = {"float32": 1e9}
    fast_memory = limits.Rates({"float32": 1.0}, read, read)
    operations = 2 * (4 * 250 + 4 * 800 + 8 * 800 + 2 * 2 * 8 * 500)
    assert limits.least_seconds(batch, weights, "float32", fast_memory) == (pytest.approx(operations), "arithmetic")
    fast_arithmetic = limits.Rates({"float32": 1e15}, {"float32": 1.0}, {"float32": 2.0})
    nbytes = 4 * (250 + 1600) + 4 * 2 * 2 * 500 * 5 / 2
    assert limits.least_seconds(batch, weights, "float32", fast_arithmetic) == (pytest.approx(nbytes), "memory")
    assert limits.least_seconds(batch, weights, "int8", fast_memory) is None


def test_arithmetic_rates_count_the_units_of_the_instruction_set_in_use() -> None:
    probed = {"fma_avx2": 2.0, "int8_avx2": 3.0, "int8_avx2vnni": 8.0, "fma_avx512": 4.0, "int8_avx512vnni": 16.0}
    probed |= {"bf16_amx": 60.0, "int8_amx": 120.0}
    assert limits.arithmetic_rates(probed, "avx2") == {"float32": 2.0, "bfloat16": 2.0, "int8": 3.0}
    assert limits.arithmetic_rates(probed, "avx2vnni") == {"float32": 2.0, "bfloat16": 2.0, "int8": 8.0}
    assert limits.arithmetic_rates(probed, "avx512") == {"float32": 4.0, "bfloat16": 4.0, "int8": 3.0}
    assert limits.arithmetic_rates(probed, "avx512vnni") == {"float32": 4.0, "bfloat16": 4.0, "int8": 16.0}
    amx = {"float32": 4.0, "bf16x3": 10.0, "bf16x2": 20.0, "bfloat16": 60.0, "int8": 120.0}
    assert limits.arithmetic_rates(probed, "amx") == amx
    assert limits.arithmetic_rates({}, "unknown") == {}


@pytest.mark.parametrize("kind", _cpu.probe_kinds())
def test_probe(kind: str) -> None:
    for threads in (1, 2):
        assert _cpu.probe(kind, threads, seconds=0.002, nbytes=1 << 20) > 1e7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fma", 1), "kind: expected one of read, .*, got 'fma'"),
        (("read", 0), "num_threads: expected 1 to 256, got 0"),
        (("read", 1, 0.0), "seconds: expected more than 0"),
        (("read", 2, 0.01, 100), "nbytes: expected at least 64 KB a thread, got 100"),
    ],
)
def test_probe_refuses(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _cpu.probe(*arguments)


def test_machine() -> None:
    described = machine.describe()
    assert described["processor"] and described["isa"] in described["isas_available"]
    weights = limits.Weights(1000, (2000, 2000), 500)
    probed = dict.fromkeys(_cpu.probe_kinds(), 1e9)  # an instruction set may run another one's multiply-adds
    rates = machine.rates(probed, 1, weights, ["float32", "int8"])
    assert rates.arithmetic["float32"] == 1e9
    assert rates.read_model.keys() == rates.read_recurrent.keys() == {"float32", "int8"}


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="needs Linux's /proc/stat")
def test_work_of_other_processes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(100.0, 50.0, 10.0, 1.0), (110.0, 75.0, 20.0, 2.0)])
    monkeypatch.setattr(machine.Disturbance, "_now", staticmethod(lambda: next(moments)))
    assert machine.Disturbance().so_far() == {"other_cores": 1.5, "stolen_cores": 0.1}
    monkeypatch.undo()
    wall, busy, own, stolen = machine.Disturbance._now()
    assert busy > own > 0 and wall > 0 and stolen >= 0
    monkeypatch.setattr(machine.Disturbance, "_now", staticmethod(lambda: None))
    assert machine.Disturbance().so_far() == {"other_cores": None, "stolen_cores": None}
