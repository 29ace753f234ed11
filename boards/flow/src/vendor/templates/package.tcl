# @provenance@
# Packages the accelerator as an IP in build/ip and, for XRT, as build/lampyris.xo:
#   vivado -mode batch -source package.tcl
set here [file dirname [file normalize [info script]]]
set build [file join $here build]
file mkdir $build

@versions@

set sources {
@sources@
}
# Name, offset, bits and access of the host's registers.
set registers {
@registers@
}

create_project -force kernel [file join $build kernel] -part @device@
foreach source $sources {
    add_files -norecurse [file join $here $source]
}
add_files -fileset constrs_1 -norecurse [file join $here clock_ooc.xdc]
set_property USED_IN {synthesis implementation out_of_context} [get_files clock_ooc.xdc]
set_property top @kernel@ [current_fileset]
update_compile_order -fileset sources_1

set ip [file join $build ip]
ipx::package_project -root_dir $ip -vendor lampyris -library kernel -taxonomy /KernelIP -import_files -set_current false
ipx::unload_core [file join $ip component.xml]
ipx::edit_ip_in_project -upgrade true -name edit -directory $ip [file join $ip component.xml]
set core [ipx::current_core]
set_property version 1.0 $core

# Vivado finds the buses by the names of their ports; clock and reset it is told.
ipx::infer_bus_interface ap_clk xilinx.com:signal:clock_rtl:1.0 $core
ipx::infer_bus_interface ap_rst_n xilinx.com:signal:reset_rtl:1.0 $core
foreach bus {s_axi_control @ports@} {
    if {[ipx::get_bus_interfaces $bus -of_objects $core] eq ""} {
        error "Vivado found no bus $bus"
    }
    ipx::associate_bus_interfaces -busif $bus -clock ap_clk $core
}

# What Vivado inferred of the registers goes; theirs come from the list.
foreach map [ipx::get_memory_maps -of_objects $core] {
    ipx::remove_memory_map [get_property name $map] $core
}
set map [ipx::add_memory_map s_axi_control $core]
set_property slave_memory_map_ref s_axi_control [ipx::get_bus_interfaces s_axi_control -of_objects $core]
set block [ipx::add_address_block reg0 $map]
set_property range @range@ $block
set_property usage register $block
foreach {name offset bits access} $registers {
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size $bits $register
    set_property access $access $register
}

set as_kernel @as_kernel@
if {$as_kernel} {
    set_property sdx_kernel true $core
    set_property sdx_kernel_type rtl $core
}
set_property supported_families {} $core
set_property auto_family_support_level level_2 $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project -delete
close_project

if {$as_kernel} {
    set xo [file join $build lampyris.xo]
    file delete -force $xo
    package_xo -xo_path $xo -kernel_name @kernel@ -ctrl_protocol user_managed -ip_directory $ip -kernel_xml [file join $here kernel.xml]
}
