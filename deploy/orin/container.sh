#!/bin/bash
# What a container does: engines if they are wanted, the golden check, then the node.
set -e
release=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
cd "$release"
source "$GENIEDRIVE_ROS_SETUP"
export PYTHONPATH=$release/app${PYTHONPATH:+:$PYTHONPATH}
backend=${release##*-}
if [ "$backend" = trt ]; then
    "$GENIEDRIVE_PYTHON" -m deploy.engine build bundle
fi
"$GENIEDRIVE_PYTHON" -m deploy.orin.check . --backend "$backend"
exec /bin/bash app/deploy/orin/start.sh
