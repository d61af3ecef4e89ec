"""The instances of a world as triangles: each body scaled into its box, all at one instant."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from genie.data.synth import people, vehicles
from genie.data.synth.categories import CATEGORIES
from genie.data.synth.solids import Template
from genie.data.synth.tracer import Mesh, join, surface
from genie.data.synth.world import Boxes

STRIDE = 1.5  # m that a person covers in one gait cycle
_NAMES = tuple(c.name for c in CATEGORIES)


def styles(instance: NDArray[np.int64]) -> NDArray[np.uint16]:
    """A seed per instance, well mixed: neighbours differ."""
    mixed = (instance.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(48)).astype(np.uint16)


@cache
def _template(name: str) -> Template:
    return {
        "saloon": vehicles.saloon,
        "hatchback": vehicles.hatchback,
        "suv": vehicles.sport_utility,
        "van": vehicles.van,
        "ego": vehicles.ego_car,
        "truck": vehicles.truck,
        "bus": vehicles.bus,
        "trailer": vehicles.trailer,
        "excavator": vehicles.excavator,
        "motorcycle": lambda: people.motorcycle(ridden=False),
        "motorcyclist": lambda: people.motorcycle(ridden=True),
        "bicycle": lambda: people.bicycle(ridden=False),
        "cyclist": lambda: people.bicycle(ridden=True),
        "barrier": people.barrier,
        "cone": people.cone,
        **{f"walker{p}": lambda p=p: people.walker(p) for p in range(people.STRIDES)},  # type: ignore[misc]
        **{f"worker{p}": lambda p=p: people.walker(p, vest=True) for p in range(people.STRIDES)},  # type: ignore[misc]
    }[name]()


def _body_of(boxes: Boxes, styles: NDArray[np.uint16]) -> list[str]:
    """The template of each instance. Cycles in traffic are ridden, those that stand parked are not."""
    speed = np.hypot(boxes.velocity[:, 0], boxes.velocity[:, 1])
    # The pose follows the place, so that equal times give equal poses and standing people stand still.
    along = (boxes.centre[:, :2] * np.stack([np.cos(boxes.yaw), np.sin(boxes.yaw)], 1)).sum(1)
    pose = np.where(speed > 0.2, np.floor(along / STRIDE * people.STRIDES).astype(int) % people.STRIDES, 0)
    out = []
    for kind, height, style, rides, p in zip(boxes.kind, boxes.size[:, 2], styles, ~boxes.parked, pose, strict=True):
        name = _NAMES[kind]
        if name == "vehicle.car":
            low = ("saloon", "saloon", "hatchback", "suv")[style % 4]
            out.append("van" if height > 1.95 else "suv" if height > 1.75 else low)
        elif name == "vehicle.motorcycle":
            out.append("motorcyclist" if rides else "motorcycle")
        elif name == "vehicle.bicycle":
            out.append("cyclist" if rides else "bicycle")
        elif name.startswith("vehicle.bus"):
            out.append("bus")
        elif name == "human.pedestrian.construction_worker":
            out.append(f"worker{p}")
        elif name.startswith("human"):
            out.append(f"walker{p}")
        else:
            out.append(
                {
                    "vehicle.truck": "truck",
                    "vehicle.trailer": "trailer",
                    "vehicle.construction": "excavator",
                    "movable_object.barrier": "barrier",
                    "movable_object.trafficcone": "cone",
                }[name]
            )
    return out


def bodies(boxes: Boxes, lift: float) -> Mesh:
    """Meshes of the boxes [n]. lift: m from the boxes' frame up to that of the mesh, `World.datum` of that instant."""
    style = styles(boxes.instance)
    names = _body_of(boxes, style)
    parts = []
    order = sorted(range(len(names)), key=lambda i: names[i])
    for name, group in groupby(order, key=lambda i: names[i]):
        chosen = np.array(list(group))
        template = _template(name)
        width, length, h = boxes.size[chosen].T[:, :, None]
        x, y, z = (template.vertices[:, k] * side for k, side in enumerate((length, width, h)))  # each [k, v]
        cos, sin = np.cos(boxes.yaw[chosen])[:, None], np.sin(boxes.yaw[chosen])[:, None]
        centre = boxes.centre[chosen][:, None]
        vertices = np.stack(
            [
                cos * x - sin * y + centre[..., 0],
                sin * x + cos * y + centre[..., 1],
                z - h / 2 + centre[..., 2] + lift,
            ],
            -1,
        )
        count, size = vertices.shape[:2]
        # Normals scale inversely.
        nx, ny, nz = (template.corner[..., k] / side[..., None] for k, side in enumerate((length, width, h)))
        c, s = cos[..., None], sin[..., None]
        corner = np.stack([c * nx - s * ny, s * nx + c * ny, nz], -1)
        faces = template.faces[None] + (np.arange(count) * size)[:, None, None]
        per_face = len(template.faces)
        parts.append(
            Mesh(
                vertices.reshape(-1, 3).astype(np.float32),
                faces.reshape(-1, 3).astype(np.int32),
                np.tile(template.material, count),
                np.repeat(boxes.instance[chosen].astype(np.int32), per_face),
                np.repeat(style[chosen], per_face),
                np.zeros(count * per_face, np.float32),
                corner.reshape(-1, 3, 3).astype(np.float32),
            )
        )
    return join(parts)


def ego_body(physical_from_ego: NDArray[np.float64]) -> Mesh:
    """The vehicle that carries the rig; its frame is at the rear axle, on the ground."""
    template = _template("ego")
    local = template.vertices.astype(np.float64) * [4.08, 1.738, 1.50] + [1.38, 0.0, 0.0]
    vertices = local @ physical_from_ego[:3, :3].T + physical_from_ego[:3, 3]
    return surface(vertices, template.faces, "ego")._replace(material=template.material)
