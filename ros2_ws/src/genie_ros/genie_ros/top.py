"""A terminal page about a running forecast node, drawn twice a second; deploy.observer sums up what it shows."""

from __future__ import annotations

import argparse
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from genie_msgs.msg import ScenePredictionStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.observer import WINDOW_S, Observer, Page, Seen
from genie_ros.process import exit_code_of, ros_context, stop_on_signals

LEVELS = (("OK", "green"), ("DEGRADED", "yellow"), ("HOLD", "dark_orange"), ("FAULT", "red"))
SEVERITIES = (("OK", "green"), ("WARN", "yellow"), ("ERROR", "red"), ("STALE", "red"))
SILENT_S = 0.1  # three periods of 30 Hz
DRAWN_S = 0.5
BAR = 30  # characters


class TopNode(Node):
    """Listens to the status and the diagnostics of a node."""

    def __init__(self, target: str) -> None:
        super().__init__("geniedrive_top")
        self.observer = Observer()
        self.diagnostics: dict[str, tuple[int, str]] = {}
        self._prefix = f"{target}: "
        deep = QoSProfile(depth=50)
        self.create_subscription(ScenePredictionStatus, f"/{target}/output/status", self._on_status, deep)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, deep)

    def _on_status(self, message: ScenePredictionStatus) -> None:
        self.observer.add(
            Seen(
                heard_s=time.monotonic(), level=message.level, reasons=tuple(message.reasons),
                is_new=message.is_new_inference, input_age_s=message.input_age, inference_s=message.inference_time,
                columns=message.columns, published=message.published_count, inferences=message.inference_count,
                rejected=message.rejected_count, skipped=message.skipped_count, camera_mask=message.camera_mask,
                engine_id=message.engine_id,
            )
        )  # fmt: skip

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(self._prefix):
                self.diagnostics[status.name.removeprefix(self._prefix)] = (status.level[0], status.message)


def draw(page: Page, diagnostics: dict[str, tuple[int, str]], target: str) -> Group:
    """The page as rich draws it."""
    newest = page.newest
    if newest is None:
        return Group(Text(f"{target}: nothing heard yet", style="bold"), _diagnostics(diagnostics))
    name, colour = LEVELS[newest.level] if newest.level < len(LEVELS) else (str(newest.level), "red")
    head = Text.assemble((f"{target}  ", "bold"), (name, f"bold {colour}"), f"  {' '.join(newest.reasons)}")
    if page.silent_s > 3 * SILENT_S:
        head.append(f"  silent for {page.silent_s:.1f} s: killed, inactive, or out of reach", style="bold red")
    facts = Table.grid(padding=(0, 2))
    for what, value in (
        ("published", f"{page.published_hz:.1f} Hz"),
        ("new inferences", f"{page.new_hz:.1f} Hz"),
        ("latency", _times(page.latency_ms)),
        ("inference", _times(page.inference_ms)),
        ("refused, skipped", f"{newest.rejected}, {newest.skipped} since activation"),
        ("cameras", f"{newest.camera_mask:06b}" if newest.camera_mask else "not watched, or none"),
        ("engine", newest.engine_id),
    ):
        facts.add_row(what, value)
    return Group(head, facts, _buckets(page.buckets), _diagnostics(diagnostics))


def _times(of: tuple[float, float, float]) -> str:
    return f"median {of[0]:.1f}, p95 {of[1]:.1f}, p99 {of[2]:.1f} ms"


def _buckets(buckets: dict[int, int]) -> Table:
    table = Table(title=f"columns computed, inferences of {WINDOW_S:.0f} s", title_justify="left", box=None)
    table.add_column("columns", justify="right")
    table.add_column("inferences", justify="right")
    table.add_column("")
    for columns, count in buckets.items():
        bar = "#" * max(1, round(BAR * count / max(buckets.values())))
        table.add_row("all" if columns == 0 else str(columns), str(count), bar)
    return table


def _diagnostics(diagnostics: dict[str, tuple[int, str]]) -> Table:
    table = Table(title="diagnostics", title_justify="left", box=None, show_header=False)
    for component, (level, message) in diagnostics.items():
        name, colour = SEVERITIES[min(level, 3)]
        table.add_row(component, Text(name, style=colour), message)
    return table


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="top", description=__doc__)
    parser.add_argument("--target", default="geniedrive")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; 0: until a signal")
    stop = stop_on_signals()
    options, ros_arguments = parser.parse_known_args(arguments)
    console = Console()
    end_s = time.monotonic() + options.seconds if options.seconds else float("inf")
    with ros_context(ros_arguments):
        node, executor = TopNode(options.target), SingleThreadedExecutor()
        executor.add_node(node)
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            drawn_s = 0.0
            while not stop.is_set() and time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.1)
                if console.is_terminal and time.monotonic() - drawn_s > DRAWN_S:
                    drawn_s = time.monotonic()
                    live.update(draw(node.observer.page(drawn_s), node.diagnostics, options.target), refresh=True)
        console.print(draw(node.observer.page(time.monotonic()), node.diagnostics, options.target))
        executor.shutdown()
        node.destroy_node()
    return 0


def main(arguments: list[str] | None = None) -> int:
    return exit_code_of(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
