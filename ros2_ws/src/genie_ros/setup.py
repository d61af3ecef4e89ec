"""ament_python package; built by colcon."""

from glob import glob

from setuptools import find_packages, setup

package_name = "genie_ros"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/config", sorted(glob("config/*"))),
        (f"share/{package_name}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{package_name}/rviz", sorted(glob("rviz/*.rviz"))),
        (f"share/{package_name}/foxglove", sorted(glob("foxglove/*.json"))),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # what makes `colcon test` run pytest
    zip_safe=True,
    maintainer="GenieDrive maintainers",
    maintainer_email="maintainer@example.com",
    description="GenieDrive on a ROS 2 graph: the lifecycle node that forecasts, and the replay of recorded scenes.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "forecast_node = genie_ros.forecast_node:main",
            "perception_node = genie_ros.perception_node:main",
            "replay = genie_ros.replay:main",
            "recorder = genie_ros.recorder:main",
            "top = genie_ros.top:main",
        ],
    },
)
