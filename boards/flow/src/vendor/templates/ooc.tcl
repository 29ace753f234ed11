# @provenance@
# The accelerator alone through synthesis: what it takes, and how fast it may be. Needs no platform.
#   vivado -mode batch -source ooc.tcl
set here [file dirname [file normalize [info script]]]
set build [file join $here build]
file mkdir $build

@versions@

set sources {
@sources@
}
foreach source $sources {
    set path [file join $here $source]
    if {[file extension $path] eq ".sv"} {
        read_verilog -sv $path
    } else {
        read_verilog $path
    }
}
read_xdc -mode out_of_context [file join $here clock_ooc.xdc]
synth_design -mode out_of_context -top @kernel@ -part @device@
report_utilization -hierarchical -file [file join $build utilization.rpt]
report_timing_summary -file [file join $build timing.rpt]
