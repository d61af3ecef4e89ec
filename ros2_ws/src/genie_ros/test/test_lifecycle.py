"""Transitions of the node in one process, with a labelled stand-in for the engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import rclpy
from genie_ros.forecast_node import ForecastNode
from genie_ros.parameters import NodeParameters
from rclpy.lifecycle import TransitionCallbackReturn

from calib.errors import InputError

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class StandInEngine:
    """STAND-IN: never asked to infer here."""

    bundle_id, computed, rig_sha256 = "stand-in", 0, None

    def __init__(self, chosen: NodeParameters) -> None:
        bundle = chosen.bundle_path
        if bundle.name == "broken":
            raise InputError("sha256 does not match", expected="the manifest's", fix="export again", path=bundle)
        if bundle.name == "bug":
            raise ZeroDivisionError("a fault of our own")
        self.warm = False

    def warm_up(self) -> None:
        self.warm = True


@pytest.fixture(params=["good"])
def node(request: pytest.FixtureRequest) -> Iterator[ForecastNode]:
    rclpy.init(args=["--ros-args", "-p", f"bundle_path:=/{request.param}"])
    node = ForecastNode(StandInEngine)
    yield node
    node.destroy_node()
    rclpy.shutdown()


def topics(node: ForecastNode) -> set[str]:
    return {name for name, _ in node.get_topic_names_and_types() if name.startswith("/geniedrive/")}


def test_each_transition_makes_and_frees_what_it_says_and_can_be_done_again(node: ForecastNode) -> None:
    before, threads, timers = topics(node), threading.active_count(), len(list(node.timers))
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert "/geniedrive/output/forecast" in topics(node)
        assert "/geniedrive/input/occupancy" not in topics(node)
        assert node.trigger_activate() == SUCCESS
        assert {"/geniedrive/input/occupancy", "/geniedrive/input/odometry"} <= topics(node)
        assert threading.active_count() == threads + 1
        assert node.trigger_deactivate() == SUCCESS
        assert threading.active_count() == threads
        assert node.trigger_cleanup() == SUCCESS
        assert topics(node) == before
    assert len(list(node.timers)) == timers


def test_shutdown_from_active_frees_everything(node: ForecastNode) -> None:
    threads = threading.active_count()
    node.trigger_configure()
    node.trigger_activate()
    assert node.trigger_shutdown() == SUCCESS
    assert threading.active_count() == threads
    assert "/geniedrive/output/forecast" not in topics(node)


@pytest.mark.parametrize("node", ["broken"], indirect=True)
def test_a_bundle_that_is_refused_is_a_failure_with_the_reason(node: ForecastNode) -> None:
    assert node.trigger_configure() == FAILURE
    assert "sha256 does not match" in str(node.configure_error)
    assert node.trigger_configure() == FAILURE  # still unconfigured: it may be tried again


@pytest.mark.parametrize("node", ["bug"], indirect=True)
def test_an_exception_in_a_transition_is_not_swallowed(node: ForecastNode, capfd: pytest.CaptureFixture[str]) -> None:
    assert node.trigger_configure() != SUCCESS
    assert "ZeroDivisionError: a fault of our own" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "publish_rate:=30"], "DOUBLE"),
        (["-p", "publish_rate:=1000.0"], "out of range"),
        (["-p", "threads:=0"], "out of range"),
    ],
)
def test_parameters_of_another_type_or_out_of_range_are_refused(arguments: list[str], says: str) -> None:
    rclpy.init(args=["--ros-args", *arguments])
    try:
        with pytest.raises(InputError, match=says):
            ForecastNode(StandInEngine)
    finally:
        rclpy.shutdown()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "stamp_clock:=wall", "-p", "bundle_path:=/b"], "stamp_clock"),
        (["-p", "backend:=tpu", "-p", "bundle_path:=/b"], "backend"),
        ([], "bundle_path"),
    ],
)
def test_values_that_cannot_be_used_fail_the_configuration(arguments: list[str], says: str) -> None:
    rclpy.init(args=["--ros-args", *arguments])
    try:
        node = ForecastNode(StandInEngine)
        assert node.trigger_configure() == FAILURE
        assert says in str(node.configure_error)
        node.destroy_node()
    finally:
        rclpy.shutdown()
