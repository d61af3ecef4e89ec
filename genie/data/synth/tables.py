"""The nuScenes tables as rows: what all scenes share, and what one scene adds."""

from __future__ import annotations

import numpy as np

from genie.data.synth.annotations import ATTRIBUTES, VISIBILITY, annotation_rows
from genie.data.synth.config import SynthConfig
from genie.data.synth.evidence import Evidence
from genie.data.synth.lidarseg import TASKS, category_rows, label_rows
from genie.data.synth.names import SceneNames, token
from genie.data.synth.samples import Row, Shot, data_rows, image_size, pose_rows, sample_rows
from genie.data.synth.sensors import IMAGE_SIZE, RIG, Mount
from genie.data.synth.world import World


def common_tables(config: SynthConfig) -> dict[str, list[Row]]:
    """What all scenes share: sensor, calibrated_sensor, category, attribute, visibility."""
    seed = config.seed
    return {
        "sensor": [
            {"token": token(seed, "sensor", m.channel), "channel": m.channel, "modality": m.modality} for m in RIG
        ],
        "calibrated_sensor": [_calibration(seed, m, config.image_scale) for m in RIG],
        "category": category_rows(seed),
        "attribute": [
            {"token": token(seed, "attribute", name), "name": name, "description": text}
            for name, text in ATTRIBUTES.items()
        ],
        "visibility": [
            {"token": key, "level": level, "description": f"visibility of the whole object is in {level[1:]} %"}
            for key, level in VISIBILITY.items()
        ],
    }


def _calibration(seed: int, mount: Mount, image_scale: float) -> Row:
    rotation = np.array(mount.rotation) / np.linalg.norm(mount.rotation)
    return {
        "token": token(seed, "calibrated_sensor", mount.channel),
        "sensor_token": token(seed, "sensor", mount.channel),
        "translation": list(mount.translation),
        "rotation": [float(v) for v in rotation],
        "camera_intrinsic": scaled_intrinsic(mount, image_scale),
    }


def scaled_intrinsic(mount: Mount, scale: float) -> list[list[float]]:
    """Of images of that scale, empty for the lidar. Pixel centres have whole coordinates: the corner of the image, at
    -0.5, stays where it is."""
    if not mount.intrinsic:
        return []
    ratio = np.append(np.array(image_size(scale)) / IMAGE_SIZE, 1.0)[:, None]
    shift = np.zeros((3, 3))
    shift[:2, 2] = 0.5
    scaled: list[list[float]] = ((np.array(mount.intrinsic) + shift) * ratio - shift).tolist()
    return scaled


def scene_tables(
    world: World, config: SynthConfig, names: SceneNames, shots: list[Shot], evidence: list[Evidence]
) -> dict[str, list[Row]]:
    """The rows that this scene adds to the other tables. `evidence` is that of each keyframe's annotated boxes."""
    tables: dict[str, list[Row]] = {
        "log": [
            {
                "token": names.token("log"), "logfile": names.logfile, "vehicle": "synth",
                "date_captured": "2020-09-13", "location": f"synth-{names.name}",
            }
        ],
        "map": [
            {
                "token": names.token("map"), "category": "semantic_prior", "filename": names.map_file,
                "log_tokens": [names.token("log")],
            }
        ],
        "scene": [
            {
                "token": names.token("scene"), "log_token": names.token("log"), "nbr_samples": config.keyframes,
                "first_sample_token": names.sample_token(0),
                "last_sample_token": names.sample_token(config.keyframes - 1),
                "name": names.name, "description": _describe(world),
            }
        ],
        "sample": sample_rows(names, config.keyframes),
        "sample_data": data_rows(shots, config, names),
        "ego_pose": pose_rows(shots, world, names),
        **annotation_rows(world, names, evidence),
    }  # fmt: skip
    if config.lidar:
        tables |= {task: label_rows(task, shots, names) for task in TASKS}
    return tables


def _describe(world: World) -> str:
    speed = [
        float(np.linalg.norm(world.ego(t + 0.5).xyz - world.ego(t).xyz)) * 2 for t in np.arange(0, world.duration, 0.5)
    ]
    turned = np.degrees(world.ego(world.duration).yaw - world.ego(0.0).yaw)
    side = "right" if world.town.hand > 0 else "left"
    return (
        f"Synthetic town, traffic keeps {side}, ego at {min(speed):.0f}-{max(speed):.0f} m/s, turns by {turned:.0f} deg"
    )
