"""What this package may use of rclpy: names that are in Humble's (3.3). Each was looked up in its sources or changelog;
who needs another looks it up and adds it."""

MODULES: dict[str, set[str]] = {
    "rclpy": {"init", "shutdown", "timer", "subscription", "qos", "create_node"},
    "rclpy.clock": {"Clock", "ClockType"},
    "rclpy.exceptions": {"InvalidParameterTypeException", "InvalidParameterValueException"},
    "rclpy.executors": {"SingleThreadedExecutor"},
    "rclpy.impl.implementation_singleton": {"rclpy_implementation"},
    "rclpy.lifecycle": {"LifecycleNode", "LifecycleState", "TransitionCallbackReturn"},
    "rclpy.node": {"Node"},
    "rclpy.publisher": {"Publisher"},
    "rclpy.qos": {
        "DurabilityPolicy", "HistoryPolicy", "QoSProfile", "ReliabilityPolicy",
    },
    "rclpy.qos_event": {"PublisherEventCallbacks", "SubscriptionEventCallbacks"},
    # Since Iron; genie_ros.qos falls back to the one above.
    "rclpy.event_handler": {"PublisherEventCallbacks", "SubscriptionEventCallbacks"},
    "rclpy.serialization": {"deserialize_message", "serialize_message"},
    "rclpy.signals": {"SignalHandlerOptions"},
    "rclpy.subscription": {"Subscription"},
}  # fmt: skip
# Methods and properties of nodes, publishers, subscriptions, executors, clocks, timers, loggers.
METHODS = {
    "add_node", "clock", "count_publishers", "create_guard_condition", "create_lifecycle_publisher",
    "create_publisher", "create_subscription", "create_timer", "debug", "declare_parameter",
    "destroy_lifecycle_publisher", "destroy_node", "destroy_subscription",
    "destroy_timer", "error", "executor", "get_clock", "get_logger", "get_name", "get_parameter",
    "get_publishers_info_by_topic", "get_subscription_count", "get_subscriptions_info_by_topic", "info", "now",
    "on_activate", "on_deactivate", "on_cleanup", "on_configure", "on_shutdown", "publish", "resolve_topic_name",
    "shutdown", "spin_once", "trigger_activate", "trigger_configure", "trigger_shutdown", "warning",
}  # fmt: skip
# Arguments by name, of calls of these methods.
ARGUMENTS = {
    "create_subscription": {"event_callbacks", "raw"},
    "create_lifecycle_publisher": {"event_callbacks"},
    "create_guard_condition": set(),
    "create_publisher": set(),
    "create_timer": {"clock"},
    "declare_parameter": set(),
    "spin_once": {"timeout_sec"},
    "warning": {"throttle_duration_sec"},
    "error": {"throttle_duration_sec"},
    "info": {"throttle_duration_sec"},
}
