// Purpose: top level: host registers, sequencer, four units, memories and the AXI ports.
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
    parameter int unsigned MacRows     = 2,
    parameter int unsigned SfuLanes    = 8,
    parameter int unsigned MaxTokens   = 16,
    parameter int unsigned VmemWords   = 131072,
    parameter int unsigned XbufBlocks  = 4096,
    parameter int unsigned StreamBeats = 1024,
    parameter int unsigned IcacheLines = 256,
    parameter int unsigned QueueDepth  = 8,
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
    // Memory.
    output logic                        m_axi_gmem0_arvalid,
    input  wire logic                   m_axi_gmem0_arready,
    output logic [39:0]                 m_axi_gmem0_araddr,
    output logic                        m_axi_gmem0_arid,
    output logic [7:0]                  m_axi_gmem0_arlen,
    output logic [2:0]                  m_axi_gmem0_arsize,
    output logic [1:0]                  m_axi_gmem0_arburst,
    input  wire logic                   m_axi_gmem0_rvalid,
    output logic                        m_axi_gmem0_rready,
    input  wire logic [AxiBits-1:0]     m_axi_gmem0_rdata,
    input  wire logic                   m_axi_gmem0_rid,
    input  wire logic                   m_axi_gmem0_rlast,
    input  wire logic [1:0]             m_axi_gmem0_rresp,
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
    // All writes carry the same ID, so responses need no look at it.
    /* verilator lint_off UNUSEDSIGNAL */
    input  wire logic                   m_axi_gmem0_bid,
    /* verilator lint_on UNUSEDSIGNAL */
    input  wire logic [1:0]             m_axi_gmem0_bresp,
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
  localparam int unsigned LineAw = $clog2(VmemWords / SfuLanes);
  localparam int unsigned XbufAw = $clog2(XbufBlocks);

  typedef logic [LineAw-1:0]      line_t;
  typedef logic [SfuLanes-1:0]    mask_t;
  typedef logic [32*SfuLanes-1:0] words_t;

  logic clk_i, rst_ni;
  assign clk_i  = ap_clk;
  assign rst_ni = ap_rst_n;

  // ---- Front end ---------------------------------------------------------------------------
  logic             clr;
  logic [NumCounters-1:0] count;
  desc_t [3:0]      desc;
  logic [3:0]       desc_valid, desc_ready, done, busy, unit_err;
  logic [3:0][31:0] done_seq;
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
      .done_i      (done),
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

  // ---- Read channel: LD and instruction cache ----------------------------------------------
  logic               ld_arvalid, ld_arready, ld_rvalid, ld_rready, ld_rlast;
  logic [39:0]        ld_araddr;
  logic [7:0]         ld_arlen;
  logic [AxiBits-1:0] ld_rdata;
  logic [1:0]         ld_rresp;

  axi_rd_arb #(
      .AxiBits(AxiBits)
  ) u_rd_arb (
      .clk_i,
      .rst_ni,
      .ld_arvalid_i(ld_arvalid),
      .ld_arready_o(ld_arready),
      .ld_araddr_i (ld_araddr),
      .ld_arlen_i  (ld_arlen),
      .ld_rvalid_o (ld_rvalid),
      .ld_rready_i (ld_rready),
      .ld_rdata_o  (ld_rdata),
      .ld_rresp_o  (ld_rresp),
      .ld_rlast_o  (ld_rlast),
      .ic_arvalid_i(ic_arvalid),
      .ic_arready_o(ic_arready),
      .ic_araddr_i (ic_araddr),
      .ic_arlen_i  (ic_arlen),
      .ic_rvalid_o (ic_rvalid),
      .ic_rready_i (ic_rready),
      .ic_rdata_o  (ic_rdata),
      .ic_rresp_o  (ic_rresp),
      .ic_rlast_o  (ic_rlast),
      .m_arvalid_o (m_axi_gmem0_arvalid),
      .m_arready_i (m_axi_gmem0_arready),
      .m_araddr_o  (m_axi_gmem0_araddr),
      .m_arlen_o   (m_axi_gmem0_arlen),
      .m_arid_o    (m_axi_gmem0_arid),
      .m_rvalid_i  (m_axi_gmem0_rvalid),
      .m_rready_o  (m_axi_gmem0_rready),
      .m_rdata_i   (m_axi_gmem0_rdata),
      .m_rresp_i   (m_axi_gmem0_rresp),
      .m_rlast_i   (m_axi_gmem0_rlast),
      .m_rid_i     (m_axi_gmem0_rid)
  );
  assign m_axi_gmem0_arsize  = 3'($clog2(AxiBits / 8));
  assign m_axi_gmem0_arburst = 2'b01;
  assign m_axi_gmem0_awsize  = 3'($clog2(AxiBits / 8));
  assign m_axi_gmem0_awburst = 2'b01;
  assign m_axi_gmem0_awid    = 1'b0;

  // ---- Memories ----------------------------------------------------------------------------
  logic       sfu_vrd_valid, sfu_vrd_ready, st_vrd_valid, st_vrd_ready;
  logic       mm_vwr_valid, mm_vwr_ready, sfu_vwr_valid, sfu_vwr_ready, ld_vwr_valid, ld_vwr_ready;
  line_t      sfu_vrd_line, st_vrd_line, mm_vwr_line, sfu_vwr_line, ld_vwr_line, trace_line;
  mask_t      mm_vwr_mask, sfu_vwr_mask, ld_vwr_mask;
  words_t     vrd_data, mm_vwr_data, sfu_vwr_data, ld_vwr_data;
  logic       mm_xrd_valid, mm_xrd_ready, st_xrd_valid, st_xrd_ready, xwr_valid;
  logic [XbufAw-1:0] mm_xrd_addr, st_xrd_addr, xwr_addr;
  act_block_t xrd_data, xwr_data;
  logic       swr_valid, srd_valid, srd_ready;
  logic [AxiBits-1:0] swr_data, srd_data;
  logic [$clog2(StreamBeats+1)-1:0] stream_free;
  logic       stream_beat, vector_beat, stream_full, mm_starved, mm_drain, mm_step;

  vmem #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_vmem (
      .clk_i,
      .rst_ni,
      .sfu_vrd_valid_i(sfu_vrd_valid),
      .sfu_vrd_line_i (sfu_vrd_line),
      .sfu_vrd_ready_o(sfu_vrd_ready),
      .st_vrd_valid_i (st_vrd_valid),
      .st_vrd_line_i  (st_vrd_line),
      .st_vrd_ready_o (st_vrd_ready),
      .vrd_data_o     (vrd_data),
      .rdv_valid_i    (rdv_valid),
      .rdv_addr_i     (rdv_addr),
      .rdv_ready_o    (rdv_ready),
      .rdv_data_o     (rdv_data),
      .mm_vwr_valid_i (mm_vwr_valid),
      .mm_vwr_line_i  (mm_vwr_line),
      .mm_vwr_mask_i  (mm_vwr_mask),
      .mm_vwr_data_i  (mm_vwr_data),
      .mm_vwr_ready_o (mm_vwr_ready),
      .sfu_vwr_valid_i(sfu_vwr_valid),
      .sfu_vwr_line_i (sfu_vwr_line),
      .sfu_vwr_mask_i (sfu_vwr_mask),
      .sfu_vwr_data_i (sfu_vwr_data),
      .sfu_vwr_ready_o(sfu_vwr_ready),
      .ld_vwr_valid_i (ld_vwr_valid),
      .ld_vwr_line_i  (ld_vwr_line),
      .ld_vwr_mask_i  (ld_vwr_mask),
      .ld_vwr_data_i  (ld_vwr_data),
      .ld_vwr_ready_o (ld_vwr_ready),
      .trace_valid_o  (trace_vwr_valid),
      .trace_unit_o   (trace_vwr_unit),
      .trace_line_o   (trace_line),
      .trace_mask_o   (trace_vwr_mask),
      .trace_data_o   (trace_vwr_data)
  );
  assign trace_vwr_line = 18'(trace_line);

  xbuf #(
      .XbufBlocks(XbufBlocks)
  ) u_xbuf (
      .clk_i,
      .mm_xrd_valid_i(mm_xrd_valid),
      .mm_xrd_addr_i (mm_xrd_addr),
      .mm_xrd_ready_o(mm_xrd_ready),
      .st_xrd_valid_i(st_xrd_valid),
      .st_xrd_addr_i (st_xrd_addr),
      .st_xrd_ready_o(st_xrd_ready),
      .xrd_data_o    (xrd_data),
      .xwr_valid_i   (xwr_valid),
      .xwr_addr_i    (xwr_addr),
      .xwr_data_i    (xwr_data)
  );

  stream_fifo #(
      .AxiBits    (AxiBits),
      .StreamBeats(StreamBeats)
  ) u_stream (
      .clk_i,
      .rst_ni,
      .clr_i      (clr),
      .swr_valid_i(swr_valid),
      .swr_data_i (swr_data),
      .free_o     (stream_free),
      .srd_valid_o(srd_valid),
      .srd_data_o (srd_data),
      .srd_ready_i(srd_ready)
  );

  // ---- Units -------------------------------------------------------------------------------
  ld_unit #(
      .AxiBits    (AxiBits),
      .SfuLanes   (SfuLanes),
      .VmemWords  (VmemWords),
      .StreamBeats(StreamBeats)
  ) u_ld (
      .clk_i,
      .rst_ni,
      .clr_i        (clr),
      .desc_valid_i (desc_valid[UnitLd]),
      .desc_ready_o (desc_ready[UnitLd]),
      .desc_i       (desc[UnitLd]),
      .done_o       (done[UnitLd]),
      .done_seq_o   (done_seq[UnitLd]),
      .busy_o       (busy[UnitLd]),
      .err_valid_o  (unit_err[UnitLd]),
      .err_code_o   (unit_err_code[UnitLd]),
      .arvalid_o    (ld_arvalid),
      .arready_i    (ld_arready),
      .araddr_o     (ld_araddr),
      .arlen_o      (ld_arlen),
      .rvalid_i     (ld_rvalid),
      .rready_o     (ld_rready),
      .rdata_i      (ld_rdata),
      .rresp_i      (ld_rresp),
      .rlast_i      (ld_rlast),
      .swr_valid_o  (swr_valid),
      .swr_data_o   (swr_data),
      .free_i       (stream_free),
      .vwr_valid_o  (ld_vwr_valid),
      .vwr_line_o   (ld_vwr_line),
      .vwr_mask_o   (ld_vwr_mask),
      .vwr_data_o   (ld_vwr_data),
      .vwr_ready_i  (ld_vwr_ready),
      .stream_full_o(stream_full),
      .stream_beat_o(stream_beat),
      .vector_beat_o(vector_beat)
  );

  st_unit #(
      .AxiBits   (AxiBits),
      .SfuLanes  (SfuLanes),
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks)
  ) u_st (
      .clk_i,
      .rst_ni,
      .clr_i       (clr),
      .desc_valid_i(desc_valid[UnitSt]),
      .desc_ready_o(desc_ready[UnitSt]),
      .desc_i      (desc[UnitSt]),
      .done_o      (done[UnitSt]),
      .done_seq_o  (done_seq[UnitSt]),
      .busy_o      (busy[UnitSt]),
      .err_valid_o (unit_err[UnitSt]),
      .err_code_o  (unit_err_code[UnitSt]),
      .vrd_valid_o (st_vrd_valid),
      .vrd_line_o  (st_vrd_line),
      .vrd_ready_i (st_vrd_ready),
      .vrd_data_i  (vrd_data),
      .xrd_valid_o (st_xrd_valid),
      .xrd_addr_o  (st_xrd_addr),
      .xrd_ready_i (st_xrd_ready),
      .xrd_data_i  (xrd_data),
      .awvalid_o   (m_axi_gmem0_awvalid),
      .awready_i   (m_axi_gmem0_awready),
      .awaddr_o    (m_axi_gmem0_awaddr),
      .awlen_o     (m_axi_gmem0_awlen),
      .wvalid_o    (m_axi_gmem0_wvalid),
      .wready_i    (m_axi_gmem0_wready),
      .wdata_o     (m_axi_gmem0_wdata),
      .wstrb_o     (m_axi_gmem0_wstrb),
      .wlast_o     (m_axi_gmem0_wlast),
      .bvalid_i    (m_axi_gmem0_bvalid),
      .bready_o    (m_axi_gmem0_bready),
      .bresp_i     (m_axi_gmem0_bresp)
  );

  mm_unit #(
      .AxiBits   (AxiBits),
      .MacRows   (MacRows),
      .SfuLanes  (SfuLanes),
      .MaxTokens (MaxTokens),
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks)
  ) u_mm (
      .clk_i,
      .rst_ni,
      .clr_i       (clr),
      .desc_valid_i(desc_valid[UnitMm]),
      .desc_ready_o(desc_ready[UnitMm]),
      .desc_i      (desc[UnitMm]),
      .done_o      (done[UnitMm]),
      .done_seq_o  (done_seq[UnitMm]),
      .busy_o      (busy[UnitMm]),
      .err_valid_o (unit_err[UnitMm]),
      .err_code_o  (unit_err_code[UnitMm]),
      .srd_valid_i (srd_valid),
      .srd_data_i  (srd_data),
      .srd_ready_o (srd_ready),
      .xrd_valid_o (mm_xrd_valid),
      .xrd_addr_o  (mm_xrd_addr),
      .xrd_ready_i (mm_xrd_ready),
      .xrd_data_i  (xrd_data),
      .vwr_valid_o (mm_vwr_valid),
      .vwr_line_o  (mm_vwr_line),
      .vwr_mask_o  (mm_vwr_mask),
      .vwr_data_o  (mm_vwr_data),
      .vwr_ready_i (mm_vwr_ready),
      .starved_o   (mm_starved),
      .drain_wait_o(mm_drain),
      .step_o      (mm_step)
  );

  sfu_unit #(
      .SfuLanes  (SfuLanes),
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks)
  ) u_sfu (
      .clk_i,
      .rst_ni,
      .clr_i       (clr),
      .desc_valid_i(desc_valid[UnitSfu]),
      .desc_ready_o(desc_ready[UnitSfu]),
      .desc_i      (desc[UnitSfu]),
      .done_o      (done[UnitSfu]),
      .done_seq_o  (done_seq[UnitSfu]),
      .busy_o      (busy[UnitSfu]),
      .err_valid_o (unit_err[UnitSfu]),
      .err_code_o  (unit_err_code[UnitSfu]),
      .vrd_valid_o (sfu_vrd_valid),
      .vrd_line_o  (sfu_vrd_line),
      .vrd_ready_i (sfu_vrd_ready),
      .vrd_data_i  (vrd_data),
      .vwr_valid_o (sfu_vwr_valid),
      .vwr_line_o  (sfu_vwr_line),
      .vwr_mask_o  (sfu_vwr_mask),
      .vwr_data_o  (sfu_vwr_data),
      .vwr_ready_i (sfu_vwr_ready),
      .xwr_valid_o (xwr_valid),
      .xwr_addr_o  (xwr_addr),
      .xwr_data_o  (xwr_data)
  );

  // ---- Counters and trace ------------------------------------------------------------------
  always_comb begin
    count                 = '0;
    count[CntBusyLd+:4]   = busy;
    count[CntReadBeats]   = m_axi_gmem0_rvalid && m_axi_gmem0_rready;
    count[CntWriteBeats]  = m_axi_gmem0_wvalid && m_axi_gmem0_wready;
    count[CntStreamBeats] = stream_beat;
    count[CntVectorBeats] = vector_beat;
    count[CntPortBeats]   = count[CntReadBeats] || count[CntWriteBeats];
    count[CntMmStarved]   = mm_starved;
    count[CntMmDrain]     = mm_drain;
    count[CntStreamFull]  = stream_full;
    count[CntMacSteps]    = mm_step;
  end

  assign trace_retire_valid = done;
  assign trace_retire_seq   = done_seq;
  assign trace_xwr_valid    = xwr_valid;
  assign trace_xwr_addr     = 14'(xwr_addr);
  assign trace_xwr_data     = xwr_data;
endmodule

`default_nettype wire
