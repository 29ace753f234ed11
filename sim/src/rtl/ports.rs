//! Handles of the top level's ports.

use lampyris_isa::HwConfig;
use verilator_sys::{Input, Model, Output, Result};

macro_rules! ports {
    ($config:ident; $($kind:ident $field:ident = $name:literal * $width:expr;)*) => {
        /// The ports of `lampyris`, by the part of their name that matters.
        #[allow(missing_docs)]
        pub(crate) struct Ports { $( pub(crate) $field: ports!(@type $kind), )* }

        impl Ports {
            pub(crate) fn find(model: &Model, $config: &HwConfig) -> Result<Ports> {
                Ok(Ports { $( $field: model.$kind($name, $width)?, )* })
            }
        }
    };
    (@type input) => { Input };
    (@type output) => { Output };
}

ports! { config;
    input clk = "ap_clk" * 1;
    input rst_n = "ap_rst_n" * 1;
    input lite_awvalid = "s_axi_control_awvalid" * 1;
    output lite_awready = "s_axi_control_awready" * 1;
    input lite_awaddr = "s_axi_control_awaddr" * 12;
    input lite_wvalid = "s_axi_control_wvalid" * 1;
    output lite_wready = "s_axi_control_wready" * 1;
    input lite_wdata = "s_axi_control_wdata" * 32;
    input lite_wstrb = "s_axi_control_wstrb" * 4;
    output lite_bvalid = "s_axi_control_bvalid" * 1;
    input lite_bready = "s_axi_control_bready" * 1;
    output lite_bresp = "s_axi_control_bresp" * 2;
    input lite_arvalid = "s_axi_control_arvalid" * 1;
    output lite_arready = "s_axi_control_arready" * 1;
    input lite_araddr = "s_axi_control_araddr" * 12;
    output lite_rvalid = "s_axi_control_rvalid" * 1;
    input lite_rready = "s_axi_control_rready" * 1;
    output lite_rdata = "s_axi_control_rdata" * 32;
    output lite_rresp = "s_axi_control_rresp" * 2;
    output arvalid = "m_axi_gmem0_arvalid" * 1;
    input arready = "m_axi_gmem0_arready" * 1;
    output araddr = "m_axi_gmem0_araddr" * 40;
    output arid = "m_axi_gmem0_arid" * 1;
    output arlen = "m_axi_gmem0_arlen" * 8;
    output arsize = "m_axi_gmem0_arsize" * 3;
    output arburst = "m_axi_gmem0_arburst" * 2;
    input rvalid = "m_axi_gmem0_rvalid" * 1;
    output rready = "m_axi_gmem0_rready" * 1;
    input rdata = "m_axi_gmem0_rdata" * config.axi_bits;
    input rid = "m_axi_gmem0_rid" * 1;
    input rlast = "m_axi_gmem0_rlast" * 1;
    input rresp = "m_axi_gmem0_rresp" * 2;
    output awvalid = "m_axi_gmem0_awvalid" * 1;
    input awready = "m_axi_gmem0_awready" * 1;
    output awaddr = "m_axi_gmem0_awaddr" * 40;
    output awid = "m_axi_gmem0_awid" * 1;
    output awlen = "m_axi_gmem0_awlen" * 8;
    output awsize = "m_axi_gmem0_awsize" * 3;
    output awburst = "m_axi_gmem0_awburst" * 2;
    output wvalid = "m_axi_gmem0_wvalid" * 1;
    input wready = "m_axi_gmem0_wready" * 1;
    output wdata = "m_axi_gmem0_wdata" * config.axi_bits;
    output wstrb = "m_axi_gmem0_wstrb" * config.beat_bytes();
    output wlast = "m_axi_gmem0_wlast" * 1;
    input bvalid = "m_axi_gmem0_bvalid" * 1;
    output bready = "m_axi_gmem0_bready" * 1;
    input bid = "m_axi_gmem0_bid" * 1;
    input bresp = "m_axi_gmem0_bresp" * 2;
    output retire_valid = "trace_retire_valid" * 4;
    output retire_seq = "trace_retire_seq" * 128;
    output sys_valid = "trace_sys_valid" * 1;
    output sys_seq = "trace_sys_seq" * 32;
    output sys_pc = "trace_sys_pc" * 24;
    output sys_we = "trace_sys_we" * 1;
    output sys_rd = "trace_sys_rd" * 5;
    output sys_value = "trace_sys_value" * 40;
    output vwr_valid = "trace_vwr_valid" * 1;
    output vwr_unit = "trace_vwr_unit" * 2;
    output vwr_line = "trace_vwr_line" * 18;
    output vwr_mask = "trace_vwr_mask" * config.sfu_lanes;
    output vwr_data = "trace_vwr_data" * config.sfu_lanes * 32;
    output xwr_valid = "trace_xwr_valid" * 1;
    output xwr_addr = "trace_xwr_addr" * 14;
    output xwr_data = "trace_xwr_data" * 282;
}
