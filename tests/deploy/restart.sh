#!/bin/sh
# What `flash --restart-command` runs in the tests: ends the old process, starts one from `current`.
# BAD_RELEASE=ID:HOW in $GENIEDRIVE_PREFIX/bad makes one release misbehave.
prefix=$GENIEDRIVE_PREFIX
[ -e "$prefix/pid" ] && kill -9 "$(cat "$prefix/pid")" 2>/dev/null
rm -f "$prefix/pid"
[ -e "$prefix/current" ] || exit 0
release=$(cd -P "$prefix/current" && pwd)
how=well
[ -e "$prefix/bad" ] && [ "$(cut -d: -f1 "$prefix/bad")" = "${release##*/}" ] && how=$(cut -d: -f2 "$prefix/bad")
PYTHONPATH=$release/app nohup "$GENIEDRIVE_PYTHON" "$1" "$release" "$how" >>"$prefix/service.log" 2>&1 &
echo $! >"$prefix/pid"
