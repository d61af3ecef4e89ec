# JetPack 6.2 (L4T r36.4, Ubuntu 22.04, Python 3.10, TensorRT 10.3) with ROS 2 Humble. Not measured: never built here.
# Build on the Jetson, in an unpacked bundle:
#   mkdir car && tar -xf car.tar -C car && cd car
#   docker build -f app/deploy/orin/humble.Dockerfile -t geniedrive:humble .
#   docker run --runtime nvidia --network host --ipc host --restart on-failure geniedrive:humble
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl python3-venv python3-dev && \
    curl -sSfL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key -o /usr/share/keyrings/ros.gpg && \
    echo "deb [signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list && \
    apt-get update && apt-get install -y --no-install-recommends build-essential cmake python3-colcon-common-extensions \
        ros-humble-ros-base ros-humble-rmw-fastrtps-cpp && \
    rm -rf /var/lib/apt/lists/*
# ROS 2 and TensorRT come with the system's Python; the rest lies over it.
RUN python3 -m venv --system-site-packages /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir 'numpy<2' 'pyyaml>=6' 'opencv-python-headless>=4.8,<5' 'onnxruntime>=1.18' \
        'rich>=13' 'typer>=0.12' 'pycuda>=2022.2'
ENV GENIEDRIVE_PYTHON=/opt/venv/bin/python GENIEDRIVE_ROS_SETUP=/opt/ros/humble/setup.bash
COPY . /opt/geniedrive/release-trt
RUN bash -c 'source $GENIEDRIVE_ROS_SETUP && cd /opt/geniedrive/release-trt && \
    PYTHONPATH=app $GENIEDRIVE_PYTHON app/tools/setup_ros.py'
# Engines belong to a GPU, which a build does not have: the first start builds them.
CMD ["/bin/bash", "/opt/geniedrive/release-trt/app/deploy/orin/container.sh"]
