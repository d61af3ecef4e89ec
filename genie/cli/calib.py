"""`geniedrive calib ...`: intrinsics, extrinsics, and whether they are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from genie.cli.calib_drift import drift
from genie.cli.calib_extrinsics import lidar_camera
from genie.cli.calib_files import find_files, make_board, spread, write_png

if TYPE_CHECKING:
    from calib.board import Board
    from calib.check import CameraReport
    from calib.intrinsics import Fit

app = typer.Typer(help="Calibrate a rig, and check it.", no_args_is_help=True, rich_markup_mode=None)
app.command("lidar-camera")(lidar_camera)
app.command()(drift)


@app.command()
def camera(
    images: Annotated[list[Path], typer.Argument(help="Images of the board, or folders of them.")],
    *,
    board: Annotated[Literal["charuco", "checkerboard"], typer.Option(help="What is printed.")] = "charuco",
    squares: Annotated[str, typer.Option(help="Columns x rows of squares, not of corners.")] = "9x6",
    square_size: Annotated[float, typer.Option(help="Side of a square (m).")],
    model: Annotated[Literal["pinhole", "fisheye"], typer.Option(help="Of the lens.")] = "pinhole",
    out: Annotated[Path, typer.Option(help="Where the intrinsics go; a picture is put beside them (.png).")],
) -> None:
    """Intrinsics from images of a board."""
    from calib.board import find_corners
    from calib.errors import InputError
    from calib.intrinsics import View, calibrate
    from calib.intrinsics_picture import draw_fit
    from calib.rig_file import save_intrinsics
    from calib.tables import read_image

    target = make_board(board, squares, square_size)
    views, unseen, sizes = [], [], dict[tuple[int, int], Path]()
    for path in find_files(images, (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")):
        image = read_image(path)
        sizes.setdefault((image.shape[1], image.shape[0]), path)
        corners = find_corners(target, image)
        if corners is None:
            unseen.append(path.name)
        else:
            views.append(View(path.name, corners))
    if len(sizes) > 1:
        raise InputError(
            f"images of {len(sizes)} sizes: {', '.join(f'{w}x{h} ({p.name})' for (w, h), p in sizes.items())}",
            expected="images of one camera in one mode",
            fix="calibrate each size by itself",
        )
    fit = calibrate(target, views, next(iter(sizes)), model)
    save_intrinsics(out, fit.intrinsics, _how(fit, target, unseen))
    picture = out.with_suffix(".png")
    write_png(picture, draw_fit(fit))
    for name in unseen:
        typer.echo(f"no board found: {name}")
    for name, error in fit.dropped.items():
        typer.echo(f"dropped, does not fit: {name} ({error:.2f} px)")
    for name, error in fit.errors.items():
        typer.echo(f"{name}: {error:.3f} px")
    sigma = fit.sigma_focal
    told = f" +- {sigma[0]:.2f}, {sigma[1]:.2f}" if sigma else ""
    focal = fit.intrinsics.focal
    typer.echo(f"RMS {fit.rms:.3f} px over {len(fit.errors)} images; focal {focal[0]:.2f}, {focal[1]:.2f}{told} px")
    typer.echo(f"written: {out}, {picture}")


def _how(fit: Fit, board: Board, unseen: list[str]) -> dict[str, object]:
    """What stands beside the intrinsics in their file."""
    return {
        "board": f"{board.kind} {board.squares[0]}x{board.squares[1]}, {board.square:g} m",
        "rms_px": round(fit.rms, 4),
        "sigma_focal_px": [round(s, 3) for s in fit.sigma_focal] if fit.sigma_focal else None,
        "reached": round(fit.coverage.reached, 3),
        "tilt_deg": [round(t, 1) for t in fit.coverage.tilt_deg],
        "errors_px": {name: round(error, 4) for name, error in fit.errors.items()},
        "dropped": sorted([*fit.dropped, *unseen]),
    }


@app.command()
def check(
    dataroot: Annotated[Path, typer.Argument(help="A nuScenes data root with lidar sweeps and images.")],
    *,
    scene: Annotated[Optional[str], typer.Option(help="Which; default: the first that has files.")] = None,  # noqa: UP045
    rig: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Check this rig file instead of the calibration in the tables."),
    ] = None,
    keyframes: Annotated[int, typer.Option(help="How many to look at, spread over the scene.")] = 8,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for overlays (PNG): lidar points coloured by depth, red near and blue far."),
    ] = None,
) -> None:
    """Does the lidar agree with the cameras? Exit 1 if it does not."""
    from calib.check import View, check_scene
    from calib.errors import CheckFailed
    from calib.overlay import caption, draw_ends, draw_points
    from calib.rig_file import load_rig
    from calib.tables import Tables

    data = Tables(dataroot).first(scene)
    judged = data.rig if rig is None else load_rig(rig)
    chosen = [data.keyframes[round(i)] for i in spread(len(data.keyframes), keyframes)]

    def draw(view: View) -> None:
        if out is not None and view.keyframe is chosen[0]:
            intrinsics = view.camera.intrinsics
            image = draw_points(view.image, view.points, view.camera_from_lidar, intrinsics)
            image = draw_ends(image, view.edges, view.camera_from_lidar, intrinsics)
            write_png(out / f"{view.camera.name}.png", caption(image, f"{data.name} {view.camera.name}"))

    reports = check_scene(judged, chosen, on_view=draw)
    _print_check(data.name, len(chosen), judged.sha256, reports)
    if data.missing:
        typer.echo(f"{data.missing} keyframes are in the tables and have no files")
    if out is not None:
        typer.echo(f"overlays: {out}")
    bad = [r.camera for r in reports if r.verdict == "bad"]
    if bad or not any(r.verdict == "good" for r in reports):
        raise CheckFailed(f"calibration of {', '.join(bad)} is wrong" if bad else "nothing agrees well enough to tell")


def _print_check(scene: str, keyframes: int, digest: str, reports: list[CameraReport]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from calib.check import AXES

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name in ("camera", "points", "ends", "agreement", "best pitch, yaw", "contrast", "verdict"):
        table.add_column(name, no_wrap=True)
    for r in reports:
        best = f"{r.best_deg[0]:+.1f}, {r.best_deg[1]:+.1f}"
        table.add_row(r.camera, f"{r.hits:.1%}", str(r.ends), f"{r.score:.3f}", best, f"{r.contrast:.1f}", r.verdict)
    turns = Table("camera", *(f"{axis} -/+" for axis in AXES), box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for r in reports:
        score = max(r.score, 1e-9)
        changes = (f"{100 * (a / score - 1):+.0f}/{100 * (b / score - 1):+.0f}" for a, b in r.turned)
        turns.add_row(r.camera, *changes)
    console = Console()
    console.print(f"{scene}, {keyframes} keyframes, rig {digest[:12]}", table, sep="\n")
    for r in reports:
        typer.echo(f"{r.camera}: {r.reason}")
    console.print(
        "\nagreement if turned by 0.5 deg or shifted by 5 cm, in the camera's axes, change in %:", turns, sep="\n"
    )
