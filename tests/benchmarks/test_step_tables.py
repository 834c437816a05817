"""Tables of training steps: rows of what fails, of what the time interrupts, and of what is compiled."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
step_tables = pytest.importorskip("step_tables")

CPU = torch.device("cpu")
DROPOUT, MEDMAP = "nnUNetTrainerModalityDropout", "nnUNetTrainerMedMAP"
WAY = step_tables.Way("tried", (DROPOUT, MEDMAP))
COMPILED = step_tables.Way("tried", (DROPOUT, MEDMAP), compiled=True)


def test_a_way_leaves_cudnns_search_as_it_was():
    before = torch.backends.cudnn.benchmark
    with step_tables.trained_in(step_tables.Way("", (), search=False)):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


def rows_where(monkeypatch, steps, way=WAY, *, minutes=1.0, pairs=2) -> list[str]:
    """The rows of a way whose trainers' steps are ``steps(name)``."""
    monkeypatch.setattr(step_tables, "make_trainer", lambda name, plans, device: name)
    monkeypatch.setattr(step_tables, "stepper", lambda name, _format: steps(name))
    plans = {step_tables.STOCK: {}, step_tables.OWN: {}}
    return step_tables.table(way, plans, CPU, pairs=pairs, budget=step_tables.Budget(minutes))[4:-1]


def fails(failing: str):
    def steps(name):
        if name == failing:
            raise RuntimeError("no kernel | for this\nGPU")
        return lambda: 1.0

    return steps


def test_a_trainer_that_fails_has_a_row_that_says_so_and_the_next_is_measured(monkeypatch):
    stock, failed, other = rows_where(monkeypatch, fails(DROPOUT))
    assert stock.startswith("| `nnUNetTrainer` | 1.000 |")
    assert failed.startswith(f"| `{DROPOUT}` | failed: RuntimeError: no kernel / for this GPU |")
    assert other.startswith(f"| `{MEDMAP}` | 1.000 | 1.000 | 1.000 to 1.000 |")


def test_if_stocks_step_fails_a_row_says_so(monkeypatch):
    (row,) = rows_where(monkeypatch, fails("nnUNetTrainer"))
    assert row.startswith(f"| `nnUNetTrainer`, `{DROPOUT}`, `{MEDMAP}` | failed: ")


@pytest.mark.parametrize("failing", ["nnUNetTrainer", DROPOUT, ""])
def test_every_row_has_a_cell_for_each_column(monkeypatch, failing):
    rows = rows_where(monkeypatch, fails(failing))
    assert {row.count("|") for row in rows} == {len(step_tables.COLUMNS) + 1}


class Slow:
    """A step that is compiled by a backend that needs longer than the time there is."""

    def __init__(self) -> None:
        self._network = torch.compile(nn.Linear(2, 2), backend=self.backend)

    def backend(self, graph, _inputs):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pass
        return graph

    def __call__(self) -> float:
        self._network(torch.ones(1, 2))
        return 1.0


class Long:
    """A step whose network Dynamo needs longer to trace than the time there is."""

    def __init__(self) -> None:
        self._network = torch.compile(nn.Sequential(*[nn.Linear(4, 4) for _ in range(4000)]), backend="eager")

    def __call__(self) -> float:
        self._network(torch.ones(1, 4))
        return 1.0


@pytest.mark.parametrize("step", [Slow, Long])
def test_a_compilation_that_the_end_of_the_time_interrupts_has_not_failed(monkeypatch, step):
    torch._dynamo.reset()
    rows = rows_where(monkeypatch, lambda name: step() if name == DROPOUT else lambda: 1.0, COMPILED, minutes=1 / 60)
    assert rows[0].startswith("| `nnUNetTrainer` | 1.000 |")
    assert all("not measured: the time was over" in row for row in rows[1:])
    assert step_tables.FAILED not in "".join(rows)
    torch._dynamo.reset()


def test_a_compilation_that_fails_in_time_has_failed(monkeypatch):
    def backend(_graph, _inputs):
        raise TimeoutError("a cache that others hold")

    compiled = torch.compile(nn.Linear(2, 2), backend=backend)

    def step() -> float:
        compiled(torch.ones(1, 2))
        return 1.0

    _, failed, other = rows_where(monkeypatch, lambda name: step if name == DROPOUT else lambda: 1.0, COMPILED)
    assert "failed: BackendCompilerFailed" in failed
    assert other.startswith(f"| `{MEDMAP}` | 1.000 |")
    torch._dynamo.reset()


class Growing:
    """A step that is compiled anew each time, for a tensor of one more axis, until a number of axes is reached."""

    def __init__(self, axes: int) -> None:
        self._network, self._axes, self._most = torch.compile(nn.ReLU(), backend="eager"), 0, axes

    def __call__(self) -> float:
        self._axes = min(self._axes + 1, self._most)
        self._network(torch.ones([1] * self._axes))
        return 1.0


def test_a_row_tells_how_many_graphs_were_compiled_and_which_trainer_fell_back_to_eager(monkeypatch):
    limit = torch._dynamo.config.recompile_limit
    axes = {"nnUNetTrainer": 1, DROPOUT: limit + 3, MEDMAP: 2}
    rows = rows_where(monkeypatch, lambda name: Growing(axes[name]), COMPILED, pairs=limit)
    # What was compiled for one trainer does not count towards the limit of the next.
    assert [row.split(" | ")[-1].rstrip(" |") for row in rows] == ["1", f"{limit}, fell back to eager", "2"]
    torch._dynamo.reset()


class Read:
    """A step of a network of one class whose output a hook reads, as terms read features, or of one without hooks."""

    def __init__(self, *, hooked: bool) -> None:
        self._read: list[torch.Tensor] = []
        network = nn.Linear(2, 2)
        if hooked:
            network.register_forward_hook(lambda _network, _given, output: self._read.append(output))
        self._compiled, self._hooked = torch.compile(network, backend="eager"), hooked

    def __call__(self) -> float:
        self._read.clear()
        self._compiled(torch.ones(1, 2))
        assert len(self._read) == self._hooked
        return 1.0


def test_stocks_compiled_network_does_not_take_the_place_of_one_with_hooks(monkeypatch):
    rows = rows_where(monkeypatch, lambda name: Read(hooked=name == DROPOUT), COMPILED)
    assert step_tables.FAILED not in "".join(rows)
    torch._dynamo.reset()


def test_a_way_that_is_not_compiled_tells_no_graphs(monkeypatch):
    rows = rows_where(monkeypatch, fails(""))
    assert all(row.endswith("|  |") for row in rows)


@pytest.mark.parametrize("several", [False, True])
def test_a_target_is_pinned_as_the_loader_hands_it_out(monkeypatch, several):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    target = torch.zeros(2, 1, 4, 4, 4)
    batch = {"data": torch.zeros(2, 4, 4, 4, 4), "target": [target, target[..., ::2]] if several else target}
    pinned = step_tables.pinned(batch)
    assert type(pinned["target"]) is type(batch["target"])
    torch.testing.assert_close(pinned["data"], batch["data"] + 1)
    torch.testing.assert_close(
        pinned["target"], [each + 1 for each in batch["target"]] if several else batch["target"] + 1
    )
