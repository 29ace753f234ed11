#!/bin/sh
# @provenance@
# Builds build/@result@ with Vivado and Vitis @range@ (settings64.sh of Vitis and
# setup.sh of XRT read before). PLATFORM names another platform.
set -eu
cd "$(dirname "$0")"
@platform@
mkdir -p build
vivado -mode batch -nojournal -log build/package.log -source package.tcl
v++ --link --target hw --platform "$PLATFORM" --config link.cfg --save-temps --temp_dir build/link \
    --output build/@result@ build/lampyris.xo
@rest@
