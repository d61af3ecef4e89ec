"""Points and images of real messages, and what is refused."""

import cv2
import numpy as np
import pytest
from genie_ros.sensor_conversions import image_from_message, points_from_message
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField

from calib.errors import InputError

KIND = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("_", "<u4"), ("intensity", "<f4"), ("ring", "<u2"), ("unused", "<u2")]
)


def cloud(count=5, **changes):
    rows = np.zeros(count, KIND)
    rows["x"], rows["y"], rows["z"], rows["intensity"] = np.arange(4 * count, dtype=np.float32).reshape(4, count)
    fields = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 16, 7), ("ring", 20, 4)]
    message = PointCloud2(
        height=1, width=count, point_step=KIND.itemsize, row_step=KIND.itemsize * count, is_bigendian=False,
        fields=[PointField(name=n, offset=o, datatype=d, count=1) for n, o, d in fields],
    )  # fmt: skip
    message.data = rows.tobytes()
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_points_are_taken_by_name_whatever_lies_between():
    np.testing.assert_array_equal(points_from_message(cloud()), np.arange(20, dtype=np.float32).reshape(4, 5).T)
    assert points_from_message(cloud(0)).shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"is_bigendian": True}, "big-endian"),
        ({"width": 6}, "for 6 points"),
        ({"row_step": 999}, "without padding"),
        ({"fields": [PointField(name="x", offset=0, datatype=PointField.FLOAT64, count=1)]}, "without x, y, z, inten"),
    ],
)
def test_points_of_another_layout_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        points_from_message(cloud(**changes))


def test_images_are_decoded_and_what_is_none_is_refused():
    image = np.random.default_rng(0).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    message = CompressedImage(format="png")
    message.data = cv2.imencode(".png", image)[1].tobytes()
    np.testing.assert_array_equal(image_from_message(message), image)
    for data in (b"", b"not a picture"):
        message.data = data
        with pytest.raises(InputError, match="cannot be decoded"):
            image_from_message(message)
