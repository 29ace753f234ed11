//! Handles of the top level's ports.

use lampyris_isa::HwConfig;
use verilator_sys::{Input, Model, Output, Result};

macro_rules! ports {
    ($(#[$doc:meta])* $name:ident $config:ident: $shape:ty; $($kind:ident $field:ident = $port:literal * $width:expr;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[allow(missing_docs)]
        pub(crate) struct $name { $( pub(crate) $field: ports!(@type $kind), )* }

        impl $name {
            /// Finds the ports, whose names start with `prefix`.
            pub(crate) fn find(model: &Model, prefix: &str, $config: &$shape) -> Result<$name> {
                Ok($name { $( $field: model.$kind(&format!("{prefix}{}", $port), $width)?, )* })
            }
        }
    };
    (@type input) => { Input };
    (@type output) => { Output };
}

ports! {
    /// The ports of `lampyris` except those of the memory.
    Ports config: HwConfig;
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

ports! {
    /// A memory port. Signals that are `channels` times as wide are those of the memory channels
    /// behind it, the first channel's in the lowest bits.
    AxiPort shape: AxiShape;
    output arvalid = "arvalid" * shape.channels;
    input arready = "arready" * shape.channels;
    output araddr = "araddr" * 40;
    output arid = "arid" * 1;
    output arlen = "arlen" * 8;
    output arsize = "arsize" * 3;
    output arburst = "arburst" * 2;
    input rvalid = "rvalid" * shape.channels;
    output rready = "rready" * shape.channels;
    input rdata = "rdata" * shape.channels * shape.bits;
    input rid = "rid" * shape.channels;
    input rlast = "rlast" * shape.channels;
    input rresp = "rresp" * shape.channels * 2;
    output awvalid = "awvalid" * 1;
    input awready = "awready" * 1;
    output awaddr = "awaddr" * 40;
    output awid = "awid" * 1;
    output awlen = "awlen" * 8;
    output awsize = "awsize" * 3;
    output awburst = "awburst" * 2;
    output wvalid = "wvalid" * 1;
    input wready = "wready" * 1;
    output wdata = "wdata" * shape.bits;
    output wstrb = "wstrb" * shape.bits / 8;
    output wlast = "wlast" * 1;
    input bvalid = "bvalid" * 1;
    output bready = "bready" * 1;
    input bid = "bid" * 1;
    input bresp = "bresp" * 2;
}

/// What determines the widths of a memory port's signals.
#[derive(Clone, Copy)]
pub(crate) struct AxiShape {
    /// Data bits of a channel.
    pub(crate) bits: u32,
    /// Memory channels side by side.
    pub(crate) channels: u32,
}

impl AxiPort {
    /// The port as one of its channels sees it. What the channels share stays.
    pub(crate) fn channel(&self, shape: &AxiShape, channel: u32) -> AxiPort {
        let input = |port: Input, width| port.part(channel * width, width);
        let output = |port: Output, width| port.part(channel * width, width);
        AxiPort {
            arvalid: output(self.arvalid, 1),
            arready: input(self.arready, 1),
            rvalid: input(self.rvalid, 1),
            rready: output(self.rready, 1),
            rdata: input(self.rdata, shape.bits),
            rid: input(self.rid, 1),
            rlast: input(self.rlast, 1),
            rresp: input(self.rresp, 2),
            ..*self
        }
    }
}

/// Prefixes of the memory ports' names.
pub(crate) const AXI: [&str; 2] = ["m_axi_gmem0_", "m_axi_gmem1_"];
