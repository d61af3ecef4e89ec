"""`SceneBuilder`: the labels of a scene's keyframes, from its sweeps, boxes and lidarseg."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.transforms import Array, apply, inverse, se3, se3_from_xyz_yaw, yaw_of
from genie.boxes import voxels_of_boxes
from genie.data.occupancy import align, ground, semantics
from genie.data.occupancy.accumulate import Scan, accumulate
from genie.data.occupancy.carve import observed, passing
from genie.data.occupancy.cells import Cells
from genie.data.occupancy.config import OccupancyConfig
from genie.data.occupancy.fill import closed, fill_ground
from genie.data.occupancy.lidarseg import Lidarseg
from genie.data.occupancy.sweeps import Sweep, pose_of
from genie.data.raycast import camera_rays, visible_mask
from genie.data.tracks import Boxes, load_tracks
from perception.types import FREE, GRID, MOVABLE, NUM_CLASSES, Occupancy

if TYPE_CHECKING:
    from nuscenes import NuScenes


class View(NamedTuple):
    """The frame that a keyframe is labelled in. ego_from_world: [4, 4], as recorded; ego_from_levelled: [4, 4], from
    the levelled world, coordinates counting from the scan's center."""

    ego_from_world: Array
    ego_from_levelled: Array


class SceneBuilder:
    """Reads and accumulates a scene once; then labels any of its keyframes.

    Args:
        sweeps: of list_sweeps, at least one.
        progress: called after each sweep.

    Raises:
        InputError: a sweep or a label file is damaged.
    """

    def __init__(
        self,
        nusc: NuScenes,
        scene: str,
        sweeps: list[Sweep],
        config: OccupancyConfig = OccupancyConfig(),
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._nusc, self._config = nusc, config
        self._sweeps = sweeps
        self._index = {s.keyframe: n for n, s in enumerate(sweeps) if s.keyframe}
        self._tracks = load_tracks(nusc, scene)
        self._scan = accumulate(sweeps, align.heights(sweeps), self._tracks, Lidarseg(nusc), config, progress)
        path = np.array([s.world_from_ego[:2, 3] for s in sweeps])
        self._road = semantics.roads(nusc, scene, path, config.reach)
        static = self._labelled_cells()
        self._ground = ground.estimate(static)
        self._between = closed(self._ground, config.ground_gap)
        self._static = _filled(static, self._scan.center, config.depth)

    def _labelled_cells(self) -> Cells:
        """What stands still, each entry with a class, in the levelled world.

        Whatever can travel is annotated: what is labelled so outside all boxes is the trail of something far away, or
        an outline wider than its box.
        """
        cells = self._scan.static
        floor = ground.estimate(cells)
        stays = semantics.label(cells.select(~passing(cells, self._scan, floor, self._config)), floor, self._road)
        return stays.select(~np.isin(stays.class_id, MOVABLE))

    def label(self, token: str) -> Occupancy:
        """Semantics and masks of a keyframe whose own sweep is there, in its ego frame (yaw alone: config.level)."""
        index = self._index[token]
        sweep = self._sweeps[index]
        view = self._view(sweep, float(self._scan.height[index]))
        rays = observed(self._scan, sweep.stamp_us, view.ego_from_levelled, self._config.neighbourhood_s)
        out = vote(self._static, view.ego_from_levelled, self._config.min_points)
        mask_lidar = (rays.free > 0) | (rays.hit > 0)
        ego_from_ground = view.ego_from_levelled @ se3(-self._scan.center)
        fill_ground(out, self._ground, self._between, self._road, ego_from_ground, mask_lidar)
        own = observed(self._scan, sweep.stamp_us, view.ego_from_levelled, 0.0)
        crossed = (own.free >= self._config.min_crossings) & (own.hit == 0)
        put_objects(out, self._tracks.at(sweep.stamp_us), self._scan, view.ego_from_world, crossed)
        return Occupancy(out, mask_lidar, self._camera_mask(out, token, view)).validate()

    def _view(self, sweep: Sweep, rise: float) -> View:
        world_from_ego = sweep.world_from_ego
        if self._config.level:
            world_from_ego = se3_from_xyz_yaw(world_from_ego[:3, 3], yaw_of(world_from_ego))
        ego_from_world = inverse(world_from_ego)
        return View(ego_from_world, ego_from_world @ se3(self._scan.center - (0.0, 0.0, rise)))

    def _camera_mask(self, out: NDArray[np.uint8], token: str, view: View) -> NDArray[np.bool_]:
        """What the keyframe's cameras see of the result; all False where the tables have no camera."""
        seen = np.zeros(GRID.shape, bool)
        for row in cameras(self._nusc, token):
            placed = pose_of(self._nusc, row)
            mount = self._nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
            pose = view.ego_from_world @ placed.world_from_ego @ placed.ego_from_sensor
            width, height = int(row["width"]), int(row["height"])
            stride = max(1, round(self._config.pixel_stride * width / 1600))
            rays = camera_rays(np.array(mount["camera_intrinsic"]), pose, width, height, stride)
            seen |= visible_mask(out, rays.origin, rays.directions)
        return seen


def _filled(cells: Cells, center: Array, depth: float) -> Cells:
    """Coordinates from `center` on. A voxel belongs to a thing if its centre does; what stands was hit on its surface,
    and its matter is behind it."""
    standing = ~semantics.is_flat(cells.class_id)
    return cells._replace(point=cells.point + depth * cells.ray * standing[:, None] - center)


def cameras(nusc: NuScenes, token: str) -> list[dict[str, Any]]:
    """The sample_data of a keyframe's cameras; their files are not needed."""
    rows = [nusc.get("sample_data", data) for data in nusc.get("sample", token)["data"].values()]
    return [row for row in rows if row["sensor_modality"] == "camera"]


def vote(cells: Cells, ego_from_levelled: Array, min_points: int) -> NDArray[np.uint8]:
    """uint8 [X, Y, Z]: the class with most points in each voxel; free where fewer than `min_points` lie."""
    reach = np.linalg.norm(np.abs(GRID.origin[:2])) + GRID.voxel_size
    ego = inverse(ego_from_levelled)[:2, 3]
    near = (np.abs(cells.point[:, :2] - ego) < reach).all(1)
    index = GRID.index_of(apply(ego_from_levelled, cells.point[near]))
    inside = ((index >= 0) & (index < GRID.shape)).all(1)
    flat = np.ravel_multi_index(tuple(index[inside].T), GRID.shape)
    voxels, row = np.unique(flat, return_inverse=True)
    class_id, number = cells.class_id[near][inside], cells.number[near][inside]
    votes = np.bincount(row * NUM_CLASSES + class_id, number, len(voxels) * NUM_CLASSES).reshape(-1, NUM_CLASSES)
    enough = votes.sum(1) >= min_points
    out = np.full(GRID.shape, FREE, np.uint8)
    out.reshape(-1)[voxels[enough]] = votes[enough].argmax(1)
    return out


def put_objects(
    out: NDArray[np.uint8], boxes: Boxes, scan: Scan, ego_from_world: Array, crossed: NDArray[np.bool_]
) -> None:
    """Annotated boxes into `out` in place, large ones first.

    They are solid, as those of Occ3D are: voxels whose centre is inside, but for those that the keyframe's rays
    crossed and where none of the instance's points, of any time, lies.
    """
    large_first = boxes.select(np.argsort(-boxes.size_lwh.prod(1), kind="stable"))
    ego_from_box = ego_from_world @ se3_from_xyz_yaw(large_first.center_world, large_first.yaw_world)
    values, hollow = out.reshape(-1), crossed.reshape(-1)
    for row, voxels in voxels_of_boxes(large_first, ego_from_world):
        points = scan.objects.get(int(large_first.instance[row]), np.zeros((0, 3)))
        filled = voxels_of(apply(ego_from_box[row], points))
        kept = ~hollow[voxels] | np.isin(voxels, filled)
        values[voxels[kept]] = large_first.class_id[row]


def voxels_of(points: Array) -> NDArray[np.int64]:
    """Flat indices of the voxels that points [n, 3] (m) of the ego frame lie in; those outside are left out."""
    index = GRID.index_of(points)
    inside = ((index >= 0) & (index < GRID.shape)).all(1)
    return np.asarray(np.ravel_multi_index(tuple(index[inside].T), GRID.shape), np.int64)
