"""A nuScenes of one short scene with an analytic lidar: a slope, walls, a parked lorry, a car that moves, and a moving
thing without a box. Its truth is known exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calib.transforms import apply, inverse, se3_from_xyz_yaw
from genie.data.nuscenes import TABLES
from perception.types import CLASS_NAMES, DRIVEABLE, FREE, GRID

VERSION, SCENE = "v1.0-test", "scene-0001"
HZ, EVERY = 20, 10  # sweeps per second; every tenth is a keyframe
SPEED, SLOPE = 6.0, 0.03  # m/s of the ego along x; m/m of the road
START = np.array([80.0, 60.0])  # m, the ego at t = 0
LIDAR_AT = np.array([0.94, 0.0, 1.84])
ROAD = 7.0  # m, half width of the drivable surface around y = START[1]
CLASS = {name: index for index, name in enumerate(CLASS_NAMES)}
LIDARSEG = ("noise", "flat.driveable_surface", "flat.terrain", "static.manmade", "vehicle.car", "vehicle.truck")


@dataclass(frozen=True)
class Block:
    """A box that stands on the slope. category: "" where nobody annotated it. speed: m/s along x."""

    name: str
    point: tuple[float, float]  # at t = 0, x and y from START (m)
    size_lwh: tuple[float, float, float]
    class_name: str
    category: str = ""
    speed: float = 0.0
    yaw: float = 0.0

    @property
    def lidarseg(self) -> int:
        return LIDARSEG.index("static.manmade" if self.class_name == "manmade" else f"vehicle.{self.class_name}")


BLOCKS = (
    Block("wall", (20.0, 14.0), (60.0, 2.0, 6.0), "manmade"),
    Block("shed", (15.0, -13.0), (6.0, 5.0, 3.0), "manmade", yaw=0.5),
    Block("lorry", (16.0, 5.0), (8.0, 2.5, 3.0), "truck", "vehicle.truck", yaw=0.1),
    Block("car", (9.0, -4.0), (4.5, 1.9, 1.6), "car", "vehicle.car", speed=8.0),
    Block("ghost", (30.0, -6.0), (3.0, 2.0, 2.0), "car", speed=-9.0),
)


def ego_pose(t: float) -> np.ndarray:
    """world_from_ego as recorded: z is always 0."""
    return se3_from_xyz_yaw(np.array([START[0] + SPEED * t, START[1], 0.0]), 0.0)


def road_height(t: float) -> float:
    return SLOPE * SPEED * t


def block_pose(block: Block, t: float) -> np.ndarray:
    """world_from_block in the recorded frame of time t; the origin is its centre."""
    x, y = block.point[0] + block.speed * t, block.point[1]
    z = SLOPE * x - road_height(t) + block.size_lwh[2] / 2
    return se3_from_xyz_yaw(np.array([START[0] + x, START[1] + y, z]), block.yaw)


def scan(t: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, 5] float32 in the sensor frame (x right, y ahead) and what each hit: -1 ground, else the block."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(0, 360, 0.5)), np.radians(np.linspace(-30.67, 10.67, 32)), indexing="ij"
    )
    flat = np.cos(elevation)
    direction = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    origin = apply(ego_pose(t), LIDAR_AT)
    # Ground: z = SLOPE * (x - START.x) - road_height.
    rise = origin[2] - (SLOPE * (origin[0] - START[0]) - road_height(t))
    sinking = SLOPE * direction[:, 0] - direction[:, 2]
    distance = np.where(sinking > 1e-6, rise / np.maximum(sinking, 1e-6), np.inf)
    what = np.full(len(direction), -1)
    for number, block in enumerate(BLOCKS):
        block_from_world = inverse(block_pose(block, t))
        o = apply(block_from_world, origin)
        d = direction @ block_from_world[:3, :3].T + 1e-12  # never parallel to a face
        half = np.array(block.size_lwh) / 2
        near, far = np.sort(np.stack([(-half - o) / d, (half - o) / d]), axis=0)
        enter, leave = near.max(1), far.min(1)
        hit = (enter < leave) & (enter > 0) & (enter < distance)
        distance[hit], what[hit] = enter[hit], number
    distance = distance + rng.normal(0, 0.01, len(distance))
    kept = (distance < 70) & (rng.random(len(distance)) > 0.02)
    ego = LIDAR_AT + direction[kept] * distance[kept, None]
    sensor = (ego - LIDAR_AT)[:, [1, 0, 2]] * (-1.0, 1.0, 1.0)
    ring = np.tile(np.arange(32.0), 720)[kept]
    return np.column_stack([sensor, np.full(len(ring), 20.0), ring]).astype(np.float32), what[kept]


def truth(t: float) -> np.ndarray:
    """Occ3D semantics [200, 200, 16] in the ego frame of time t."""
    out = np.full(GRID.shape, FREE, np.uint8)
    centers = GRID.centers()
    world = apply(ego_pose(t), centers)
    height = SLOPE * (world[..., 0] - START[0]) - road_height(t)
    ground = np.abs(world[..., 2] - height) <= GRID.voxel_size / 2
    on_road = np.abs(world[..., 1] - START[1]) < ROAD
    out[ground] = np.where(on_road, DRIVEABLE, CLASS["terrain"])[ground]
    for block in BLOCKS:
        local = apply(inverse(block_pose(block, t)), world)
        out[(np.abs(local) <= np.array(block.size_lwh) / 2).all(-1)] = CLASS[block.class_name]
    return out


def write(root: Path, seconds: float = 2.0, *, lidarseg: bool = False) -> Path:
    """The data root: 13 tables, a map mask, sweeps at 20 Hz, and lidarseg of the keyframes where it is asked for."""
    rng = np.random.default_rng(0)
    frames = round(seconds * HZ) + 1
    rows: dict[str, list[dict]] = {name: [] for name in TABLES}
    for n in range(frames):
        points, what = scan(n / HZ, rng)
        file = root / _lidar_file(n)
        file.parent.mkdir(parents=True, exist_ok=True)
        points.tofile(file)
        if lidarseg and n % EVERY == 0:
            ground = np.where(np.abs(points[:, 0]) < ROAD, 1, 2)  # the ego drives along the middle
            labels = np.where(what >= 0, np.array([b.lidarseg for b in BLOCKS])[what], ground)
            (root / "lidarseg" / VERSION).mkdir(parents=True, exist_ok=True)
            labels.astype(np.uint8).tofile(root / "lidarseg" / VERSION / f"lidar-{n}_lidarseg.bin")
        _sample_data(rows, n, frames)
        if n % EVERY == 0:
            _sample(rows, n // EVERY, frames // EVERY)
    _scene_rows(rows)
    (root / VERSION).mkdir()
    for name, table in rows.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(table))
    mask = np.zeros((1400, 2500), np.uint8)  # 140 m x 250 m at 0.1 m; the first row is the highest y
    edges = 1400 - np.round((START[1] + np.array([ROAD, -ROAD])) * 10).astype(int)
    mask[edges[0] : edges[1]] = 255
    (root / "maps").mkdir()
    cv2.imwrite(str(root / "maps/map.png"), mask)
    return root


def keyframe_token(number: int) -> str:
    return f"sample-{number}"


def _stamp(n: int) -> int:
    return 1_600_000_000_000_000 + n * 1_000_000 // HZ


def _lidar_file(n: int) -> str:
    return f"{'sweeps' if n % EVERY else 'samples'}/LIDAR_TOP/{_stamp(n)}.pcd.bin"


def _chain(prefix: str, n: int, count: int) -> dict[str, str]:
    return {"prev": f"{prefix}{n - 1}" if n else "", "next": f"{prefix}{n + 1}" if n + 1 < count else ""}


def _sample_data(rows: dict[str, list[dict]], n: int, frames: int) -> None:
    pose = {"token": f"pose-{n}", "timestamp": _stamp(n), "rotation": [1.0, 0.0, 0.0, 0.0]}
    rows["ego_pose"].append(pose | {"translation": ego_pose(n / HZ)[:3, 3].tolist()})
    keyframe = min(-(-n // EVERY), frames // EVERY)
    shared = {"sample_token": keyframe_token(keyframe), "ego_pose_token": f"pose-{n}", "timestamp": _stamp(n)}
    rows["sample_data"].append(
        shared
        | {"token": f"lidar-{n}", "calibrated_sensor_token": "lidar", "is_key_frame": n % EVERY == 0}
        | {"filename": _lidar_file(n), "fileformat": "pcd", "width": 0, "height": 0}
        | _chain("lidar-", n, frames)
    )
    if n % EVERY == 0:
        rows["sample_data"].append(
            shared
            | {"token": f"camera-{n}", "calibrated_sensor_token": "camera", "is_key_frame": True}
            | {"filename": f"samples/CAM_FRONT/{n}.jpg", "fileformat": "jpg", "width": 1600, "height": 900}
            | {"prev": "", "next": ""}
        )


def _sample(rows: dict[str, list[dict]], k: int, last: int) -> None:
    stamp = {"timestamp": _stamp(k * EVERY), "scene_token": "scene"}
    rows["sample"].append({"token": keyframe_token(k)} | stamp | _chain("sample-", k, last + 1))
    for block in (b for b in BLOCKS if b.category):
        length, width, height = block.size_lwh
        rows["sample_annotation"].append(
            {"token": f"{block.name}-{k}", "sample_token": keyframe_token(k), "instance_token": block.name}
            | {"translation": block_pose(block, k * EVERY / HZ)[:3, 3].tolist(), "size": [width, length, height]}
            | {"rotation": [np.cos(block.yaw / 2), 0.0, 0.0, np.sin(block.yaw / 2)]}
            | {"visibility_token": "4", "attribute_tokens": [], "num_lidar_pts": 1, "num_radar_pts": 0}
            | _chain(f"{block.name}-", k, last + 1)
        )


def _scene_rows(rows: dict[str, list[dict]]) -> None:
    last = len(rows["sample"]) - 1
    rows["category"] = [{"token": n, "name": n, "description": "", "index": i} for i, n in enumerate(LIDARSEG)]
    rows["visibility"] = [{"token": "4", "level": "v80-100", "description": ""}]
    rows["instance"] = [
        {"token": b.name, "category_token": b.category, "nbr_annotations": last + 1}
        | {"first_annotation_token": f"{b.name}-0", "last_annotation_token": f"{b.name}-{last}"}
        for b in BLOCKS
        if b.category
    ]
    rows["sensor"] = [
        {"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
        {"token": "camera", "channel": "CAM_FRONT", "modality": "camera"},
    ]
    half = float(np.sqrt(0.5))
    intrinsic = [[1266.0, 0.0, 800.0], [0.0, 1266.0, 450.0], [0.0, 0.0, 1.0]]
    rows["calibrated_sensor"] = [
        # The lidar is turned by -90 degrees about z; the camera looks ahead.
        {"token": "lidar", "sensor_token": "lidar", "translation": LIDAR_AT.tolist()}
        | {"rotation": [half, 0.0, 0.0, -half], "camera_intrinsic": []},
        {"token": "camera", "sensor_token": "camera", "translation": [1.7, 0.0, 1.5]}
        | {"rotation": [0.5, -0.5, 0.5, -0.5], "camera_intrinsic": intrinsic},
    ]
    rows["log"] = [{"token": "log", "logfile": "test", "vehicle": "", "date_captured": "", "location": "test"}]
    ends = {"first_sample_token": keyframe_token(0), "last_sample_token": keyframe_token(last)}
    rows["scene"] = [
        {"token": "scene", "log_token": "log", "nbr_samples": last + 1, "name": SCENE, "description": ""} | ends
    ]
    rows["map"] = [{"token": "map", "category": "semantic_prior", "filename": "maps/map.png", "log_tokens": ["log"]}]
