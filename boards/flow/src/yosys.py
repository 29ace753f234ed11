# Runs the Yosys commands that are given as arguments, in order, on one design.
import sys

from pyosys import libyosys

design = libyosys.Design()
for command in sys.argv[1:]:
    print(f"> {command}", flush=True)
    libyosys.run_pass(command, design)
