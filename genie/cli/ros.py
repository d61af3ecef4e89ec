"""`geniedrive replay` and `geniedrive node`: processes on a ROS 2 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_BUNDLE = Path("runs/demo/bundle")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command()(replay)
    app.command()(node)


def replay(
    *,
    dataroot: Annotated[Path, typer.Option(help="Folder of the nuScenes data.")],
    scene: Annotated[str, typer.Option(help="Scene name, e.g. scene-0061.")],
    source: Annotated[
        Literal["stream", "stream-mini", "occ3d"],
        typer.Option(help="10 Hz streams (stream-mini: boxes and road alone), or Occ3D labels at 2 Hz."),
    ] = "stream",
    rate: Annotated[float, typer.Option(min=0.01, help="Seconds of the recording in a second.")] = 1.0,
    odometry_rate: Annotated[float, typer.Option(min=1.0, help="Ego poses per second of the recording.")] = 50.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end; the stamps go back, too.")] = False,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for listeners before the start.")] = 10.0,
    listeners: Annotated[int, typer.Option(min=0, help="How many must subscribe before the start.")] = 1,
) -> None:
    """Publishes a scene with its true stamps on the inputs of the node. Ctrl-C ends it."""
    from genie.cli.ros_env import exec_module

    options = ["--dataroot", str(dataroot), "--scene", scene, "--source", source, "--rate", str(rate)]
    options += ["--odometry-rate", str(odometry_rate), "--wait", str(wait)]
    options += ["--listeners", str(listeners), *(["--loop"] if loop else [])]
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
) -> None:
    """Starts the forecast node, configured and active. Ctrl-C ends it."""
    from calib.errors import InputError
    from genie.cli.ros_env import exec_module

    options = [
        "--autostart",
        "--ros-args",
        "-p",
        f"bundle_path:={bundle.resolve()}",
        "-p",
        f"stamp_clock:={stamp_clock}",
        "-p",
        f"backend:={backend}",
    ]
    if params is not None:
        if not params.is_file():
            raise InputError(
                "no such parameter file", expected="a ROS 2 parameter file (YAML)", fix="check --params", path=params
            )
        options += ["--params-file", str(params)]
    exec_module("genie_ros.forecast_node", options)
