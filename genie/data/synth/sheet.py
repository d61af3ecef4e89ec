"""One instant of a synthetic scene on one picture: six cameras, the lidar from above, the occupancy from above.

python -m genie.data.synth.sheet docs/synthetic-sheet.png --scene 4 --time 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.files import atomic_path
from genie.data.synth.config import SynthConfig
from genie.data.synth.rasterise import rasterise
from genie.data.synth.render import Renderer
from genie.data.synth.sensors import LIDARSEG, RIG, LidarSweep, Mount
from genie.data.synth.world import World, in_ego, scene_world
from genie.evaluation.topview import CLASS_COLOURS, scene_image
from perception.types import CLASS_NAMES

Image = NDArray[np.uint8]  # [h, w, 3]

SCALE = 0.38
ROWS = (("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"), ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"))
REACH = 40.0  # m, of both views from above
SIDE = 880  # px, of both

# Labels of the lidar that are none of the occupancy's classes by their last name.
_AS = {
    "human.pedestrian": "pedestrian",
    "vehicle.bus": "bus",
    "vehicle.construction": "construction_vehicle",
    "movable_object.trafficcone": "traffic_cone",
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
}


def _colour_of(label: str) -> tuple[int, int, int]:
    """RGB of a lidar label: that of its occupancy class, darkened to be seen as points on white."""
    prefix = next((name for key, name in _AS.items() if label.startswith(key)), label.rsplit(".", 1)[-1])
    if prefix not in CLASS_NAMES:
        return (60, 60, 60)
    r, g, b = (int(v) for v in CLASS_COLOURS[CLASS_NAMES.index(prefix)])
    pale = min(r, g, b) > 100
    return (r * 2 // 3, g * 2 // 3, b * 2 // 3) if pale else (r, g, b)


_COLOURS = np.array([_colour_of(label) for label in LIDARSEG], np.uint8)


def lidar_image(sweep: LidarSweep, world: World, t: float, mount: Mount) -> Image:
    """RGB [SIDE, SIDE, 3]: points by class and the boxes around them, ahead is up."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    per_m = SIDE / (2 * REACH)

    def pixels(xy: NDArray[np.float64]) -> NDArray[np.int32]:
        return np.round((REACH - xy[..., ::-1]) * per_m).astype(np.int32)

    heard = sweep.category > 0
    local = sweep.points[heard, :3].astype(np.float64) @ mount.ego_from_sensor[:3, :3].T + mount.translation
    at = pixels(local[:, :2])
    inside = ((at >= 0) & (at < SIDE - 1)).all(1)
    order = np.argsort(local[inside, 2], kind="stable")
    (x, y), colour = at[inside][order].T, _COLOURS[sweep.category[heard][inside][order]]
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        image[y + dy, x + dx] = colour
    ego, boxes = world.ego(t), world.boxes(t)
    seen = np.unique(sweep.instance[sweep.instance >= 0])
    for centre, size, yaw in zip(in_ego(boxes, ego)[seen], boxes.size[seen], boxes.yaw[seen] - ego.yaw, strict=True):
        cos, sin = np.cos(yaw), np.sin(yaw)
        corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * size[[1, 0]] / 2
        outline = pixels(corners @ np.array([[cos, sin], [-sin, cos]]) + centre[:2])
        cv2.polylines(image, [outline], True, (25, 25, 35), 1, cv2.LINE_AA)
    return image


def _caption(image: Image, text: str) -> Image:
    """Writes into the upper left corner, in place."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
    cv2.rectangle(image, (0, 0), (width + 16, height + 16), (30, 30, 30), -1)
    cv2.putText(image, text, (8, height + 8), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def contact_sheet(world: World, t: float, seed: int = 0) -> Image:
    """BGR. t: s after the start of the scene. seed: of the sensors' noise."""
    renderer = Renderer(world)
    mounts = {m.channel: m for m in RIG}
    rng = np.random.default_rng([seed, 9])
    rows = []
    for channels in ROWS:
        images = (renderer.camera(mounts[c], t - mounts[c].lead, SCALE, rng) for c in channels)
        rows.append(np.hstack([_caption(image, c) for c, image in zip(channels, images, strict=True)]))
    width = rows[0].shape[1]
    sweep = renderer.lidar(t, rng)
    labels = scene_image(rasterise(world, t))
    occupancy = np.asarray(cv2.resize(labels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    above = [
        _caption(lidar_image(sweep, world, t, mounts["LIDAR_TOP"])[..., ::-1].copy(), "LIDAR_TOP, points by class"),
        _caption(occupancy[..., ::-1].copy(), "occupancy, Occ3D classes"),
    ]
    gap = np.full((SIDE, width - 2 * SIDE, 3), 255, np.uint8)
    return np.vstack([*rows, np.hstack([above[0], gap, above[1]])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a PNG file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scene", type=int, default=0, help="from 0")
    parser.add_argument("--time", type=float, default=1.0, help="s after the start of the scene")
    arguments = parser.parse_args()
    world = scene_world(SynthConfig(arguments.scene + 1, max(1.0, arguments.time + 1), arguments.seed), arguments.scene)
    image = contact_sheet(world, arguments.time, arguments.seed)
    with atomic_path(arguments.out) as temporary:
        temporary.write_bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


if __name__ == "__main__":
    main()
