"""The 13 nuScenes tables of one synthetic scene, as rows. Tokens are hashes of the seed and of names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.transforms import quaternion_from_yaw
from genie.data.synth.categories import CATEGORIES
from genie.data.synth.config import KEYFRAME_EVERY, STREAM_HZ, SynthConfig
from genie.data.synth.sensors import LIDAR, RIG
from genie.data.synth.world import Boxes, EgoPose, World, in_ego

VERSION = "v1.0-synth"
SCENE_TABLES = ("log", "map", "scene", "sample", "sample_data", "ego_pose", "instance", "sample_annotation")
ANNOTATED_WITHIN = 50.0  # m along x and y of the ego frame: everything that can reach into the labels, and some more
ATTRIBUTES = {
    "vehicle.moving": "The vehicle moves.",
    "vehicle.stopped": "The vehicle stands with a driver in it, and means to move.",
    "vehicle.parked": "The vehicle stands and has no intention to move.",
    "cycle.with_rider": "Somebody rides the bicycle or motorcycle.",
    "cycle.without_rider": "Nobody is on the bicycle or motorcycle.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
Row = dict[str, Any]


@dataclass(frozen=True)
class SceneNames:
    """Names, tokens and stamps of scene `index` (from 0). They depend on nothing but the seed and the index."""

    seed: int
    index: int

    @property
    def name(self) -> str:
        return f"scene-{self.index + 1:04d}"

    @property
    def logfile(self) -> str:
        return f"synth-{self.seed}-{self.index + 1:04d}"

    @property
    def start_us(self) -> int:
        return 1_600_000_000_000_000 + self.index * 3_600_000_000

    def stamp_us(self, frame: int) -> int:
        """Of a stream frame."""
        return self.start_us + frame * (1_000_000 // STREAM_HZ)

    def token(self, table: str, *names: object) -> str:
        return token(self.seed, table, self.name, *names)

    def sample_token(self, keyframe: int) -> str:
        return self.token("sample", keyframe)

    @property
    def map_file(self) -> str:
        return f"maps/{self.token('map')}.png"


def token(seed: int, *names: object) -> str:
    """32 hex digits, as nuScenes has them."""
    return hashlib.md5("/".join(["geniedrive-synth", str(seed), *map(str, names)]).encode()).hexdigest()


def common_tables(config: SynthConfig) -> dict[str, list[Row]]:
    """What all scenes share: sensor, calibrated_sensor, category, attribute, visibility."""
    seed = config.seed
    return {
        "sensor": [
            {"token": token(seed, "sensor", m.channel), "channel": m.channel, "modality": m.modality} for m in RIG
        ],
        "calibrated_sensor": [
            {
                "token": token(seed, "calibrated_sensor", m.channel),
                "sensor_token": token(seed, "sensor", m.channel),
                "translation": list(m.translation),
                "rotation": list(m.rotation),
                "camera_intrinsic": m.intrinsic,
            }
            for m in RIG
        ],
        "category": [
            {"token": token(seed, "category", c.name), "name": c.name, "description": f"Synthetic {c.name}."}
            for c in CATEGORIES
        ],
        "attribute": [
            {"token": token(seed, "attribute", name), "name": name, "description": text}
            for name, text in ATTRIBUTES.items()
        ],
        "visibility": [
            {"token": key, "level": level, "description": f"visibility of the whole object is in {level[1:]} %"}
            for key, level in VISIBILITY.items()
        ],
    }


def scene_tables(world: World, config: SynthConfig, names: SceneNames) -> dict[str, list[Row]]:
    """The rows that this scene adds to the other tables."""
    rows: dict[str, list[Row]] = {name: [] for name in SCENE_TABLES}
    rows["log"] = [
        {
            "token": names.token("log"), "logfile": names.logfile, "vehicle": "synth",
            "date_captured": "2020-09-13", "location": f"synth-{names.name}",
        }
    ]  # fmt: skip
    rows["map"] = [
        {
            "token": names.token("map"), "category": "semantic_prior", "filename": names.map_file,
            "log_tokens": [names.token("log")],
        }
    ]  # fmt: skip
    rows["scene"] = [
        {
            "token": names.token("scene"), "log_token": names.token("log"), "nbr_samples": config.keyframes,
            "first_sample_token": names.sample_token(0), "last_sample_token": names.sample_token(config.keyframes - 1),
            "name": names.name, "description": _describe(world),
        }
    ]  # fmt: skip
    for k in range(config.keyframes):
        _keyframe_rows(rows, world.ego(_time(k)), names, k, config.keyframes)
    _annotations(rows, world, config, names)
    return rows


def _time(keyframe: int) -> float:
    return keyframe * KEYFRAME_EVERY / STREAM_HZ


def _describe(world: World) -> str:
    speed = [
        float(np.linalg.norm(world.ego(t + 0.5).xyz - world.ego(t).xyz)) * 2 for t in np.arange(0, world.duration, 0.5)
    ]
    turned = np.degrees(world.ego(world.duration).yaw - world.ego(0.0).yaw)
    side = "right" if world.town.hand > 0 else "left"
    return (
        f"Synthetic town, traffic keeps {side}, ego at {min(speed):.0f}-{max(speed):.0f} m/s, turns by {turned:.0f} deg"
    )


def _keyframe_rows(rows: dict[str, list[Row]], ego: EgoPose, names: SceneNames, k: int, count: int) -> None:
    stamp = names.stamp_us(k * KEYFRAME_EVERY)

    def link(table: str, at: int, *more: object) -> str:
        return names.token(table, at, *more) if 0 <= at < count else ""

    rows["sample"].append(
        {
            "token": names.sample_token(k), "timestamp": stamp, "prev": link("sample", k - 1),
            "next": link("sample", k + 1), "scene_token": names.token("scene"),
        }
    )  # fmt: skip
    rows["ego_pose"].append(
        {
            "token": names.token("ego_pose", k), "timestamp": stamp, "rotation": quaternion_from_yaw(ego.yaw),
            "translation": [float(v) for v in ego.xyz],
        }
    )  # fmt: skip
    rows["sample_data"].append(
        {
            "token": names.token("sample_data", k, LIDAR), "sample_token": names.sample_token(k),
            "ego_pose_token": names.token("ego_pose", k),
            "calibrated_sensor_token": token(names.seed, "calibrated_sensor", LIDAR),
            "timestamp": stamp, "fileformat": "pcd", "is_key_frame": True, "height": 0, "width": 0,
            "filename": f"samples/{LIDAR}/{names.logfile}__{LIDAR}__{stamp}.pcd.bin",
            "prev": link("sample_data", k - 1, LIDAR), "next": link("sample_data", k + 1, LIDAR),
        }
    )  # fmt: skip


def _annotations(rows: dict[str, list[Row]], world: World, config: SynthConfig, names: SceneNames) -> None:
    chains: dict[int, list[Row]] = {}
    for k in range(config.keyframes):
        ego = world.ego(_time(k))
        boxes = annotated(world.boxes(_time(k)), ego)
        seen = visible_share(boxes, ego)
        points = _lidar_points(boxes, ego, seen)
        speed = np.linalg.norm(boxes.velocity, axis=1)
        for b in range(len(boxes)):
            instance, kind = int(boxes.instance[b]), CATEGORIES[boxes.kind[b]].name
            attribute = _attribute(kind, float(speed[b]), bool(boxes.parked[b]))
            row: Row = {
                "token": names.token("sample_annotation", instance, k),
                "sample_token": names.sample_token(k),
                "instance_token": names.token("instance", instance),
                "visibility_token": str(1 + int(np.searchsorted([0.4, 0.6, 0.8], seen[b]))),
                "attribute_tokens": [token(names.seed, "attribute", attribute)] if attribute else [],
                "translation": [float(v) for v in boxes.centre[b]],
                "size": [float(v) for v in boxes.size[b]],
                "rotation": quaternion_from_yaw(float(boxes.yaw[b])),
                "prev": "", "next": "",
                "num_lidar_pts": int(points[b]), "num_radar_pts": 0,
            }  # fmt: skip
            chain = chains.setdefault(instance, [])
            if chain:
                row["prev"], chain[-1]["next"] = chain[-1]["token"], row["token"]
            chain.append(row)
            rows["sample_annotation"].append(row)
    for instance in sorted(chains):
        chain = chains[instance]
        rows["instance"].append(
            {
                "token": names.token("instance", instance),
                "category_token": token(names.seed, "category", CATEGORIES[world.kind[instance]].name),
                "nbr_annotations": len(chain),
                "first_annotation_token": chain[0]["token"], "last_annotation_token": chain[-1]["token"],
            }
        )  # fmt: skip


def annotated(boxes: Boxes, ego: EgoPose) -> Boxes:
    """Those near enough to be annotated."""
    return boxes.select((np.abs(in_ego(boxes, ego)[:, :2]) < ANNOTATED_WITHIN).all(1))


def visible_share(boxes: Boxes, ego: EgoPose, bins: int = 720) -> NDArray[np.float64]:
    """Share of each box's width in azimuth that no nearer box of similar height hides, [n] in 0..1."""
    relative = boxes.centre[:, :2] - ego.xyz[:2]
    distance = np.maximum(np.linalg.norm(relative, axis=1), 1.0)
    azimuth = np.arctan2(relative[:, 1], relative[:, 0])
    spread = np.hypot(boxes.size[:, 0], boxes.size[:, 1]) / 2 * 0.8
    half = np.arctan2(spread, distance)
    hidden_below = np.zeros(bins)  # height of the tallest nearer box in that direction
    share = np.ones(len(boxes))
    for b in np.argsort(distance, kind="stable"):
        low, high = (azimuth[b] - half[b]) / (2 * np.pi) * bins, (azimuth[b] + half[b]) / (2 * np.pi) * bins
        cells = np.arange(int(np.floor(low)), int(np.floor(high)) + 1) % bins
        height = boxes.size[b, 2]
        share[b] = float((hidden_below[cells] < 0.8 * height).mean())
        hidden_below[cells] = np.maximum(hidden_below[cells], height)
    return share


def _lidar_points(boxes: Boxes, ego: EgoPose, seen: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns that a 32-beam lidar (0.33 x 1.33 deg) would have; at least one, as what has none is not annotated."""
    distance = np.maximum(np.linalg.norm(boxes.centre[:, :2] - ego.xyz[:2], axis=1), 2.0)
    wide = np.degrees((boxes.size[:, 0] + boxes.size[:, 1]) / 2 / distance) / 0.33
    high = np.maximum(1.0, np.degrees(boxes.size[:, 2] / distance) / 1.33)
    return np.maximum(1, np.round(wide * high * seen)).astype(np.int64)


def _attribute(kind: str, speed: float, parked: bool) -> str | None:
    if kind.startswith("human"):
        return "pedestrian.moving" if speed > 0.3 else "pedestrian.standing"
    if kind in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.without_rider" if parked else "cycle.with_rider"
    if kind.startswith("vehicle"):
        return "vehicle.parked" if parked else ("vehicle.moving" if speed > 0.3 else "vehicle.stopped")
    return None
