#!/bin/sh
# @provenance@
# Builds build/lampyris.bit, build/lampyris.bit.bin and build/lampyris.dtbo with Vivado
# @range@ (settings64.sh read before), bootgen of Vivado and dtc.
set -eu
cd "$(dirname "$0")"
mkdir -p build
vivado -mode batch -nojournal -log build/build.log -source build.tcl
bootgen -w -arch zynqmp -process_bitstream bin -image lampyris.bif
dtc -@ -I dts -O dtb -o build/lampyris.dtbo overlay.dts
