"""The one table of faults: what goes wrong, how soon it is told, at what level, and how it is mended.

docs/faults.md is made from it, with the times that the tests measured: each row is injected into the real node over
DDS (tests/ros2/test_faults*.py), and a row without such a test fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.live_status import LiveLimits

# Words of ScenePredictionStatus.reasons. CAMERA_LOST and CALIBRATION_DIFFERS are followed by ":" and a name.
NO_OCCUPANCY, NO_ODOMETRY = "no_occupancy", "no_odometry"
CAMERA_LOST, FRONT_CAMERA_LOST, CALIBRATION_DIFFERS = "camera_lost", "front_camera_lost", "calibration_differs"
INFERENCE_LATE, INFERENCE_FAILED, INFERENCE_SLOW = "inference_late", "inference_failed", "inference_slow"
REFILLING, EGO_JUMP, CLOCK_JUMP = "history_refilling", "ego_jump", "clock_jump"
DATA_RESTARTED, RESET_REQUESTED, OUTPUT_WITHHELD = "data_restarted", "reset_requested", "output_withheld"

# From the moment of a fault, or of the message that shows it, until a subscriber hears of it: a tick (33 ms), the way
# over DDS (22 ms), and what two cores that have other work too may add.
DELIVERY_S = 0.5
START_S = 60.0  # a process that refuses: Python, the graphs' hashes, their compilation
DIAGNOSTICS_S = 0.5  # period of /diagnostics, where nothing changed

ENGINE, INPUTS, PROCESSING = "engine", "input_topics", "processing_time"
CALIBRATION, EGO, OUTPUT, CONNECTIONS = "calibration", "ego_motion", "output_validity", "connections"
COMPONENTS = (ENGINE, INPUTS, PROCESSING, CALIBRATION, EGO, OUTPUT, CONNECTIONS)


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    title:     what goes wrong.
    told:      level and reason on the interface.
    component: of /diagnostics, that is not OK then.
    bound:     seconds until it is told, from its cause; `counted_from` says what that is.
    recovery:  the rule by which it is mended.
    """

    title: str
    told: str
    component: str
    bound: Callable[[LiveLimits], float]
    counted_from: str
    recovery: str


def _soon(limits: LiveLimits) -> float:
    return DELIVERY_S


def _age(limits: LiveLimits) -> float:
    return limits.max_input_age_us * 1e-6 + DELIVERY_S


def _camera_age(limits: LiveLimits) -> float:
    return limits.max_camera_age_us * 1e-6 + DELIVERY_S


def _start(limits: LiveLimits) -> float:
    return START_S


