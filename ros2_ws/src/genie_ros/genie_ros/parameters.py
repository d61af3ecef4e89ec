"""The parameters of the forecast node: one frozen dataclass, declared with descriptions and ranges."""

from __future__ import annotations

from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from calib.errors import InputError
from deploy.live import LiveLimits
from deploy.runtime import BACKENDS


@dataclass(frozen=True)
class NodeParameters:
    """Read once, at configuration; what may change later is read where it is used (`points_horizon`)."""

    bundle_path: str
    backend: str
    threads: int
    publish_rate: float
    stamp_clock: str
    ego_frame: str
    limits: LiveLimits


_LIMITS = LiveLimits()
# name: (default, description, lowest, highest)
_NUMBERS: dict[str, tuple[int | float, str, int | float, int | float]] = {
    "threads": (2, "Threads of the inference engine.", 1, 16),
    "publish_rate": (30.0, "Forecasts per second on the output topics (Hz), new inferences or not.", 1.0, 100.0),
    "max_input_age_ms": (
        _LIMITS.max_input_age_us / 1e3,
        "An inference on an older observation makes HOLD (ms).",
        10.0,
        60_000.0,
    ),
    "hold_timeout_ms": (_LIMITS.hold_timeout_us / 1e3, "HOLD for so long, then FAULT and silence (ms).", 0.0, 60_000.0),
    "future_tolerance_ms": (
        _LIMITS.future_tolerance_us / 1e3,
        "A stamp further beyond now is rejected (ms).",
        0.0,
        10_000.0,
    ),
    "refill_ms": (_LIMITS.refill_us / 1e3, "DEGRADED until the history spans this much data (ms).", 0.0, 60_000.0),
}
_STRINGS: dict[str, tuple[str, str, str]] = {
    "bundle_path": ("", "Folder of the exported model: manifest and ONNX.", "an absolute path"),
    "backend": (
        "ort",
        "What runs the network: 'ort', ONNX Runtime on the CPU; 'trt', the engines that `geniedrive build` made here.",
        "ort or trt",
    ),
    "stamp_clock": (
        "ros",
        "What the input's stamps are measured against: 'ros', the ROS clock (a car, or a bag with /clock and "
        "use_sim_time); 'data', the newest odometry stamp (a replay with its true stamps and no /clock).",
        "data or ros",
    ),
    "ego_frame": ("base_link", "frame_id of the ego frame in all messages.", "a tf frame"),
}


def _range(lowest: int | float, highest: int | float) -> dict[str, list[IntegerRange] | list[FloatingPointRange]]:
    if isinstance(lowest, int):
        return {"integer_range": [IntegerRange(from_value=lowest, to_value=int(highest), step=1)]}
    return {"floating_point_range": [FloatingPointRange(from_value=lowest, to_value=float(highest), step=0.0)]}


def declare(node: Node) -> None:
    """Declares all parameters. InputError where a value given from outside has another type or is out of range."""
    try:
        _declare(node)
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise InputError(
            str(error),
            expected="a value of the declared type and range (30.0, not 30, where it is a DOUBLE)",
            fix="correct it in the parameter file or on the command line",
        ) from error


def _declare(node: Node) -> None:
    for name, (default, text, lowest, highest) in _NUMBERS.items():
        node.declare_parameter(
            name, default, ParameterDescriptor(description=text, read_only=True, **_range(lowest, highest))
        )
    for name, (default, text, constraints) in _STRINGS.items():
        node.declare_parameter(
            name,
            default,
            ParameterDescriptor(description=text, read_only=True, additional_constraints=constraints),
        )
    node.declare_parameter(
        "points_horizon",
        1.0,
        ParameterDescriptor(
            description="Seconds ahead of the step shown on ~/output/occupied_points (the nearest step is taken).",
            **_range(0.0, 10.0),
        ),
    )


def read(node: Node) -> NodeParameters:
    """InputError where a value cannot be used."""
    value = {name: node.get_parameter(name).value for name in (*_NUMBERS, *_STRINGS)}
    if value["stamp_clock"] not in ("data", "ros"):
        raise InputError(
            f"stamp_clock is {value['stamp_clock']!r}", expected="'data' or 'ros'", fix="set the parameter"
        )
    if value["backend"] not in BACKENDS:
        raise InputError(
            f"backend is {value['backend']!r}", expected=f"one of {', '.join(BACKENDS)}", fix="set the parameter"
        )
    if not value["bundle_path"]:
        raise InputError("bundle_path is empty", expected="the folder of an exported model", fix="set the parameter")
    return NodeParameters(
        bundle_path=value["bundle_path"],
        backend=value["backend"],
        threads=value["threads"],
        publish_rate=value["publish_rate"],
        stamp_clock=value["stamp_clock"],
        ego_frame=value["ego_frame"],
        limits=LiveLimits(
            max_input_age_us=round(value["max_input_age_ms"] * 1e3),
            hold_timeout_us=round(value["hold_timeout_ms"] * 1e3),
            future_tolerance_us=round(value["future_tolerance_ms"] * 1e3),
            refill_us=round(value["refill_ms"] * 1e3),
        ),
    )
