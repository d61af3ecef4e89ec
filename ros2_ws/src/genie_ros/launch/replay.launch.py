"""Plays a bag to a forecast node on /clock, and shows it.

ros2 launch genie_ros replay.launch.py bundle:=/path/to/bundle bag:=/path/to/bag [rviz:=true]
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("genie_ros"))
# Name: default (None: must be given), what it is.
ARGUMENTS = {
    "bundle": (None, "Folder of the exported model."),
    "bag": (None, "Folder of the bag, e.g. one that `geniedrive bag` wrote."),
    "rate": ("1.0", "Seconds of the recording in a second."),
    "namespace": ("", "Namespace of the node."),
    "params_file": (str(SHARE / "config/geniedrive.param.yaml"), "Parameter file."),
    "rviz": ("false", "Whether to open RViz."),
}


def generate_launch_description() -> LaunchDescription:
    # The inputs keep their private names: that is where replay publishes.
    private = {topic: f"/geniedrive/{kind}/{topic}" for kind, topic in (("input", "occupancy"), ("input", "odometry"))}
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch/genie.launch.py")),
        launch_arguments={
            "bundle": LaunchConfiguration("bundle"),
            "namespace": LaunchConfiguration("namespace"),
            "params_file": LaunchConfiguration("params_file"),
            "use_sim_time": "true",
            "forecast": "/geniedrive/output/forecast",
            "ego_trajectory": "/geniedrive/output/ego_trajectory",
            **private,
        }.items(),
    )
    replay = Node(
        package="genie_ros",
        executable="replay",
        output="screen",
        arguments=["--bag", LaunchConfiguration("bag"), "--rate", LaunchConfiguration("rate"), "--clock"],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz/genie.rviz")],
        parameters=[{"use_sim_time": True}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    declared = [
        DeclareLaunchArgument(name, description=text, default_value=default)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node, replay, rviz])
