"""A scene as a rosbag2 (MCAP), written and read with `rosbags`: no ROS 2 is needed.

layout.py     topics, types, frames
source.py     the scene as the tables and the CAN bus have it: poses at full rate, sensors, boxes
messages.py   each of these as a message
write.py      all of it in time order into a bag
read.py       what replay and evaluation take out of one
"""
