"""A soak: node and replay as users start them, heard by a process that keeps numbers alone, watched from outside."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from genie.data.synth.config import SynthConfig
from genie.data.synth.generate import generate

if TYPE_CHECKING:
    from conftest import Graph

GENIEDRIVE = [sys.executable, "-m", "genie.cli.main"]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Soak:
    """heard: what the listener wrote: forecast_s when it was told of a forecast, received_s when its middleware was.
    rss_s, rss_mb: memory of the node, once a second. ended: name -> exit code. settle_s: until then memory may still
    grow: buffers, discovery, the first loops."""

    heard: dict[str, NDArray[np.float64]]
    rss_s: NDArray[np.float64]
    rss_mb: NDArray[np.float64]
    ended: dict[str, int]
    logs: dict[str, str]
    load: float
    settle_s: float

    @property
    def rate_hz(self) -> float:
        arrivals = self.heard["received_s"]
        return float((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]))

    @property
    def published_hz(self) -> float:
        """By the node's own count; the difference is what did not arrive."""
        times, counts = self.heard["status_s"], self.heard["published"]
        first = int(np.flatnonzero(counts)[0])
        return float((counts[-1] - counts[first]) / (times[-1] - times[first]))

    @property
    def new_hz(self) -> float:
        """Of new inferences, by the node's own count."""
        times, counts = self.heard["status_s"], self.heard["inferences"]
        first = int(np.flatnonzero(counts)[0])
        return float((counts[-1] - counts[first]) / (times[-1] - times[first]))

    @property
    def gaps_s(self) -> NDArray[np.float64]:
        return np.diff(self.heard["received_s"])

    def share_of_intervals(self, period_s: float, tolerance_s: float, at: str = "received_s") -> float:
        """How many intervals are within the tolerance of the period."""
        return float((np.abs(np.diff(self.heard[at]) - period_s) <= tolerance_s).mean())

    @property
    def rss_settled_mb(self) -> float:
        """Median of five seconds after the settling."""
        return float(np.median(self.rss_mb[self.rss_s >= self.rss_s[0] + self.settle_s][:5]))

    @property
    def rss_growth(self) -> float:
        """RSS at the end, median of five seconds, beside it."""
        return float(np.median(self.rss_mb[-5:]) / self.rss_settled_mb - 1)

    def latency_ms(self) -> tuple[float, float, float]:
        """Sensor stamp to publication, as the node tells with each new inference: median, p95, p99."""
        found = np.percentile(self.heard["latency_ms"], [50, 95, 99])
        return float(found[0]), float(found[1]), float(found[2])

    def line(self, seconds: float) -> str:
        gaps, heard, latency = self.gaps_s, self.heard, self.latency_ms()
        return (
            f"soak {seconds:.0f} s, load before {self.load:.1f}: heard {self.rate_hz:.2f} Hz, published "
            f"{self.published_hz:.2f} Hz, new {self.new_hz:.2f} Hz; gaps p50 {np.median(gaps) * 1e3:.1f} p99 "
            f"{np.quantile(gaps, 0.99) * 1e3:.1f} max {gaps.max() * 1e3:.0f} ms, "
            f"{self.share_of_intervals(1 / 30, 0.005):.1%} within 33.3 +- 5 ms as received, "
            f"{self.share_of_intervals(1 / 30, 0.005, 'forecast_s'):.1%} as Python is told; latency p50 "
            f"{latency[0]:.0f} p95 {latency[1]:.0f} p99 {latency[2]:.0f} ms; "
            f"publishing {np.median(heard['publish_ms']):.1f} ms median; "
            f"{len(heard['forecast_s'])} of {heard['published'][-1]:.0f} published were heard, "
            f"{heard['rejected'][-1]:.0f} inputs refused; RSS {self.rss_mb[0]:.0f} -> {self.rss_settled_mb:.0f} "
            f"(settled) -> {self.rss_mb[-1]:.0f} MB, growth {self.rss_growth:+.2%}"
        )


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def watch(graph: Graph, seconds: float) -> NDArray[np.float64]:
    """Times (s) and resident memory of the node (MB), [2, N]; fails at once when a process ends before its time."""
    samples, end_s = [], time.monotonic() + seconds
    while time.monotonic() < end_s:
        for name, process in graph.processes.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode} during the soak:\n{graph.output(name)}")
        samples.append((time.monotonic(), resident_mb(graph.processes["node"].pid)))
        time.sleep(1.0)
    return np.array(samples).T


def run_soak(
    graph: Graph, bundle: Path, folder: Path, seconds: float, settle_s: float, *, with_top: bool = False
) -> Soak:
    """with_top: `geniedrive top` watches along; what it printed at its end is logs["top"]."""
    root, out = folder / "synth", folder / "heard.npz"
    # Each loop of the replay is a new stretch of data, with half a second of silence: long soaks have long scenes.
    generate(root, SynthConfig(scenes=1, seconds=min(60.0, max(4.0, seconds)), seed=0))
    scene = next((root / "stream").glob("*.npz")).stem
    # One thread leaves a core to the rest of the graph; a bound keeps a frame that was skipped, after which more has
    # changed, from costing the next one (docs/decisions/016-a-bound-on-a-tick.md).
    parameters = folder / "parameters.yaml"
    parameters.write_text("geniedrive: {ros__parameters: {threads: 1, max_columns: 128}}\n", encoding="utf-8")
    load = os.getloadavg()[0]
    graph.start("node", [*GENIEDRIVE, "node", "--bundle", str(bundle), "--params", str(parameters)])
    graph.start("listener", [sys.executable, str(Path(__file__).parent / "soak_listener.py"), str(out)])
    graph.await_output("node", "configured", 90.0)
    graph.await_output("listener", "listening")
    graph.start("replay", [*GENIEDRIVE, "replay", "--dataroot", str(root), "--scene", scene, "--loop"])
    graph.await_output("replay", "frames of")
    if with_top:
        graph.start("top", [*GENIEDRIVE, "top", "--seconds", str(seconds + 4)])
    samples = watch(graph, seconds)
    top = {"top": graph.wait("top", 60.0)} if with_top else {}
    # The node first: it has to end well while input still comes.
    ended = {name: graph.end(name) for name in ("node", "replay", "listener")} | top
    with np.load(out) as archive:
        heard = dict(archive)
    codes, logs = {n: e.code for n, e in ended.items()}, {n: e.output for n, e in ended.items()}
    return Soak(heard, samples[0], samples[1], codes, logs, load, settle_s)


def inactive_share(graph: Graph, bundle: Path, seconds: float) -> float:
    """Of one core, that a configured and inactive node uses."""
    graph.start("idle", [sys.executable, str(Path(__file__).parent / "inactive_node.py"), str(bundle)])
    graph.await_output("idle", "configured", 90.0)
    time.sleep(2.0)  # discovery
    pid = graph.processes["idle"].pid
    before, begin_s = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    share = (cpu_s(pid) - before) / (time.monotonic() - begin_s)
    assert graph.end("idle").code == 0
    return share
