"""`geniedrive calib lidar-camera`: where a camera sits, from a board or from driving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from genie.cli.calib_files import IMAGES, find_files, make_board, spread

if TYPE_CHECKING:
    from calib.board import Board
    from calib.refine import Refined
    from calib.rig import Camera, Rig
    from calib.target import TargetFit

MOST_KEYFRAMES = 40


def lidar_camera(
    *,
    rig: Annotated[Path, typer.Option(help="The rig file; its extrinsics of this camera are the first guess.")],
    camera: Annotated[str, typer.Option(help="Which camera of the rig; the lidar stays where it is.")],
    lidar: Annotated[str, typer.Option(help="Which lidar of the rig.")] = "LIDAR_TOP",
    method: Annotated[Literal["target", "natural"], typer.Option(help="A board, or driving.")] = "target",
    images: Annotated[Optional[Path], typer.Option(help="target: folder of images.")] = None,  # noqa: UP045
    sweeps: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="target: folder of sweeps (.bin, float32 x y z intensity ring), named as their images."),
    ] = None,
    board: Annotated[Literal["charuco", "checkerboard"], typer.Option(help="What is printed.")] = "charuco",
    squares: Annotated[str, typer.Option(help="Columns x rows of squares.")] = "7x5",
    square_size: Annotated[float, typer.Option(help="Side of a square (m).")] = 0.16,
    dataroot: Annotated[Optional[Path], typer.Option(help="natural: a nuScenes data root.")] = None,  # noqa: UP045
    scene: Annotated[Optional[str], typer.Option(help="natural: which; default: the first.")] = None,  # noqa: UP045
    out: Annotated[Path, typer.Option(help="Where the new rig goes.")],
) -> None:
    """Extrinsics of a camera to a lidar, with their standard deviations."""
    from calib.errors import InputError
    from calib.rig_file import load_rig, save_rig
    from calib.transforms import inverse

    known = load_rig(rig)
    sensor = known.camera(camera)
    if method == "target":
        if images is None or sweeps is None:
            raise InputError("no --images or --sweeps", expected="both, for --method target", fix="give both folders")
        fit = _by_target(known, sensor, lidar, images, sweeps, make_board(board, squares, square_size))
        for name, reason in fit.left_out.items():
            typer.echo(f"left out: {name}: {reason}")
        typer.echo(f"{len(fit.used)} boards")
        refined = fit.refined
        ego_from_camera = known.lidar(lidar).mount.ego_from_sensor @ inverse(refined.pose)
    else:
        if dataroot is None:
            raise InputError("no --dataroot", expected="one, for --method natural", fix="give a nuScenes data root")
        refined = _by_driving(known, sensor, lidar, dataroot, scene)
        ego_from_camera = inverse(refined.pose)
    save_rig(out, known.with_mount(camera, ego_from_camera))
    _print(refined, inverse(ego_from_camera) @ sensor.mount.ego_from_sensor)
    typer.echo(f"written: {out}")


def _by_target(rig: Rig, camera: Camera, lidar: str, images: Path, sweeps: Path, board: Board) -> TargetFit:
    from calib.board import find_corners
    from calib.errors import InputError
    from calib.tables import read_image, read_sweep
    from calib.target import Pair, calibrate_target

    taken = {path.stem: path for path in find_files([images], IMAGES)}
    scanned = {path.name.split(".")[0]: path for path in find_files([sweeps], (".bin",))}
    both = sorted(taken.keys() & scanned.keys())
    if not both:
        raise InputError(
            f"no image is named as a sweep: {next(iter(taken))}, {next(iter(scanned))}",
            expected="equal names but for the ending, as 003.png and 003.bin",
            fix="rename them; one name for what was taken at the same time, the car standing still",
            path=sweeps,
        )
    pairs = []
    for name in both:
        corners = find_corners(board, read_image(taken[name]))
        if corners is None:
            typer.echo(f"no board found: {taken[name].name}")
        else:
            pairs.append(Pair(name, corners, read_sweep(scanned[name])))
    guess = camera.mount.sensor_from_ego @ rig.lidar(lidar).mount.ego_from_sensor
    return calibrate_target(board, pairs, camera.intrinsics, guess)


def _by_driving(rig: Rig, camera: Camera, lidar: str, dataroot: Path, scene: str | None) -> Refined:
    from calib.natural import calibrate_natural, read_frames
    from calib.tables import Tables

    data = Tables(dataroot, lidar).first(scene)
    chosen = [data.keyframes[round(i)] for i in spread(len(data.keyframes), MOST_KEYFRAMES)]
    frames = read_frames(chosen, camera.name, rig.lidar(lidar).mount.ego_from_sensor)
    return calibrate_natural(frames, camera.intrinsics, camera.mount.sensor_from_ego)


def _print(refined: Refined, change: object) -> None:
    import cv2
    import numpy as np

    moved = np.asarray(change)
    turned = np.degrees(np.asarray(cv2.Rodrigues(moved[:3, :3])[0]).ravel())
    for axis in range(3):
        name = "xyz"[axis]
        turn = f"turned about {name} by {turned[axis]:+.3f} deg +- {refined.sigma_deg[axis]:.3f}"
        typer.echo(f"{turn}, moved along {name} by {100 * moved[axis, 3]:+.2f} cm +- {100 * refined.sigma_m[axis]:.2f}")
    typer.echo("from the first guess, in the camera's frame; +- is one standard deviation")
