"""The parameters of the forecast node: one table, from which they are declared, read and documented."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from calib.errors import InputError
from deploy.live_status import LiveLimits
from deploy.runtime import BACKENDS

OCCUPANCY_ONLY, WITH_CAMERAS = "occupancy", "occupancy_cameras"


@dataclass(frozen=True)
class Parameter:
    """bounds: lowest and highest, of numbers. choices: of texts that are one of a few."""

    default: int | float | str
    text: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True


_L = LiveLimits()
PARAMETERS: dict[str, Parameter] = {
    "bundle_path": Parameter("", "Folder of the exported model: manifest and ONNX."),
    "golden_path": Parameter("", "Recorded ticks that the engine must reproduce before it serves; '': no self-test."),
    "rig_path": Parameter("", "Rig file of this car; it must be the bundle's, where the bundle names one. '': none."),
    "backend": Parameter(
        "ort",
        "What runs the network: 'ort', ONNX Runtime on the CPU; 'trt', the engines that `geniedrive build` made here.",
        choices=BACKENDS,
    ),
    "threads": Parameter(2, "Threads of the inference engine.", (1, 16)),
    "max_columns": Parameter(
        0,
        "Columns that a tick may compute, which bounds its time: 64, 128, 256 or 640 of 2500; what is left comes first "
        "in the next. 0: no bound.",
        (0, 2500),
    ),
    "input_profile": Parameter(
        OCCUPANCY_ONLY,
        "'occupancy': occupancy and odometry. 'occupancy_cameras': the cameras of `rig_path`, which the occupancy was "
        "made from, are watched too.",
        choices=(OCCUPANCY_ONLY, WITH_CAMERAS),
    ),
    "front_camera": Parameter("CAM_FRONT", "Name in the rig of the camera without which nothing new is believed."),
    "publish_rate": Parameter(
        30.0, "Forecasts per second on the output topics (Hz), new inferences or not.", (1.0, 100.0)
    ),
    "forecast_steps": Parameter(6, "How many steps are published, from the first (0.5 s each).", (1, 6)),
    "step_stride": Parameter(1, "One of so many of those steps is published; the last always is.", (1, 6)),
    "points_horizon": Parameter(
        1.0, "Seconds ahead of the step shown on the topics of one step (the nearest is taken).", (0.0, 10.0),
        read_only=False,
    ),
    "stamp_clock": Parameter(
        "ros",
        "What the input's stamps are measured against: 'ros', the ROS clock (a car, or a bag with /clock and "
        "use_sim_time); 'data', the newest odometry stamp (a replay with its true stamps and no /clock).",
        choices=("ros", "data"),
    ),
    "ego_frame": Parameter("base_link", "frame_id of the ego frame in all messages."),
    "max_input_age_ms": Parameter(
        _L.max_input_age_us / 1e3, "A forecast from an older observation makes HOLD (ms).", (10.0, 60_000.0)
    ),
    "hold_timeout_ms": Parameter(
        _L.hold_timeout_us / 1e3, "HOLD for so long, then FAULT and silence (ms).", (0.0, 60_000.0)
    ),
    "max_camera_age_ms": Parameter(
        _L.max_camera_age_us / 1e3, "A watched camera that is silent for longer is lost (ms).", (10.0, 60_000.0)
    ),
    "future_tolerance_ms": Parameter(
        _L.future_tolerance_us / 1e3, "A stamp further beyond now is rejected (ms).", (0.0, 10_000.0)
    ),
    "refill_ms": Parameter(
        _L.refill_us / 1e3, "DEGRADED until the history spans this much data (ms).", (0.0, 60_000.0)
    ),
    "max_ego_jump": Parameter(
        _L.max_ego_jump_m, "A step of the odometry beyond this (m), and faster than 70 m/s, is a jump.", (0.1, 1000.0)
    ),
    "max_yaw_jump": Parameter(
        _L.max_yaw_jump_rad, "A turn of the odometry beyond this (rad), and faster than 2.5 rad/s, is a jump.",
        (0.01, 3.0),
    ),
    "max_clock_jump_ms": Parameter(
        _L.max_clock_jump_us / 1e3, "A ROS clock that goes on by more at once, or back, has jumped (ms).",
        (10.0, 60_000.0),
    ),
    "command_timeout_ms": Parameter(
        _L.command_timeout_us / 1e3, "A driving command is told to the model for so long (ms).", (10.0, 60_000.0)
    ),
    "slow_inference_ms": Parameter(
        _L.slow_inference_us / 1e3, "A longer inference makes DEGRADED (ms).", (1.0, 60_000.0)
    ),
    "max_allowed_processing_time_ms": Parameter(
        33.3, "A longer inference is a WARN in /diagnostics (ms).", (0.1, 60_000.0)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class NodeParameters:
    """Read once, at configuration; what may change later is read where it is used (`points_horizon`)."""

    bundle_path: Path
    golden_path: Path | None
    rig_path: Path | None
    backend: str
    threads: int
    max_columns: int
    watch_cameras: bool
    front_camera: str
    publish_rate: float
    forecast_steps: int
    step_stride: int
    stamp_clock: str
    ego_frame: str
    max_allowed_processing_time_ms: float
    limits: LiveLimits


def declare(node: Node, table: dict[str, Parameter]) -> None:
    """Declares all parameters. InputError where a value given from outside has another type or is out of range."""
    try:
        for name, parameter in table.items():
            node.declare_parameter(name, parameter.default, _descriptor(parameter))
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise InputError(
            str(error),
            expected="a value of the declared type and range (30.0, not 30, where it is a DOUBLE)",
            fix="correct it in the parameter file or on the command line",
        ) from error


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    out = ParameterDescriptor(
        description=parameter.text,
        read_only=parameter.read_only,
        additional_constraints=", ".join(parameter.choices),
    )
    if parameter.bounds is not None:
        lowest, highest = parameter.bounds
        if isinstance(parameter.default, int):
            out.integer_range = [IntegerRange(from_value=int(lowest), to_value=int(highest), step=1)]
        else:
            out.floating_point_range = [FloatingPointRange(from_value=float(lowest), to_value=float(highest), step=0.0)]
    return out


def values(node: Node, table: dict[str, Parameter], needed: tuple[str, ...]) -> dict[str, Any]:
    """By name. InputError for what is not one of the choices, or empty and needed."""
    value = {name: node.get_parameter(name).value for name in table}
    for name, parameter in table.items():
        if parameter.choices and value[name] not in parameter.choices:
            raise InputError(
                f"{name} is {value[name]!r}", expected=f"one of {', '.join(parameter.choices)}", fix="set the parameter"
            )
    for name in needed:
        if not value[name]:
            raise InputError(f"{name} is empty", expected=table[name].text, fix="set the parameter")
    return value


def read(node: Node) -> NodeParameters:
    """InputError where a value cannot be used."""
    watch = node.get_parameter("input_profile").value == WITH_CAMERAS
    value = values(node, PARAMETERS, ("bundle_path", "rig_path") if watch else ("bundle_path",))
    return NodeParameters(
        bundle_path=Path(value["bundle_path"]),
        golden_path=Path(value["golden_path"]) if value["golden_path"] else None,
        rig_path=Path(value["rig_path"]) if value["rig_path"] else None,
        watch_cameras=watch,
        limits=_limits(value),
        **{
            name: value[name]
            for name in (
                "backend", "threads", "max_columns", "front_camera", "publish_rate", "forecast_steps", "step_stride",
                "stamp_clock", "ego_frame", "max_allowed_processing_time_ms",
            )
        },
    )  # fmt: skip


def _limits(value: dict[str, float]) -> LiveLimits:
    in_us = {
        f"{name}_us": round(value[f"{name}_ms"] * 1e3)
        for name in (
            "max_input_age", "hold_timeout", "max_camera_age", "future_tolerance", "refill", "max_clock_jump",
            "command_timeout", "slow_inference",
        )
    }  # fmt: skip
    return LiveLimits(**in_us, max_ego_jump_m=value["max_ego_jump"], max_yaw_jump_rad=value["max_yaw_jump"])
