"""Rows of sample_annotation and instance.

Every box near enough is a row, so that tables and labels tell of the same objects. With sensors, what they do not meet
has num_lidar_pts 0 and the lowest visibility; nuScenes leaves most of those out.
"""

from __future__ import annotations

import numpy as np

from calib.transforms import quaternion_from_yaw
from genie.data.synth.categories import CATEGORIES
from genie.data.synth.evidence import Evidence, annotated
from genie.data.synth.names import SceneNames, token
from genie.data.synth.samples import KEYFRAME_US, Row
from genie.data.synth.world import World

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


def annotation_rows(world: World, names: SceneNames, evidence: list[Evidence]) -> dict[str, list[Row]]:
    """Tables sample_annotation and instance. `evidence` is that of each keyframe's annotated boxes."""
    annotations: list[Row] = []
    chains: dict[int, list[Row]] = {}
    for k, seen in enumerate(evidence):
        t = k * KEYFRAME_US * 1e-6
        boxes = annotated(world.boxes(t), world.ego(t))
        speed = np.linalg.norm(boxes.velocity, axis=1)
        for b in range(len(boxes)):
            instance, kind = int(boxes.instance[b]), CATEGORIES[boxes.kind[b]].name
            attribute = attribute_of(kind, float(speed[b]), bool(boxes.parked[b]))
            row: Row = {
                "token": names.token("sample_annotation", instance, k),
                "sample_token": names.sample_token(k),
                "instance_token": names.token("instance", instance),
                "visibility_token": str(1 + int(np.searchsorted([0.4, 0.6, 0.8], seen.visible[b]))),
                "attribute_tokens": [token(names.seed, "attribute", attribute)] if attribute else [],
                "translation": [float(v) for v in boxes.centre[b]],
                "size": [float(v) for v in boxes.size[b]],
                "rotation": quaternion_from_yaw(float(boxes.yaw[b])),
                "prev": "", "next": "",
                "num_lidar_pts": int(seen.points[b]), "num_radar_pts": 0,
            }  # fmt: skip
            chain = chains.setdefault(instance, [])
            if chain:
                row["prev"], chain[-1]["next"] = chain[-1]["token"], row["token"]
            chain.append(row)
            annotations.append(row)
    instances = [_instance_row(world, names, instance, chains[instance]) for instance in sorted(chains)]
    return {"sample_annotation": annotations, "instance": instances}


def _instance_row(world: World, names: SceneNames, instance: int, chain: list[Row]) -> Row:
    return {
        "token": names.token("instance", instance),
        "category_token": token(names.seed, "category", CATEGORIES[world.kind[instance]].name),
        "nbr_annotations": len(chain),
        "first_annotation_token": chain[0]["token"],
        "last_annotation_token": chain[-1]["token"],
    }


def attribute_of(kind: str, speed: float, parked: bool) -> str | None:
    """Of a category's object at `speed` (m/s); cones and barriers have none."""
    if kind.startswith("human"):
        return "pedestrian.moving" if speed > 0.3 else "pedestrian.standing"
    if kind in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.without_rider" if parked else "cycle.with_rider"
    if kind.startswith("vehicle"):
        return "vehicle.parked" if parked else ("vehicle.moving" if speed > 0.3 else "vehicle.stopped")
    return None
