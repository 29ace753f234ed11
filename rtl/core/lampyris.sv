// Purpose: top level: front end, datapath and memory ports.
// Latency, throughput: see docs/microarchitecture.md.
// Back-pressure: AXI4 and AXI4-Lite on the ports.
// Notes: ConfigHash is the hash of the other parameters as the host computes it. The trace ports
//        serve simulation; in synthesis they are left open and disappear.

`default_nettype none

module lampyris
  import lampyris_isa_pkg::*;
  import lampyris_pkg::*;
#(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned AxiPorts    = 1,
    parameter int unsigned Channels    = 1,
    parameter int unsigned MacRows     = 2,
    parameter int unsigned SfuLanes    = 8,
    parameter int unsigned MaxTokens   = 16,
    parameter int unsigned VmemWords   = 131072,
    parameter int unsigned XbufBlocks  = 4096,
    parameter int unsigned StreamBeats = 1024,
    parameter int unsigned IcacheLines = 256,
    parameter int unsigned QueueDepth  = 8,
    parameter int unsigned WeightBits  = 380,
    parameter int unsigned Sparsity    = 2,
    parameter int unsigned MulPack     = 0,
    parameter int unsigned ConfigHash  = 0
) (
    input  wire logic                   ap_clk,
    input  wire logic                   ap_rst_n,
    // Host registers.
    input  wire logic                   s_axi_control_awvalid,
    output logic                        s_axi_control_awready,
    input  wire logic [11:0]            s_axi_control_awaddr,
    input  wire logic                   s_axi_control_wvalid,
    output logic                        s_axi_control_wready,
    input  wire logic [31:0]            s_axi_control_wdata,
    input  wire logic [3:0]             s_axi_control_wstrb,
    output logic                        s_axi_control_bvalid,
    input  wire logic                   s_axi_control_bready,
    output logic [1:0]                  s_axi_control_bresp,
    input  wire logic                   s_axi_control_arvalid,
    output logic                        s_axi_control_arready,
    input  wire logic [11:0]            s_axi_control_araddr,
    output logic                        s_axi_control_rvalid,
    input  wire logic                   s_axi_control_rready,
    output logic [31:0]                 s_axi_control_rdata,
    output logic [1:0]                  s_axi_control_rresp,
    // Memory. All channels side by side get the same addresses.
    output logic [Channels-1:0]         m_axi_gmem0_arvalid,
    input  wire logic [Channels-1:0]    m_axi_gmem0_arready,
    output logic [39:0]                 m_axi_gmem0_araddr,
    output logic                        m_axi_gmem0_arid,
    output logic [7:0]                  m_axi_gmem0_arlen,
    output logic [2:0]                  m_axi_gmem0_arsize,
    output logic [1:0]                  m_axi_gmem0_arburst,
    input  wire logic [Channels-1:0]    m_axi_gmem0_rvalid,
    output logic [Channels-1:0]         m_axi_gmem0_rready,
    input  wire logic [Channels*AxiBits-1:0] m_axi_gmem0_rdata,
    input  wire logic [Channels-1:0]    m_axi_gmem0_rid,
    input  wire logic [Channels-1:0]    m_axi_gmem0_rlast,
    input  wire logic [2*Channels-1:0]  m_axi_gmem0_rresp,
    output logic                        m_axi_gmem0_awvalid,
    input  wire logic                   m_axi_gmem0_awready,
    output logic [39:0]                 m_axi_gmem0_awaddr,
    output logic                        m_axi_gmem0_awid,
    output logic [7:0]                  m_axi_gmem0_awlen,
    output logic [2:0]                  m_axi_gmem0_awsize,
    output logic [1:0]                  m_axi_gmem0_awburst,
    output logic                        m_axi_gmem0_wvalid,
    input  wire logic                   m_axi_gmem0_wready,
    output logic [AxiBits-1:0]          m_axi_gmem0_wdata,
    output logic [AxiBits/8-1:0]        m_axi_gmem0_wstrb,
    output logic                        m_axi_gmem0_wlast,
    input  wire logic                   m_axi_gmem0_bvalid,
    output logic                        m_axi_gmem0_bready,
    input  wire logic                   m_axi_gmem0_bid,
    input  wire logic [1:0]             m_axi_gmem0_bresp,
    // Second memory port: idle unless AxiPorts is 2.
    output logic                        m_axi_gmem1_arvalid,
    input  wire logic                   m_axi_gmem1_arready,
    output logic [39:0]                 m_axi_gmem1_araddr,
    output logic                        m_axi_gmem1_arid,
    output logic [7:0]                  m_axi_gmem1_arlen,
    output logic [2:0]                  m_axi_gmem1_arsize,
    output logic [1:0]                  m_axi_gmem1_arburst,
    input  wire logic                   m_axi_gmem1_rvalid,
    output logic                        m_axi_gmem1_rready,
    input  wire logic [AxiBits-1:0]     m_axi_gmem1_rdata,
    input  wire logic                   m_axi_gmem1_rid,
    input  wire logic                   m_axi_gmem1_rlast,
    input  wire logic [1:0]             m_axi_gmem1_rresp,
    output logic                        m_axi_gmem1_awvalid,
    input  wire logic                   m_axi_gmem1_awready,
    output logic [39:0]                 m_axi_gmem1_awaddr,
    output logic                        m_axi_gmem1_awid,
    output logic [7:0]                  m_axi_gmem1_awlen,
    output logic [2:0]                  m_axi_gmem1_awsize,
    output logic [1:0]                  m_axi_gmem1_awburst,
    output logic                        m_axi_gmem1_wvalid,
    input  wire logic                   m_axi_gmem1_wready,
    output logic [AxiBits-1:0]          m_axi_gmem1_wdata,
    output logic [AxiBits/8-1:0]        m_axi_gmem1_wstrb,
    output logic                        m_axi_gmem1_wlast,
    input  wire logic                   m_axi_gmem1_bvalid,
    output logic                        m_axi_gmem1_bready,
    input  wire logic                   m_axi_gmem1_bid,
    input  wire logic [1:0]             m_axi_gmem1_bresp,
    // Trace.
    output logic [3:0]                  trace_retire_valid,
    output logic [3:0][31:0]            trace_retire_seq,
    output logic                        trace_sys_valid,
    output logic [31:0]                 trace_sys_seq,
    output logic [23:0]                 trace_sys_pc,
    output logic                        trace_sys_we,
    output logic [4:0]                  trace_sys_rd,
    output logic [39:0]                 trace_sys_value,
    output logic                        trace_vwr_valid,
    output logic [1:0]                  trace_vwr_unit,
    output logic [17:0]                 trace_vwr_line,
    output logic [SfuLanes-1:0]         trace_vwr_mask,
    output logic [32*SfuLanes-1:0]      trace_vwr_data,
    output logic                        trace_xwr_valid,
    output logic [13:0]                 trace_xwr_addr,
    output logic [281:0]                trace_xwr_data
);
  logic clk_i, rst_ni;
  assign clk_i  = ap_clk;
  assign rst_ni = ap_rst_n;

  // ---- Front end ---------------------------------------------------------------------------
  logic             clr;
  logic [NumCounters-1:0] count, unit_count;
  desc_t [3:0]      desc;
  logic [3:0]       desc_valid, desc_ready, unit_err;
  logic [3:0][7:0]  unit_err_code;
  logic             rdv_valid, rdv_ready;
  logic [17:0]      rdv_addr;
  logic [31:0]      rdv_data;
  logic               ic_arvalid, ic_arready, ic_rvalid, ic_rready, ic_rlast;
  logic [39:0]        ic_araddr;
  logic [7:0]         ic_arlen;
  logic [AxiBits-1:0] ic_rdata;
  logic [1:0]         ic_rresp;

  front_end #(
      .AxiBits    (AxiBits),
      .VmemWords  (VmemWords),
      .IcacheLines(IcacheLines),
      .QueueDepth (QueueDepth),
      .ConfigHash (ConfigHash)
  ) u_front_end (
      .clk_i,
      .rst_ni,
      .clr_o       (clr),
      .awvalid_i   (s_axi_control_awvalid),
      .awready_o   (s_axi_control_awready),
      .awaddr_i    (s_axi_control_awaddr),
      .wvalid_i    (s_axi_control_wvalid),
      .wready_o    (s_axi_control_wready),
      .wdata_i     (s_axi_control_wdata),
      .wstrb_i     (s_axi_control_wstrb),
      .bvalid_o    (s_axi_control_bvalid),
      .bready_i    (s_axi_control_bready),
      .arvalid_i   (s_axi_control_arvalid),
      .arready_o   (s_axi_control_arready),
      .araddr_i    (s_axi_control_araddr),
      .rvalid_o    (s_axi_control_rvalid),
      .rready_i    (s_axi_control_rready),
      .rdata_o     (s_axi_control_rdata),
      .unit_count_i(count),
      .ic_arvalid_o(ic_arvalid),
      .ic_arready_i(ic_arready),
      .ic_araddr_o (ic_araddr),
      .ic_arlen_o  (ic_arlen),
      .ic_rvalid_i (ic_rvalid),
      .ic_rready_o (ic_rready),
      .ic_rdata_i  (ic_rdata),
      .ic_rresp_i  (ic_rresp),
      .ic_rlast_i  (ic_rlast),
      .desc_valid_o(desc_valid),
      .desc_ready_i(desc_ready),
      .desc_o      (desc),
      .done_i      (trace_retire_valid),
      .err_valid_i (unit_err),
      .err_code_i  (unit_err_code),
      .rdv_valid_o (rdv_valid),
      .rdv_addr_o  (rdv_addr),
      .rdv_ready_i (rdv_ready),
      .rdv_data_i  (rdv_data),
      .sys_valid_o (trace_sys_valid),
      .sys_seq_o   (trace_sys_seq),
      .sys_pc_o    (trace_sys_pc),
      .sys_we_o    (trace_sys_we),
      .sys_rd_o    (trace_sys_rd),
      .sys_value_o (trace_sys_value)
  );
  assign s_axi_control_bresp = 2'b00;
  assign s_axi_control_rresp = 2'b00;

  // ---- Units and their memories ------------------------------------------------------------
  logic               ld_arvalid, ld_arready, ld_rvalid, ld_rready, ld_rlast;
  logic [39:0]        ld_araddr;
  logic [7:0]         ld_arlen;
  logic [Channels*AxiBits-1:0] ld_rdata;
  logic [1:0]         ld_rresp;
  logic               st_awvalid, st_awready, st_wvalid, st_wready, st_wlast, st_bvalid, st_bready;
  logic [39:0]        st_awaddr;
  logic [7:0]         st_awlen;
  logic [AxiBits-1:0] st_wdata;
  logic [AxiBits/8-1:0] st_wstrb;
  logic [1:0]         st_bresp;

  datapath #(
      .AxiBits    (AxiBits),
      .Channels   (Channels),
      .MacRows    (MacRows),
      .SfuLanes   (SfuLanes),
      .MaxTokens  (MaxTokens),
      .VmemWords  (VmemWords),
      .XbufBlocks (XbufBlocks),
      .StreamBeats(StreamBeats),
      .WeightBits (WeightBits),
      .Sparsity   (Sparsity),
      .MulPack    (MulPack)
  ) u_datapath (
      .clk_i,
      .rst_ni,
      .clr_i            (clr),
      .desc_valid_i     (desc_valid),
      .desc_ready_o     (desc_ready),
      .desc_i           (desc),
      .done_o           (trace_retire_valid),
      .done_seq_o       (trace_retire_seq),
      .err_valid_o      (unit_err),
      .err_code_o       (unit_err_code),
      .count_o          (unit_count),
      .rdv_valid_i      (rdv_valid),
      .rdv_addr_i       (rdv_addr),
      .rdv_ready_o      (rdv_ready),
      .rdv_data_o       (rdv_data),
      .ld_arvalid_o     (ld_arvalid),
      .ld_arready_i     (ld_arready),
      .ld_araddr_o      (ld_araddr),
      .ld_arlen_o       (ld_arlen),
      .ld_rvalid_i      (ld_rvalid),
      .ld_rready_o      (ld_rready),
      .ld_rdata_i       (ld_rdata),
      .ld_rlast_i       (ld_rlast),
      .ld_rresp_i       (ld_rresp),
      .st_awvalid_o     (st_awvalid),
      .st_awready_i     (st_awready),
      .st_awaddr_o      (st_awaddr),
      .st_awlen_o       (st_awlen),
      .st_wvalid_o      (st_wvalid),
      .st_wready_i      (st_wready),
      .st_wdata_o       (st_wdata),
      .st_wstrb_o       (st_wstrb),
      .st_wlast_o       (st_wlast),
      .st_bvalid_i      (st_bvalid),
      .st_bready_o      (st_bready),
      .st_bresp_i       (st_bresp),
      .trace_vwr_valid_o(trace_vwr_valid),
      .trace_vwr_unit_o (trace_vwr_unit),
      .trace_vwr_line_o (trace_vwr_line),
      .trace_vwr_mask_o (trace_vwr_mask),
      .trace_vwr_data_o (trace_vwr_data),
      .trace_xwr_valid_o(trace_xwr_valid),
      .trace_xwr_addr_o (trace_xwr_addr),
      .trace_xwr_data_o (trace_xwr_data)
  );

  // ---- Memory ports ------------------------------------------------------------------------
  logic       read_beat, write_beat;
  logic [1:0] port_beat;

  mem_ports #(
      .AxiBits (AxiBits),
      .AxiPorts(AxiPorts),
      .Channels(Channels)
  ) u_mem_ports (
      .clk_i,
      .rst_ni,
      .ld_arvalid_i(ld_arvalid),
      .ld_arready_o(ld_arready),
      .ld_araddr_i (ld_araddr),
      .ld_arlen_i  (ld_arlen),
      .ld_rvalid_o (ld_rvalid),
      .ld_rready_i (ld_rready),
      .ld_rdata_o  (ld_rdata),
      .ld_rlast_o  (ld_rlast),
      .ld_rresp_o  (ld_rresp),
      .ic_arvalid_i(ic_arvalid),
      .ic_arready_o(ic_arready),
      .ic_araddr_i (ic_araddr),
      .ic_arlen_i  (ic_arlen),
      .ic_rvalid_o (ic_rvalid),
      .ic_rready_i (ic_rready),
      .ic_rdata_o  (ic_rdata),
      .ic_rlast_o  (ic_rlast),
      .ic_rresp_o  (ic_rresp),
      .st_awvalid_i(st_awvalid),
      .st_awready_o(st_awready),
      .st_awaddr_i (st_awaddr),
      .st_awlen_i  (st_awlen),
      .st_wvalid_i (st_wvalid),
      .st_wready_o (st_wready),
      .st_wdata_i  (st_wdata),
      .st_wstrb_i  (st_wstrb),
      .st_wlast_i  (st_wlast),
      .st_bvalid_o (st_bvalid),
      .st_bready_i (st_bready),
      .st_bresp_o  (st_bresp),
      .m0_arvalid_o(m_axi_gmem0_arvalid),
      .m0_arready_i(m_axi_gmem0_arready),
      .m0_araddr_o (m_axi_gmem0_araddr),
      .m0_arid_o   (m_axi_gmem0_arid),
      .m0_arlen_o  (m_axi_gmem0_arlen),
      .m0_arsize_o (m_axi_gmem0_arsize),
      .m0_arburst_o(m_axi_gmem0_arburst),
      .m0_rvalid_i (m_axi_gmem0_rvalid),
      .m0_rready_o (m_axi_gmem0_rready),
      .m0_rdata_i  (m_axi_gmem0_rdata),
      .m0_rid_i    (m_axi_gmem0_rid),
      .m0_rlast_i  (m_axi_gmem0_rlast),
      .m0_rresp_i  (m_axi_gmem0_rresp),
      .m0_awvalid_o(m_axi_gmem0_awvalid),
      .m0_awready_i(m_axi_gmem0_awready),
      .m0_awaddr_o (m_axi_gmem0_awaddr),
      .m0_awid_o   (m_axi_gmem0_awid),
      .m0_awlen_o  (m_axi_gmem0_awlen),
      .m0_awsize_o (m_axi_gmem0_awsize),
      .m0_awburst_o(m_axi_gmem0_awburst),
      .m0_wvalid_o (m_axi_gmem0_wvalid),
      .m0_wready_i (m_axi_gmem0_wready),
      .m0_wdata_o  (m_axi_gmem0_wdata),
      .m0_wstrb_o  (m_axi_gmem0_wstrb),
      .m0_wlast_o  (m_axi_gmem0_wlast),
      .m0_bvalid_i (m_axi_gmem0_bvalid),
      .m0_bready_o (m_axi_gmem0_bready),
      .m0_bid_i    (m_axi_gmem0_bid),
      .m0_bresp_i  (m_axi_gmem0_bresp),
      .m1_arvalid_o(m_axi_gmem1_arvalid),
      .m1_arready_i(m_axi_gmem1_arready),
      .m1_araddr_o (m_axi_gmem1_araddr),
      .m1_arid_o   (m_axi_gmem1_arid),
      .m1_arlen_o  (m_axi_gmem1_arlen),
      .m1_arsize_o (m_axi_gmem1_arsize),
      .m1_arburst_o(m_axi_gmem1_arburst),
      .m1_rvalid_i (m_axi_gmem1_rvalid),
      .m1_rready_o (m_axi_gmem1_rready),
      .m1_rdata_i  (m_axi_gmem1_rdata),
      .m1_rid_i    (m_axi_gmem1_rid),
      .m1_rlast_i  (m_axi_gmem1_rlast),
      .m1_rresp_i  (m_axi_gmem1_rresp),
      .m1_awvalid_o(m_axi_gmem1_awvalid),
      .m1_awready_i(m_axi_gmem1_awready),
      .m1_awaddr_o (m_axi_gmem1_awaddr),
      .m1_awid_o   (m_axi_gmem1_awid),
      .m1_awlen_o  (m_axi_gmem1_awlen),
      .m1_awsize_o (m_axi_gmem1_awsize),
      .m1_awburst_o(m_axi_gmem1_awburst),
      .m1_wvalid_o (m_axi_gmem1_wvalid),
      .m1_wready_i (m_axi_gmem1_wready),
      .m1_wdata_o  (m_axi_gmem1_wdata),
      .m1_wstrb_o  (m_axi_gmem1_wstrb),
      .m1_wlast_o  (m_axi_gmem1_wlast),
      .m1_bvalid_i (m_axi_gmem1_bvalid),
      .m1_bready_o (m_axi_gmem1_bready),
      .m1_bid_i    (m_axi_gmem1_bid),
      .m1_bresp_i  (m_axi_gmem1_bresp),
      .read_beat_o (read_beat),
      .write_beat_o(write_beat),
      .port_beat_o (port_beat)
  );

  always_comb begin
    count                = unit_count;
    count[CntReadBeats]  = read_beat;
    count[CntWriteBeats] = write_beat;
    count[CntPortBeats]  = port_beat[0];
    count[CntPort1Beats] = port_beat[1];
  end
endmodule

`default_nettype wire
