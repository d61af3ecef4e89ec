"""Starts the perception node and takes it to `active`. The forecast node: genie.launch.py, as ever.

ros2 launch genie_ros perception.launch.py perception:=/path/to/export rig:=/path/to/rig.yaml pointcloud:=/top/points
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

CONFIG = Path(get_package_share_directory("genie_ros")) / "config"
# Name: default (None: must be given), what it is.
ARGUMENTS = {
    "perception": (None, "Folder of the exported perception network."),
    "rig": (None, "Rig file of this car."),
    "namespace": ("", "Namespace of the node."),
    "use_sim_time": ("false", "Whether time is /clock."),
    "stamp_clock": ("ros", "'ros', or 'data' for a replay with its true stamps and no /clock."),
}
# Private topic: default of the launch argument that it is remapped to, which is named as its last part.
REMAPS = {
    **{f"~/input/image{i}": f"/camera{i}/image/compressed" for i in range(6)},
    "~/input/pointcloud": "/lidar/points",
    "~/input/odometry": "/localization/odometry",
    "~/input/expected": "/geniedrive/output/next_step",
    "~/output/occupancy": "/perception/occupancy",
}


def argument_of(topic: str) -> str:
    """Name of the launch argument of a topic."""
    return topic.rpartition("/")[2]


def generate_launch_description() -> LaunchDescription:
    node = LifecycleNode(
        package="genie_ros",
        executable="perception_node",
        name="geniedrive_perception",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            {
                "perception_path": LaunchConfiguration("perception"),
                "rig_path": LaunchConfiguration("rig"),
                "stamp_clock": LaunchConfiguration("stamp_clock"),
                "use_sim_time": LaunchConfiguration("use_sim_time"),
            },
        ],
        remappings=[(topic, LaunchConfiguration(argument_of(topic))) for topic in REMAPS],
    )
    activate_when_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[_change(node, Transition.TRANSITION_ACTIVATE)],
        )
    )
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
    configure = _change(node, Transition.TRANSITION_CONFIGURE)
    return LaunchDescription([*declared, profile, one_thread, activate_when_configured, node, configure])


def _change(node: LifecycleNode, transition: int) -> EmitEvent:
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))
