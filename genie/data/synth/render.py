"""`Renderer`: the sensors of one scene. It reads the world and knows no files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genie.data.synth import camera, lidar
from genie.data.synth.light import Light
from genie.data.synth.meshes import bodies, ego_body
from genie.data.synth.sensors import LIDAR, RIG, LidarSweep, Mount
from genie.data.synth.shading import radiance
from genie.data.synth.surfaces import Seen, Surfaces
from genie.data.synth.tracer import Floats, Mesh, Tracer, join
from genie.data.synth.world import Boxes, World

REACH = 105.0  # m from the ego to what is worth tracing
MARGIN = 0.3  # m that a body may reach out of its box, or move while a slice is scanned
HALF_VIEW = np.radians(50.0)  # of the widest camera, and a margin for shadows that fall into the image


class Renderer:
    """Lidar and cameras of one scene; one per scene and process. The static scene is built here, once."""

    def __init__(self, world: World, rig: tuple[Mount, ...] = RIG) -> None:
        self.world, self.rig = world, {m.channel: m for m in rig}
        self.surfaces = Surfaces(world)
        self.light = Light.draw(world)

    def physical_from_ego(self, t: float) -> NDArray[np.float64]:
        """The ego pose [4, 4] as it is, not as it is recorded: with the height of the ground under the ego."""
        pose = self.world.ego(t).world_from_ego
        pose[2, 3] += self.world.datum(t)
        return pose

    def lidar(self, t: float, rng: np.random.Generator) -> LidarSweep:
        """The revolution that ends at `t` (s after the start of the scene)."""
        return lidar.sweep(self.rig[LIDAR], self.physical_from_ego, self._moving_near, self.surfaces, t, rng)

    def ranges(self, t: float, origins: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float32]:
        """Distance (m) to the first surface at `t`, FAR where there is none, the ego's own body left out.

        Args:
            origins, directions: of rays, [n, 3] in the recorded world frame of `t` (m); unit vectors.
        """
        boxes, datum = self.world.boxes(t), self.world.datum(t)
        near = np.hypot(*(boxes.centre[:, :2] - self.world.ego(t).xyz[:2]).T) < REACH
        scene = Tracer(bodies(boxes.select(near & ~boxes.parked), datum))
        raised = origins + np.array([0.0, 0.0, datum])
        return self.surfaces.see(raised.astype(np.float32), directions.astype(np.float32), scene).distance

    def camera(self, mount: Mount, t: float, scale: float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The image exposed at `t`: BGR [round(900 * scale), round(1600 * scale), 3]."""
        shot = camera.view(mount, scale)
        pose = self.physical_from_ego(t) @ mount.ego_from_sensor
        directions = shot.directions @ pose[:3, :3].T.astype(np.float32)
        origin = pose[:3, 3].astype(np.float32)
        moving, seen = self._look(mount, t, scale, origin, directions)
        light = radiance(self.surfaces, self.light, seen, origin, directions, moving, shot.spread)
        return camera.develop(shot, light, rng)

    def instances(self, mount: Mount, t: float, scale: float) -> NDArray[np.int32]:
        """Which instance each pixel of `camera` shows, [h, w], -1: none."""
        shot = camera.view(mount, scale)
        pose = self.physical_from_ego(t) @ mount.ego_from_sensor
        directions = shot.directions @ pose[:3, :3].T.astype(np.float32)
        seen = self._look(mount, t, scale, pose[:3, 3].astype(np.float32), directions)[1]
        return seen.instance.reshape(shot.height, shot.width)

    def _look(self, mount: Mount, t: float, scale: float, origin: Floats, directions: Floats) -> tuple[Tracer, Seen]:
        shot = camera.view(mount, scale)
        axis = directions.reshape(shot.height, shot.width, 3)[shot.height // 2, shot.width // 2]
        boxes = self.world.boxes(t)
        offset = boxes.centre[:, :2] - origin[:2]
        sector = _in_sector(offset, _radius(boxes), float(np.arctan2(axis[1], axis[0])), HALF_VIEW)
        moving = Tracer(self._moving(t, boxes, sector))
        origins = np.broadcast_to(origin, directions.shape).copy()
        return moving, self.surfaces.see(origins, directions, moving)

    def _moving_near(self, t: float, bearing: float) -> Mesh:
        """What moves, and the ego's body, at `t` within a slice of the lidar around a bearing."""
        boxes = self.world.boxes(t)
        sensor = self.world.ego(t).world_from_ego @ self.rig[LIDAR].ego_from_sensor
        offset = boxes.centre[:, :2] - sensor[:2, 3]
        return self._moving(t, boxes, _in_sector(offset, _radius(boxes), bearing, lidar.SECTOR))

    def _moving(self, t: float, boxes: Boxes, wanted: NDArray[np.bool_]) -> Mesh:
        chosen = boxes.select(wanted & ~boxes.parked)
        return join([bodies(chosen, self.world.datum(t)), ego_body(self.physical_from_ego(t))])


def _radius(boxes: Boxes) -> NDArray[np.float64]:
    """m around the centres that hold the boxes, [n]."""
    return np.hypot(boxes.size[:, 0], boxes.size[:, 1]) / 2


def _in_sector(
    offset: NDArray[np.float64], radius: NDArray[np.float64], bearing: float, half_width: float
) -> NDArray[np.bool_]:
    """Which discs at `offset` [n, 2] (m from the sensor) of `radius` [n] reach into a sector around a bearing (rad)."""
    distance, reach = np.hypot(offset[:, 0], offset[:, 1]), radius + MARGIN
    off_axis = np.abs((np.arctan2(offset[:, 1], offset[:, 0]) - bearing + np.pi) % (2 * np.pi) - np.pi)
    spread = np.arcsin(np.minimum(reach / np.maximum(distance, 1e-6), 1.0))
    near = distance <= reach
    return (distance - radius < REACH) & (near | (off_axis < half_width + spread))
