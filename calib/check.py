"""Is a rig's calibration right for this data? Lidar and cameras are brought together as the rig says, and turned away
from it: where the two agree better elsewhere, the calibration is wrong.

`check_scene` runs it; `CameraReport` is what it tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.agreement import in_view, perturbation, perturbed, project_ends, score
from calib.camera import project
from calib.edges import ImageEdges, LidarEdges, image_edges, lidar_edges
from calib.rig import Camera, Intrinsics, Rig
from calib.tables import Keyframe, Measurement, read_image, read_sweep
from calib.transforms import Array, apply, inverse

AXES = ("rx", "ry", "rz", "tx", "ty", "tz")
STEP = (*np.radians((0.5, 0.5, 0.5)), 0.05, 0.05, 0.05)  # rad, m: what the score is compared with
REACH_DEG, GRID_DEG = 3.0, 0.5  # the search for a better pitch and yaw
TOLERANCE_DEG = 1.0  # a single scene tells the best pitch and yaw to about half of this
# Standard deviations of the scores of wrong calibrations: by how much agreement must rise above them to be good, below
# which it does not rise at all, and by how much it must be better elsewhere to be wrong here.
GOOD_CONTRAST, NO_CONTRAST, BETTER = 1.5, 1.0, 1.5
MIN_ENDS = 150  # ends of things in all images of a camera: with fewer, nothing is said
SPREAD = 1 / 400  # of the image's width: how wide an edge is made, about half a step of the search

Verdict = Literal["good", "bad", "undecided"]


class CameraReport(NamedTuple):
    """What the check found of one camera.

    images: how many were looked at. hits: share of the lidar's points that fall into the image. ends: of things seen by
    the lidar in the images. score: edge agreement as the rig is, 0 to 1. turned: score at minus and plus STEP of each
    of AXES. best_deg: pitch and yaw at which agreement is best, from what the rig says. contrast: by how many standard
    deviations of the scores elsewhere agreement rises, at the rig's values.
    """

    camera: str
    images: int
    hits: float
    ends: int
    score: float
    turned: tuple[tuple[float, float], ...]
    best_deg: tuple[float, float]
    contrast: float
    verdict: Verdict
    reason: str


class View(NamedTuple):
    """One image with the sweep it belongs to, as the rig brings them together: what `on_view` is given to draw."""

    keyframe: Keyframe
    camera: Camera
    image: NDArray[np.uint8]
    points: Array
    edges: LidarEdges
    camera_from_lidar: Array


def camera_from_lidar(rig: Rig, camera: str, lidar: str, image: Measurement, sweep: Measurement) -> Array:
    """[4, 4] from the lidar's frame at the sweep's stamp to the camera's at the image's, by way of the ego motion."""
    ego_from_world = inverse(image.world_from_ego)
    motion = ego_from_world @ sweep.world_from_ego
    matrix: Array = rig.camera(camera).mount.sensor_from_ego @ motion @ rig.lidar(lidar).mount.ego_from_sensor
    return matrix


def check_scene(
    rig: Rig,
    keyframes: Iterable[Keyframe],
    lidar: str = "LIDAR_TOP",
    on_view: Callable[[View], None] = lambda view: None,
) -> list[CameraReport]:
    """One report for each camera of the rig that has images.

    Args:
        rig: as the files claim.
        keyframes: what was measured.
        on_view: is called with each image and what belongs to it.
    """
    sums: dict[str, _Sums] = {}
    for keyframe in keyframes:
        sweep = read_sweep(keyframe.lidar.path)
        edges = lidar_edges(sweep, rig.lidar(lidar).mount.ego_from_sensor)
        points = sweep[:, :3].astype(np.float64)
        points = points[np.linalg.norm(points, axis=1) > 1.0]
        for measured in keyframe.cameras:
            camera = rig.camera(measured.channel)
            pose = camera_from_lidar(rig, camera.name, lidar, measured, keyframe.lidar)
            image = read_image(measured.path)
            on_view(View(keyframe, camera, image, points, edges, pose))
            summary = sums.setdefault(camera.name, _Sums())
            summary.add(image_edges(image, image.shape[1] * SPREAD), edges, points, pose, camera.intrinsics)
    return [sums[name].report(name) for name in sorted(sums)]


def _grid() -> Array:
    steps = round(REACH_DEG / GRID_DEG)
    return np.arange(-steps, steps + 1) * GRID_DEG


class _Sums:
    """Scores of one camera, added up over its images: weighted by how many ends each shows."""

    def __init__(self) -> None:
        self.images = self.ends = self.points = self.hits = 0
        self.weight = self.score = 0.0
        self.turned, self.grid = np.zeros((6, 2)), np.zeros((len(_grid()),) * 2)

    def add(self, image: ImageEdges, edges: LidarEdges, points: Array, pose: Array, intrinsics: Intrinsics) -> None:
        self.images += 1
        self.points += len(points)
        self.hits += int(project(intrinsics, apply(pose, points)).inside.sum())
        edges = in_view(edges, pose, intrinsics)
        weight = len(project_ends(edges, pose, intrinsics).pixel)
        self.ends += weight
        if not weight:
            return

        def agreement(change: Array) -> float:
            value = score(image, edges, change @ pose, intrinsics)
            return weight * (value if np.isfinite(value) else 0.0)

        self.weight += weight
        self.score += agreement(np.eye(4))
        for axis, step in enumerate(STEP):
            self.turned[axis] += [agreement(perturbation(axis, sign * step)) for sign in (-1, 1)]
        for row, pitch in enumerate(np.radians(_grid())):
            self.grid[row] += [agreement(perturbed(np.array([pitch, yaw, 0, 0, 0, 0]))) for yaw in np.radians(_grid())]

    def report(self, camera: str) -> CameraReport:
        weight = max(self.weight, 1.0)
        grid = self.grid / weight
        at = np.unravel_index(int(np.argmax(grid)), grid.shape)
        best = (float(_grid()[at[0]]), float(_grid()[at[1]]))
        pitch, yaw = np.meshgrid(_grid(), _grid(), indexing="ij")
        elsewhere = grid[np.hypot(pitch, yaw) > 2 * TOLERANCE_DEG]
        deviation = max(float(elsewhere.std()), 1e-9)
        contrast = (self.score / weight - float(elsewhere.mean())) / deviation
        better = (float(grid.max()) - self.score / weight) / deviation
        hits = self.hits / max(self.points, 1)
        verdict, reason = _judge(self.ends, best, contrast, better)
        turned = tuple((float(low), float(high)) for low, high in self.turned / weight)
        return CameraReport(
            camera, self.images, hits, self.ends, self.score / weight, turned, best, contrast, verdict, reason
        )


def _judge(ends: int, best: tuple[float, float], contrast: float, better: float) -> tuple[Verdict, str]:
    if not ends:
        return "bad", "no end of a thing seen by the lidar falls into the image"
    if ends < MIN_ENDS:
        return "undecided", f"only {ends} ends of things in the images, {MIN_ENDS} are needed"
    near = max(map(abs, best)) <= TOLERANCE_DEG
    turned = f"turned by {best[0]:+.1f} deg (pitch), {best[1]:+.1f} deg (yaw)"
    if contrast < NO_CONTRAST:
        return "bad", f"agrees no better than wrong calibrations do ({contrast:.1f} deviations); best {turned}"
    if not near and better > BETTER:
        return "bad", f"agrees better when {turned}"
    if near and contrast >= GOOD_CONTRAST:
        return "good", f"agrees best within {TOLERANCE_DEG:g} deg of the rig's pitch and yaw"
    return "undecided", f"too little to see: {contrast:.1f} deviations, best {turned}; check more keyframes"
