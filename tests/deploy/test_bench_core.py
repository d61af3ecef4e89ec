"""The attention cores that are timed alone are those of the ticks; what is timed takes turns; the whole command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.errors import InputError
from deploy import bench_compare, bench_scaling, bench_streams
from deploy.bench import Clip
from deploy.bench_core import DenseCore, GatedCore, dense_core, gated_core, move_alone
from deploy.bench_streams import bench_streams as streams_of
from deploy.bench_turns import WARM_ROUNDS, TimedGraph, in_turns
from deploy.graphs import DenseTick, Gate, GatedTick, dense_graphs, gated_graphs
from deploy.pipeline import tick_inputs
from deploy.torch_runtime import TorchRuntime
from genie.data.sequence import Sequence as Stream
from genie.gated import _encode
from genie.grid import COLUMNS
from genie.model import GenieDrive, TrackedOccupancy
from genie.observation import observe, start_observer
from genie.variants import Variant

Tensors = dict[str, torch.Tensor]


def _after_two_ticks(model: GenieDrive, form: str, stream: Stream) -> tuple[Tensors, Tensors]:
    """Inputs of the third tick, and the state before it."""
    runtime, observer = TorchRuntime(model, form), start_observer()
    for t in range(3):
        scene, observer = observe(stream.frame(t), observer)
        inputs = tick_inputs(scene, None)
        if t < 2:
            runtime.tick(inputs)
    state = {f"state_in.{name}": torch.from_numpy(array.copy()) for name, array in runtime.state().items()}
    return {name: torch.from_numpy(array) for name, array in inputs.items()}, state


def _seen(inputs: Tensors) -> TrackedOccupancy:
    return TrackedOccupancy(*list(inputs.values())[: len(TrackedOccupancy._fields)])


@torch.inference_mode()
def test_the_dense_core_is_that_of_the_tick(model: GenieDrive, stream: Stream) -> None:
    inputs, state = _after_two_ticks(model, "dense", stream)
    (tick,) = dense_graphs(model)
    given = inputs | state
    told = dict(zip(tick.outputs, DenseTick(model)(*(given[n] for n in tick.inputs)), strict=True))
    encoded = model._encode(_seen(inputs))
    core = dense_core(model, COLUMNS)
    _, *after = DenseCore(model, COLUMNS)(encoded, inputs["ego_motion"], inputs["continues"], *state.values())
    assert [n.removeprefix("state_out.") for n in core.outputs[1:]] == [n.removeprefix("state_in.") for n in state]
    for name, value in zip(core.outputs[1:], after, strict=True):
        torch.testing.assert_close(value, told[name])


@torch.inference_mode()
def test_the_gated_core_is_that_of_the_tick(model: GenieDrive, stream: Stream) -> None:
    k = 64
    inputs, state = _after_two_ticks(model, "gated", stream)
    gate, small, *_ = gated_graphs(model)
    given = inputs | state | {"refresh": torch.zeros(1)}
    given |= dict(zip(gate.outputs, Gate(model)(*(given[n] for n in gate.inputs)), strict=True))
    told = dict(zip(small.outputs, GatedTick(model, k)(*(given[n] for n in small.inputs)), strict=True))
    link = {n.removeprefix("link."): t for n, t in given.items() if n.startswith("link.")}
    rows, velocity = link["order"][:k], link["columns.velocity"]
    graph = gated_core(model, k, COLUMNS)
    core_state = [n for n in graph.inputs if n.startswith("state_in.")]
    after = GatedCore(model, COLUMNS)(
        _encode(model, _seen(inputs), link["owner"], rows),
        link["order"],
        link["source"],
        link["columns.place"][:, :2],
        link["columns.place"][:, :2] + velocity * link["columns.age"].unsqueeze(1),
        (velocity.square().sum(-1) > 0).float(),
        link["columns.filled"],
        inputs["ego_motion"],
        inputs["continues"],
        inputs["dt"],
        *(state[n] for n in core_state),
    )
    assert {n for n in state if "columns." not in n} == set(core_state)
    for name, value in zip(graph.outputs, after, strict=True):
        torch.testing.assert_close(value, told[name], msg=lambda text, name=name: f"{name}: {text}")


def test_graphs_take_turns_and_the_first_rounds_do_not_count() -> None:
    ran: list[str] = []

    class Stub:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self) -> None:
            ran.append(self.name)

    times = in_turns({name: Stub(name) for name in "abc"}, 3)  # type: ignore[misc]
    assert ran == [*"abc"] * (WARM_ROUNDS + 3)
    assert {name: len(ms) for name, ms in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_move_alone_is_that_of_the_model(stream: Stream, tmp_path: Path) -> None:
    scene, _ = observe(stream.frame(0), start_observer())
    seen = {n: torch.from_numpy(np.asarray(a)) for n, a in tick_inputs(scene, None).items()}
    timed = TimedGraph(move_alone(seen, [0.5, 1.0], 256), tmp_path, 1)
    timed.run()
    rows = timed.outputs["forecast.rows"]
    assert rows.shape == (2, 200, 200, 4)
    # A first frame has no motion: everything stays.
    assert (rows == scene.semantics.view(np.int32)).all()


def test_streams(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataroot"):
        streams_of(None, "scene-0061", 9)
    with pytest.raises(InputError, match="no scenes"):
        streams_of(tmp_path, None, 9)
    streams = streams_of(None, None, 4)
    assert [(clip.ticks, len(clip.stream)) for clip in streams.short] == [(4, len(streams.short[0].stream))]
    assert [clip.ticks for clip in streams.whole()] == [len(streams.short[0].stream)]


def test_the_whole_comparison(
    bundle: Path,
    dense_bundle: Path,
    geniedrive: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def exported(_: Path, variants: Sequence[Variant], **__: object) -> list[Path]:
        return [dense_bundle if v.form == "dense" else bundle for v in variants]

    monkeypatch.setattr(bench_compare, "export_variants", exported)
    monkeypatch.setattr(bench_scaling, "HISTORIES", (1,))
    monkeypatch.setattr(bench_scaling, "SIDES", (20,))
    monkeypatch.setattr(bench_scaling, "HORIZONS", (1, 2))
    monkeypatch.setattr(bench_streams, "SYNTHETIC_TICKS", 0)
    arguments = ("--variant", "memory", "--ticks", 4, "--rounds", 2, "--threads", 1)
    assert geniedrive("bench", *arguments, "--out", tmp_path) == 0
    tree = json.loads((tmp_path / "tick.json").read_text(encoding="utf-8"))
    markdown = (tmp_path / "tick.md").read_text(encoding="utf-8")
    assert [v["name"] for v in tree["variants"]] == ["dense", "memory", "all"]
    assert all(len(v["ticks_ms"]["tick"]) == 4 for v in tree["variants"])
    assert len(tree["whole_stream"]["rows"]) > 30 and set(tree["scaling_ms"]["ticks"]) == {
        str(k) for k in (64, 128, 256, 640, 2500)
    }
    assert tree["attention_core"]["speed_up"] > 0 and tree["scaling_ms"]["grid"][0]["side"] == 20
    for text in ("## Targets", "not measured here", "GPU, TensorRT, Jetson Orin: not measured.", "scaling.png"):
        assert text in markdown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scaling.png", "tick.json", "tick.md", "variants.png"]
    assert "target" in capsys.readouterr().out


def test_a_stopped_run_writes_nothing(
    geniedrive: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_compare, "compare", stopped)
    monkeypatch.setattr(bench_streams, "SYNTHETIC_TICKS", 0)
    assert geniedrive("bench", "--ticks", 3, "--out", tmp_path) == 130
    assert "nothing was written" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_too_little_memory_is_said_before_anything_runs(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_compare, "free_bytes", lambda: 10**9)
    streams = bench_streams.Streams("x", [Clip(stream, 3)], None, [])
    with pytest.raises(InputError, match=r"1\.0 GB of memory free"):
        bench_compare.compare(
            streams, [Variant("dense", "", "dense")], rounds=2, threads=1, report=lambda *_: None, config_name="tiny"
        )
