"""`geniedrive node`, `perceive`, `replay` and `top`: processes on a ROS 2 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

DEFAULT_BUNDLE = Path("runs/demo/bundle")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(replay)
    app.command()(node)
    app.command()(perceive)
    app.command()(top)


def replay(
    *,
    bag: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A rosbag2, e.g. one that `geniedrive bag` wrote; instead of --dataroot and --scene."),
    ] = None,
    dataroot: Annotated[Optional[Path], typer.Option(help="Folder of the nuScenes data.")] = None,  # noqa: UP045
    scene: Annotated[Optional[str], typer.Option(help="Scene name, e.g. scene-0061.")] = None,  # noqa: UP045
    source: Annotated[
        Literal["stream", "stream-mini", "occ3d"],
        typer.Option(help="10 Hz streams (stream-mini: boxes and road alone), or Occ3D labels at 2 Hz."),
    ] = "stream",
    rate: Annotated[float, typer.Option(min=0.01, help="Seconds of the recording in a second.")] = 1.0,
    odometry_rate: Annotated[float, typer.Option(min=1.0, help="Ego poses per second of the recording.")] = 50.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end; the stamps go back, too.")] = False,
    clock: Annotated[bool, typer.Option("--clock", help="Publish /clock, for nodes with use_sim_time.")] = False,
    lockstep: Annotated[
        bool,
        typer.Option("--lockstep", help="Each frame waits for the forecast of the last; for `node --sim-time`."),
    ] = False,
    record: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write forecasts and odometry into a new bag there, for `geniedrive eval --bag`."),
    ] = None,
    cameras: Annotated[
        str, typer.Option(help="Cameras of the bag that the node has, in the order of its rig: camera_info, or images.")
    ] = "",
    sensors: Annotated[
        str,
        typer.Option(help="Name of a perception node: images and lidar go there, and no occupancy to the other."),
    ] = "",
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for listeners before the start.")] = 10.0,
    listeners: Annotated[int, typer.Option(min=0, help="How many must subscribe before the start.")] = 1,
) -> None:
    """Publishes a scene or a bag with its true stamps on the inputs of the node. Ctrl-C ends it."""
    from genie.cli.ros_env import exec_module

    given = {"--bag": bag, "--dataroot": dataroot, "--scene": scene, "--record": record}
    options = [str(part) for name, value in given.items() if value is not None for part in (name, value)]
    options += ["--source", source, "--rate", str(rate), "--odometry-rate", str(odometry_rate), "--wait", str(wait)]
    options += ["--listeners", str(listeners), "--cameras", cameras, "--sensors", sensors]
    options += [f"--{n}" for n, wanted in (("loop", loop), ("clock", clock), ("lockstep", lockstep)) if wanted]
    exec_module("genie_ros.replay", options)


def node(
    *,
    bundle: Annotated[Path, typer.Option(help="Folder of the exported model.")] = DEFAULT_BUNDLE,
    params: Annotated[
        Path | None, typer.Option(help="ROS 2 parameter file; its values win over the other options.")
    ] = None,
    stamp_clock: Annotated[
        Literal["data", "ros"],
        typer.Option(help="Stamps against the data's own time (replay) or against the ROS clock (a car)."),
    ] = "data",
    backend: Annotated[
        Literal["ort", "trt"], typer.Option(help="What runs the network: ONNX Runtime, or TensorRT (see `build`).")
    ] = "ort",
    sim_time: Annotated[
        bool, typer.Option("--sim-time", help="Time is /clock, for `replay --clock` and --lockstep.")
    ] = False,
) -> None:
    """Starts the forecast node, configured and active. Ctrl-C ends it."""
    from genie.cli.ros_env import exec_module

    options = [
        "--autostart",
        "--ros-args",
        "-p",
        f"bundle_path:={bundle.resolve()}",
        "-p",
        f"stamp_clock:={'ros' if sim_time else stamp_clock}",
        "-p",
        f"use_sim_time:={str(sim_time).lower()}",
        "-p",
        f"backend:={backend}",
    ]
    exec_module("genie_ros.forecast_node", options + _parameter_file(params))


def perceive(
    *,
    perception: Annotated[Path, typer.Option(help="Folder that `geniedrive export perception` wrote.")],
    rig: Annotated[Path, typer.Option(help="Rig file of the car; a bag of `geniedrive bag` has a rig.yaml.")],
    target: Annotated[
        str, typer.Option(help="Name of the forecast node: it gets the occupancy, and tells what it expects.")
    ] = "geniedrive",
    params: Annotated[
        Path | None, typer.Option(help="ROS 2 parameter file; its values win over the other options.")
    ] = None,
    stamp_clock: Annotated[
        Literal["data", "ros"],
        typer.Option(help="Stamps against the data's own time (replay) or against the ROS clock (a car)."),
    ] = "data",
    sim_time: Annotated[bool, typer.Option("--sim-time", help="Time is /clock.")] = False,
) -> None:
    """Starts the perception node: images, lidar and odometry become occupancy for the forecast node. Ctrl-C ends it."""
    from genie.cli.ros_env import exec_module

    given = {
        "perception_path": perception.resolve(), "rig_path": rig.resolve(),
        "stamp_clock": "ros" if sim_time else stamp_clock, "use_sim_time": str(sim_time).lower(),
    }  # fmt: skip
    wiring = {"~/output/occupancy": f"/{target}/input/occupancy", "~/input/expected": f"/{target}/output/next_step"}
    options = ["--autostart", "--ros-args"]
    options += [part for ours, theirs in wiring.items() for part in ("-r", f"{ours}:={theirs}")]
    options += [part for name, value in given.items() for part in ("-p", f"{name}:={value}")]
    exec_module("genie_ros.perception_node", options + _parameter_file(params))


def _parameter_file(path: Path | None) -> list[str]:
    """Arguments for a node. InputError where there is none of that name."""
    from calib.errors import InputError

    if path is None:
        return []
    if not path.is_file():
        raise InputError(
            "no such parameter file", expected="a ROS 2 parameter file (YAML)", fix="check --params", path=path
        )
    return ["--params-file", str(path)]


def top(
    *,
    target: Annotated[str, typer.Option(help="Name of the node to watch.")] = "geniedrive",
    seconds: Annotated[
        float, typer.Option(min=0.0, help="End after so long, the last page printed; 0: until Ctrl-C.")
    ] = 0.0,
) -> None:
    """A page about a running node: rates, latency, buckets, state and reasons, diagnostics."""
    from genie.cli.ros_env import exec_module

    exec_module("genie_ros.top", ["--target", target, "--seconds", str(seconds)])
