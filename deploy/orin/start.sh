#!/bin/bash
# Becomes the node of the release that this file lies in, with further arguments for `geniedrive node`. The release's
# name ends with its backend.
# `current` may point elsewhere while it runs: -P takes the release's own folder, so that what is imported late still
# belongs to it.
release=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd) || exit 1
if [ -n "$GENIEDRIVE_ROS_SETUP" ]; then
    source "$GENIEDRIVE_ROS_SETUP" || exit 1
fi
export GENIEDRIVE_RELEASE=${release##*/}
export PYTHONPATH=$release/app${PYTHONPATH:+:$PYTHONPATH}
export OMP_WAIT_POLICY=PASSIVE
exec "${GENIEDRIVE_PYTHON:-python3}" -m genie.cli.main node --bundle "$release/bundle" --stamp-clock ros \
    --backend "${release##*-}" "$@"
