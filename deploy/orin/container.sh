#!/bin/bash
# What a container does: engines if they are wanted, the golden check, then the node.
set -e
release=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
cd "$release"
source "$GENIEDRIVE_ROS_SETUP"
export PYTHONPATH=$release/app${PYTHONPATH:+:$PYTHONPATH}
if [ "$BACKEND" = trt ]; then
    "$GENIEDRIVE_PYTHON" -m deploy.engine build bundle
fi
"$GENIEDRIVE_PYTHON" -m deploy.orin.check . --backend "$BACKEND"
echo "$BACKEND" >backend
exec /bin/bash app/deploy/orin/start.sh
