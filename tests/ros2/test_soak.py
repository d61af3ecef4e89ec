"""Node and replay for a long time over DDS: `make soak`, for $GENIEDRIVE_SOAK_S seconds (default 600).

Wants an otherwise idle machine: the rate is that of real time.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate

SOAK_S = float(os.environ.get("GENIEDRIVE_SOAK_S", "600"))
SETTLE_S = min(60.0, SOAK_S / 2)  # until then memory may still grow: buffers, discovery, the first loops
INFERENCE_WINDOW_S = 5.0
GENIEDRIVE = [sys.executable, "-m", "genie.cli.main"]
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_S + 300)]


@dataclass(frozen=True)
class Soak:
    """heard: what the listener wrote. rss_s, rss_mb: memory of the node, once a second. ended: name -> exit code."""

    heard: dict[str, NDArray[np.float64]]
    rss_s: NDArray[np.float64]
    rss_mb: NDArray[np.float64]
    ended: dict[str, int]
    logs: dict[str, str]
    load: float

    @property
    def rate_hz(self) -> float:
        arrivals = self.heard["forecast_s"]
        return float((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]))

    @property
    def published_hz(self) -> float:
        """By the node's own count; the difference is what did not arrive."""
        times, counts = self.heard["status_s"], self.heard["published"]
        first = int(np.flatnonzero(counts)[0])
        return float((counts[-1] - counts[first]) / (times[-1] - times[first]))

    @property
    def largest_gap_s(self) -> float:
        return float(np.diff(self.heard["forecast_s"]).max())

    @property
    def rss_settled_mb(self) -> float:
        """Median of five seconds after the first minute."""
        return float(np.median(self.rss_mb[self.rss_s >= self.rss_s[0] + SETTLE_S][:5]))

    @property
    def rss_growth(self) -> float:
        """Largest RSS since then, beside it."""
        return float(self.rss_mb[self.rss_s >= self.rss_s[0] + SETTLE_S].max() / self.rss_settled_mb - 1)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.fixture(scope="module")
def soak(graph, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Soak:
    root, out = tmp_path_factory.mktemp("data") / "synth", graph.folder / "heard.npz"
    generate(root, SynthConfig(scenes=1, seconds=20.0, seed=0))
    scene = next((root / "stream").glob("*.npz")).stem
    parameters = graph.folder / "one_thread.yaml"  # leaves a core to the rest of the graph
    parameters.write_text("geniedrive: {ros__parameters: {threads: 1}}\n", encoding="utf-8")
    load = os.getloadavg()[0]
    graph.start("node", [*GENIEDRIVE, "node", "--bundle", str(bundle), "--params", str(parameters)])
    graph.start("listener", [sys.executable, str(Path(__file__).parent / "soak_listener.py"), str(out)])
    graph.await_output("node", "configured")
    graph.await_output("listener", "listening")
    graph.start("replay", [*GENIEDRIVE, "replay", "--dataroot", str(root), "--scene", scene, "--loop"])
    graph.await_output("replay", "frames of")
    samples = watch(graph, SOAK_S)
    # The node first: it has to end well while input still comes.
    ended = {name: graph.end(name) for name in ("node", "replay", "listener")}
    with np.load(out) as archive:
        heard = dict(archive)
    codes, logs = {n: e.code for n, e in ended.items()}, {n: e.output for n, e in ended.items()}
    return Soak(heard, samples[0], samples[1], codes, logs, load)


def watch(graph, seconds: float) -> NDArray[np.float64]:
    """Times (s) and resident memory of the node (MB), [2, N]; fails at once when a process ends before its time."""
    samples, end_s = [], time.monotonic() + seconds
    while time.monotonic() < end_s:
        for name, process in graph.processes.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode} during the soak:\n{graph.output(name)}")
        samples.append((time.monotonic(), resident_mb(graph.processes["node"].pid)))
        time.sleep(1.0)
    return np.array(samples).T


def test_the_rate_is_kept(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    heard = soak.heard
    gaps = np.diff(heard["forecast_s"])
    with capsys.disabled():
        print(
            f"\nsoak {SOAK_S:.0f} s, load before {soak.load:.1f}: "
            f"heard {soak.rate_hz:.2f} Hz, published {soak.published_hz:.2f} Hz, gaps p50 "
            f"{np.median(gaps) * 1e3:.1f} p99 {np.quantile(gaps, 0.99) * 1e3:.1f} max {gaps.max() * 1e3:.0f} ms; "
            f"heard {len(heard['forecast_s'])} of {heard['published'][-1]:.0f} published, "
            f"{heard['inferences'][-1]:.0f} inferences, {heard['rejected'][-1]:.0f} inputs refused; RSS "
            f"{soak.rss_mb[0]:.0f} -> {soak.rss_settled_mb:.0f} (settled) -> {soak.rss_mb[-1]:.0f} MB, "
            f"growth {soak.rss_growth:+.2%}"
        )
    assert abs(soak.rate_hz - 30.0) <= 1.0, f"{soak.rate_hz:.2f} Hz; the load before was {soak.load:.1f}"


def test_it_is_never_silent_for_a_second(soak: Soak) -> None:
    """The replay loops on the way: each time, the node starts afresh."""
    assert soak.largest_gap_s < 1.0
    assert soak.heard["points_s"].size > 0.9 * soak.heard["forecast_s"].size


def test_inferences_go_on_to_the_end(soak: Soak) -> None:
    times, counts = soak.heard["status_s"], soak.heard["inferences"]
    edges = np.arange(soak.heard["forecast_s"][0], times[-1], INFERENCE_WINDOW_S)
    grown = np.diff(counts[np.searchsorted(times, edges)])
    assert len(grown) >= 2
    assert (grown > 0).all(), f"inferences in each {INFERENCE_WINDOW_S:g} s: {grown}"


def test_memory_does_not_grow(soak: Soak) -> None:
    assert soak.rss_growth < 0.05, np.round(soak.rss_mb, 1).tolist()


def test_all_end_cleanly(soak: Soak) -> None:
    assert soak.ended == {"node": 0, "replay": 0, "listener": 0}, soak.logs
    assert all("Traceback" not in log for log in soak.logs.values()), soak.logs
