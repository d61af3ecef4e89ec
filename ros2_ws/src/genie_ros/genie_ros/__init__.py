"""GenieDrive on a ROS 2 graph. This package converts, calls and publishes; what it calls lives in deploy/."""