REFILL = "DEGRADED until the history spans refill_ms, then OK"
FAULTS: dict[str, Fault] = {
    "side_camera_lost": Fault(
        "a side camera is lost", f"DEGRADED `{CAMERA_LOST}:NAME`, its bit of camera_mask 0", INPUTS, _camera_age,
        "its last message", "its next message sets the bit again",
    ),
    "front_camera_lost": Fault(
        "the front camera is lost", f"HOLD `{FRONT_CAMERA_LOST}`, after hold_timeout_ms FAULT and silence", INPUTS,
        _camera_age, "its last message", "its next message; observations are inferred from again",
    ),
    "input_stopped": Fault(
        "occupancy or odometry stops",
        f"HOLD `{NO_OCCUPANCY}`, `{NO_ODOMETRY}`, after hold_timeout_ms FAULT and silence",
        INPUTS, _age, "the last observation", f"the next observation; after a gap of more than 1.2 s {REFILL}",
    ),
    "stamp_from_future": Fault(
        "a stamp from the future", "rejected_count rises, level as before", INPUTS, _soon, "the message",
        "none needed: the message is not used",
    ),
    "stamps_out_of_order": Fault(
        "stamps out of order", "rejected_count rises, level as before", INPUTS, _soon, "the message",
        "none needed: the message is not used",
    ),
    "output_not_finite": Fault(
        "NaN or infinity in a forecast", "FAULT `output_not_finite`; withheld", OUTPUT, _soon,
        "the end of the inference", f"the engine forgets its state; the next sound forecast, {REFILL}",
    ),
    "output_implausible": Fault(
        "an implausible forecast: speed, turn, jump, class, confidence",
        "FAULT `output_speed`, `_turn`, `_jump`, `_class`, `_confidence`; withheld", OUTPUT, _soon,
        "the end of the inference", f"the engine forgets its state; the next sound forecast, {REFILL}",
    ),
    "engine_refused": Fault(
        "an engine that is missing, corrupt, or of another graph", "configuration FAILS with the reason, exit code 2",
        ENGINE, _start, "the start of the process", "a whole bundle, then configure again",
    ),
    "engine_mismatched": Fault(
        "an engine of another TensorRT, GPU or ONNX hash; outputs that are not the golden ones",
        "configuration FAILS with the reason, exit code 2", ENGINE, _start, "the start of the process",
        "`geniedrive build` on this machine, then configure again",
    ),
    "calibration_differs": Fault(
        "a calibration other than the bundle's or the rig's",
        f"rig file: configuration FAILS; CameraInfo: FAULT `{CALIBRATION_DIFFERS}:NAME`", CALIBRATION, _soon,
        "the CameraInfo", "a CameraInfo that agrees; for the rig file the right file, then configure again",
    ),
    "ego_jump": Fault(
        "the ego pose jumps", f"HOLD `{EGO_JUMP}` until the next inference, then DEGRADED", EGO, _soon, "the odometry",
        f"history and engine state are dropped; {REFILL}",
    ),
    "clock_jump": Fault(
        "the ROS clock jumps, or a bag loops under use_sim_time",
        f"HOLD `{CLOCK_JUMP}` until the next inference, then DEGRADED", EGO, _soon, "the clock message",
        f"history and engine state are dropped; {REFILL}",
    ),
    "data_restarted": Fault(
        "a recording begins anew without /clock", f"HOLD `{DATA_RESTARTED}` until the next inference, then DEGRADED",
        EGO, _soon, "the fifth odometry of the new stretch", f"history and engine state are dropped; {REFILL}",
    ),
    "reset_requested": Fault(
        "a reset is asked for on ~/input/reset_history",
        f"HOLD `{RESET_REQUESTED}` until the next inference, then DEGRADED", EGO, _soon, "the request",
        f"history and engine state are dropped; {REFILL}",
    ),
    "inference_slow": Fault(
        "inference is slow",
        f"DEGRADED `{INFERENCE_SLOW}` beyond slow_inference_ms; HOLD `{INFERENCE_LATE}`, then FAULT, where the forecast"
        " becomes too old", PROCESSING, _age, "the last observation that was answered",
        "the next inference within the limit",
    ),
    "worker_died": Fault(
        "the inference thread dies", f"FAULT `{INFERENCE_FAILED}`", ENGINE, _soon, "its end",
        f"a new thread with a forgotten state after 1 s, three times a minute at most; {REFILL}. Then FAULT until "
        "it is activated again; no heartbeat: systemd restarts the process",
    ),
    "qos_mismatch": Fault(
        "a subscriber or publisher asks for another QoS", "level as before; /diagnostics names topic and policy",
        CONNECTIONS, lambda limits: 1.0 + DELIVERY_S, "its discovery", "the other side leaves or is mended",
    ),
    "slow_subscriber": Fault(
        "a subscriber is too slow", "it sees gaps in published_count; nobody else sees anything", "none",
        lambda limits: 1.0, "its callback", "none needed: it gets the newest forecast next, never a queue",
    ),
    "killed": Fault(
        "the node is killed (kill -9)", "~/output/status stops: silence for three periods", "all go stale",
        lambda limits: 0.1 + DELIVERY_S, "the last status", f"systemd or the launch file starts it again; {REFILL}",
    ),
}  # fmt: skip
