"""Starts the forecast node and takes it to `active`.

ros2 launch genie_ros genie.launch.py bundle:=/path/to/bundle occupancy:=/perception/occupancy
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

CONFIG = Path(get_package_share_directory("genie_ros")) / "config"
# Name: default (None: must be given), what it is.
ARGUMENTS = {
    "bundle": (None, "Folder of the exported model."),
    "namespace": ("", "Namespace of the node."),
    "params_file": (str(CONFIG / "geniedrive.param.yaml"), "Parameter file."),
    "use_sim_time": ("false", "Whether time is /clock."),
    "stamp_clock": ("ros", "'ros', or 'data' for a replay with its true stamps and no /clock."),
    "autostart": ("true", "Whether to configure and activate the node; else a manager does."),
    "rig": ("", "Rig file of this car; must be the bundle's."),
    "golden": ("", "Recorded ticks that the engine must reproduce before it serves."),
}
# Private topic: default of the launch argument that it is remapped to, which is named as its last part.
REMAPS = {
    "~/input/occupancy": "/perception/occupancy",
    "~/input/odometry": "/localization/odometry",
    "~/input/command": "/navigation/command",
    "~/output/forecast": "/prediction/occupancy_forecast",
    "~/output/ego_trajectory": "/prediction/ego_trajectory",
}


def argument_of(topic: str) -> str:
    """Name of the launch argument of a topic."""
    return topic.rpartition("/")[2]


def generate_launch_description() -> LaunchDescription:
    node = LifecycleNode(
        package="genie_ros",
        executable="forecast_node",
        name="geniedrive",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "bundle_path": LaunchConfiguration("bundle"),
                "rig_path": LaunchConfiguration("rig"),
                "golden_path": LaunchConfiguration("golden"),
                "stamp_clock": LaunchConfiguration("stamp_clock"),
                "use_sim_time": LaunchConfiguration("use_sim_time"),
            },
        ],
        remappings=[(topic, LaunchConfiguration(argument_of(topic))) for topic in REMAPS],
    )
    autostart = IfCondition(LaunchConfiguration("autostart"))
    activate_when_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[_change(node, Transition.TRANSITION_ACTIVATE)],
        ),
        condition=autostart,
    )
    configure = _change(node, Transition.TRANSITION_CONFIGURE, condition=autostart)
    declared = [
        DeclareLaunchArgument(name, description=text, default_value=default)
        for name, (default, text) in ARGUMENTS.items()
    ]
    declared += [
        DeclareLaunchArgument(argument_of(topic), description=f"Topic of {topic}.", default_value=default)
        for topic, default in REMAPS.items()
    ]
    profile = SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(CONFIG / "fastdds.xml"))
    # numpy's own threads would wait for those of the inference.
    one_thread = SetEnvironmentVariable("OPENBLAS_NUM_THREADS", "1")
    return LaunchDescription([*declared, profile, one_thread, activate_when_configured, node, configure])


def _change(node: LifecycleNode, transition: int, **kwargs: object) -> EmitEvent:
    event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    return EmitEvent(event=event, **kwargs)
