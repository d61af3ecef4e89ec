"""Starts the forecast node and takes it to `active`.

ros2 launch genie_ros geniedrive.launch.py bundle:=/path/to/bundle occupancy:=/perception/occupancy
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, SetEnvironmentVariable
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

ARGUMENTS = {
    "bundle": (None, "Folder of the exported model."),
    "params": (None, "Parameter file; the one of this package if not given."),
    "stamp_clock": ("ros", "'ros', or 'data' for a replay with its true stamps and no /clock."),
    "occupancy": ("/perception/occupancy", "Topic of the SemanticOccupancy input."),
    "odometry": ("/localization/odometry", "Topic of the Odometry input."),
    "forecast": ("/prediction/occupancy_forecast", "Topic of the OccupancyForecast output."),
    "ego_trajectory": ("/prediction/ego_trajectory", "Topic of the EgoTrajectory output."),
}


def generate_launch_description() -> LaunchDescription:
    config = Path(get_package_share_directory("genie_ros")) / "config"
    node = LifecycleNode(
        package="genie_ros",
        executable="forecast_node",
        name="geniedrive",
        namespace="",
        output="screen",
        parameters=[
            LaunchConfiguration("params"),
            {"bundle_path": LaunchConfiguration("bundle"), "stamp_clock": LaunchConfiguration("stamp_clock")},
        ],
        remappings=[
            ("~/input/occupancy", LaunchConfiguration("occupancy")),
            ("~/input/odometry", LaunchConfiguration("odometry")),
            ("~/output/forecast", LaunchConfiguration("forecast")),
            ("~/output/ego_trajectory", LaunchConfiguration("ego_trajectory")),
        ],
    )
    activate_when_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[
                EmitEvent(
                    event=ChangeState(
                        lifecycle_node_matcher=matches_action(node), transition_id=Transition.TRANSITION_ACTIVATE
                    )
                )
            ],
        )
    )
    configure = EmitEvent(
        event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=Transition.TRANSITION_CONFIGURE)
    )
    defaults = {"params": str(config / "geniedrive.param.yaml")}
    declared = [
        DeclareLaunchArgument(name, description=text, default_value=defaults.get(name, default))
        for name, (default, text) in ARGUMENTS.items()
    ]
    profile = SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(config / "fastdds.xml"))
    return LaunchDescription([*declared, profile, activate_when_configured, node, configure])
