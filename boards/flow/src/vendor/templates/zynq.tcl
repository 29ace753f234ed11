# @provenance@
# From nothing to build/lampyris.bit: packages the accelerator, puts it beside the processors, builds.
#   vivado -mode batch -source build.tcl
source [file join [file dirname [file normalize [info script]]] package.tcl]

create_project -force system [file join $build system] -part @device@
set_property board_part @board_part@ [current_project]
@connections@
set_property ip_repo_paths [list $ip] [current_project]
update_ip_catalog

create_bd_design system
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 {1} \
    CONFIG.PSU__USE__M_AXI_GP1 {0} \
    CONFIG.PSU__USE__M_AXI_GP2 {0} \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH {32} \
@settings@
    CONFIG.PSU__FPGA_PL0_ENABLE {1} \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {@mhz@} \
] $ps

set accel [create_bd_cell -type ip -vlnv lampyris:kernel:@kernel@:1.0 accel]
set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]
set clock [get_bd_pins ps/pl_clk0]
connect_bd_net $clock [get_bd_pins reset/slowest_sync_clk]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
set reset_n [get_bd_pins reset/peripheral_aresetn]
connect_bd_net $clock [get_bd_pins accel/ap_clk]
connect_bd_net $reset_n [get_bd_pins accel/ap_rst_n]

# One crossbar of one to one for each way: it converts protocols and widths.
proc path {name from to} {
    upvar clock clock reset_n reset_n
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name
    set_property -dict [list CONFIG.NUM_SI {1} CONFIG.NUM_MI {1}] [get_bd_cells $name]
    connect_bd_net $clock [get_bd_pins $name/aclk]
    connect_bd_net $reset_n [get_bd_pins $name/aresetn]
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $name/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $to]
}
path control ps/M_AXI_HPM0_FPD accel/s_axi_control
connect_bd_net $clock [get_bd_pins ps/maxihpm0_fpd_aclk]
assign_bd_address -offset @registers@ -range 4K -target_address_space [get_bd_addr_spaces ps/Data] [get_bd_addr_segs accel/s_axi_control/reg0]

# Port of the accelerator, port of the processors, its clock, its address segments.
set paths {
@paths@
}
foreach {port hp aclk segments} $paths {
    path memory_$hp accel/$port ps/S_AXI_${hp}_FPD
    connect_bd_net $clock [get_bd_pins ps/$aclk]
    foreach half {LOW HIGH} {
        assign_bd_address -target_address_space [get_bd_addr_spaces accel/$port] [get_bd_addr_segs ps/$segments/${hp}_DDR_$half]
    }
}
validate_bd_design
save_bd_design

set wrapper [make_wrapper -files [get_files system.bd] -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    error "the implementation did not end: [get_property STATUS [get_runs impl_1]]"
}
set slack [get_property STATS.WNS [get_runs impl_1]]
if {$slack < 0} {
    error "the clock of @mhz@ MHz is missed by [expr {-$slack}] ns: lower accel.clock_khz"
}
file copy -force [file join [get_property DIRECTORY [get_runs impl_1]] system_wrapper.bit] [file join $build lampyris.bit]
open_run impl_1
report_utilization -hierarchical -file [file join $build utilization.rpt]
report_timing_summary -file [file join $build timing.rpt]
write_hw_platform -fixed -include_bit -force -file [file join $build lampyris.xsa]
