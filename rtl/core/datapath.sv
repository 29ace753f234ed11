// Purpose: the four units with the memories between them: vector memory, activation buffer, stream.
// Latency, throughput: see docs/microarchitecture.md.
// Back-pressure: ready/valid towards issue and the memory ports.
// Notes: count_o holds the counters that are taken here, at their indices; the others are zero.

`default_nettype none

module datapath
  import lampyris_isa_pkg::*;
  import lampyris_pkg::*;
#(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned Channels    = 1,
    parameter int unsigned MacRows     = 2,
    parameter int unsigned SfuLanes    = 8,
    parameter int unsigned MaxTokens   = 16,
    parameter int unsigned VmemWords   = 131072,
    parameter int unsigned XbufBlocks  = 4096,
    parameter int unsigned StreamBeats = 1024,
    parameter int unsigned WeightBits  = 380,
    parameter int unsigned Sparsity    = 2,
    parameter int unsigned MulPack     = 0,
    localparam int unsigned BeatBits   = Channels * AxiBits
) (
    input  wire logic                   clk_i,
    input  wire logic                   rst_ni,
    input  wire logic                   clr_i,
    // Instructions.
    input  wire logic [3:0]             desc_valid_i,
    output logic [3:0]                  desc_ready_o,
    input  wire desc_t [3:0]            desc_i,
    output logic [3:0]                  done_o,
    output logic [3:0][31:0]            done_seq_o,
    output logic [3:0]                  err_valid_o,
    output logic [3:0][7:0]             err_code_o,
    output logic [NumCounters-1:0]      count_o,
    // Word read of vector memory by the sequencer.
    input  wire logic                   rdv_valid_i,
    input  wire logic [17:0]            rdv_addr_i,
    output logic                        rdv_ready_o,
    output logic [31:0]                 rdv_data_o,
    // LD: AXI read.
    output logic                        ld_arvalid_o,
    input  wire logic                   ld_arready_i,
    output logic [39:0]                 ld_araddr_o,
    output logic [7:0]                  ld_arlen_o,
    input  wire logic                   ld_rvalid_i,
    output logic                        ld_rready_o,
    input  wire logic [BeatBits-1:0]    ld_rdata_i,
    input  wire logic [1:0]             ld_rresp_i,
    input  wire logic                   ld_rlast_i,
    // ST: AXI write.
    output logic                        st_awvalid_o,
    input  wire logic                   st_awready_i,
    output logic [39:0]                 st_awaddr_o,
    output logic [7:0]                  st_awlen_o,
    output logic                        st_wvalid_o,
    input  wire logic                   st_wready_i,
    output logic [AxiBits-1:0]          st_wdata_o,
    output logic [AxiBits/8-1:0]        st_wstrb_o,
    output logic                        st_wlast_o,
    input  wire logic                   st_bvalid_i,
    output logic                        st_bready_o,
    input  wire logic [1:0]             st_bresp_i,
    // Trace of writes.
    output logic                        trace_vwr_valid_o,
    output logic [1:0]                  trace_vwr_unit_o,
    output logic [17:0]                 trace_vwr_line_o,
    output logic [SfuLanes-1:0]         trace_vwr_mask_o,
    output logic [32*SfuLanes-1:0]      trace_vwr_data_o,
    output logic                        trace_xwr_valid_o,
    output logic [13:0]                 trace_xwr_addr_o,
    output act_block_t                  trace_xwr_data_o
);
  localparam int unsigned LineAw = $clog2(VmemWords / SfuLanes);
  localparam int unsigned XbufAw = $clog2(XbufBlocks);
  localparam int unsigned XrdBlocks = Sparsity == 0 ? 1 : 4;

  typedef logic [LineAw-1:0]      line_t;
  typedef logic [SfuLanes-1:0]    mask_t;
  typedef logic [32*SfuLanes-1:0] words_t;

  logic [3:0] busy;

  // ---- Memories ----------------------------------------------------------------------------
  logic       sfu_vrd_valid, sfu_vrd_ready, st_vrd_valid, st_vrd_ready;
  logic       mm_vwr_valid, mm_vwr_ready, sfu_vwr_valid, sfu_vwr_ready, ld_vwr_valid, ld_vwr_ready;
  line_t      sfu_vrd_line, st_vrd_line, mm_vwr_line, sfu_vwr_line, ld_vwr_line, trace_line;
  mask_t      mm_vwr_mask, sfu_vwr_mask, ld_vwr_mask;
  words_t     vrd_data, mm_vwr_data, sfu_vwr_data, ld_vwr_data;
  logic       mm_xrd_valid, mm_xrd_ready, st_xrd_valid, st_xrd_ready, xwr_valid;
  logic [XbufAw-1:0] mm_xrd_addr, st_xrd_addr, xwr_addr;
  act_block_t xwr_data;
  act_block_t [XrdBlocks-1:0] xrd_data;
  logic       swr_valid, srd_valid, srd_ready;
  logic [BeatBits-1:0] swr_data, srd_data;
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
      .rdv_valid_i,
      .rdv_addr_i,
      .rdv_ready_o,
      .rdv_data_o,
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
      .trace_valid_o  (trace_vwr_valid_o),
      .trace_unit_o   (trace_vwr_unit_o),
      .trace_line_o   (trace_line),
      .trace_mask_o   (trace_vwr_mask_o),
      .trace_data_o   (trace_vwr_data_o)
  );
  assign trace_vwr_line_o = 18'(trace_line);

  xbuf #(
      .XbufBlocks(XbufBlocks),
      .Sparsity  (Sparsity)
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
      .AxiBits    (BeatBits),
      .StreamBeats(StreamBeats)
  ) u_stream (
      .clk_i,
      .rst_ni,
      .clr_i,
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
      .Channels   (Channels),
      .SfuLanes   (SfuLanes),
      .VmemWords  (VmemWords),
      .StreamBeats(StreamBeats)
  ) u_ld (
      .clk_i,
      .rst_ni,
      .clr_i,
      .desc_valid_i (desc_valid_i[UnitLd]),
      .desc_ready_o (desc_ready_o[UnitLd]),
      .desc_i       (desc_i[UnitLd]),
      .done_o       (done_o[UnitLd]),
      .done_seq_o   (done_seq_o[UnitLd]),
      .busy_o       (busy[UnitLd]),
      .err_valid_o  (err_valid_o[UnitLd]),
      .err_code_o   (err_code_o[UnitLd]),
      .arvalid_o    (ld_arvalid_o),
      .arready_i    (ld_arready_i),
      .araddr_o     (ld_araddr_o),
      .arlen_o      (ld_arlen_o),
      .rvalid_i     (ld_rvalid_i),
      .rready_o     (ld_rready_o),
      .rdata_i      (ld_rdata_i),
      .rresp_i      (ld_rresp_i),
      .rlast_i      (ld_rlast_i),
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
      .Channels  (Channels),
      .Kv4       (MacRows >= 2),
      .SfuLanes  (SfuLanes),
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks)
  ) u_st (
      .clk_i,
      .rst_ni,
      .clr_i,
      .desc_valid_i(desc_valid_i[UnitSt]),
      .desc_ready_o(desc_ready_o[UnitSt]),
      .desc_i      (desc_i[UnitSt]),
      .done_o      (done_o[UnitSt]),
      .done_seq_o  (done_seq_o[UnitSt]),
      .busy_o      (busy[UnitSt]),
      .err_valid_o (err_valid_o[UnitSt]),
      .err_code_o  (err_code_o[UnitSt]),
      .vrd_valid_o (st_vrd_valid),
      .vrd_line_o  (st_vrd_line),
      .vrd_ready_i (st_vrd_ready),
      .vrd_data_i  (vrd_data),
      .xrd_valid_o (st_xrd_valid),
      .xrd_addr_o  (st_xrd_addr),
      .xrd_ready_i (st_xrd_ready),
      .xrd_data_i  (xrd_data[0]),
      .awvalid_o   (st_awvalid_o),
      .awready_i   (st_awready_i),
      .awaddr_o    (st_awaddr_o),
      .awlen_o     (st_awlen_o),
      .wvalid_o    (st_wvalid_o),
      .wready_i    (st_wready_i),
      .wdata_o     (st_wdata_o),
      .wstrb_o     (st_wstrb_o),
      .wlast_o     (st_wlast_o),
      .bvalid_i    (st_bvalid_i),
      .bready_o    (st_bready_o),
      .bresp_i     (st_bresp_i)
  );

  mm_unit #(
      .AxiBits   (AxiBits),
      .Channels  (Channels),
      .MacRows   (MacRows),
      .SfuLanes  (SfuLanes),
      .MaxTokens (MaxTokens),
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks),
      .WeightBits(WeightBits),
      .Sparsity  (Sparsity),
      .MulPack   (MulPack)
  ) u_mm (
      .clk_i,
      .rst_ni,
      .clr_i,
      .desc_valid_i(desc_valid_i[UnitMm]),
      .desc_ready_o(desc_ready_o[UnitMm]),
      .desc_i      (desc_i[UnitMm]),
      .done_o      (done_o[UnitMm]),
      .done_seq_o  (done_seq_o[UnitMm]),
      .busy_o      (busy[UnitMm]),
      .err_valid_o (err_valid_o[UnitMm]),
      .err_code_o  (err_code_o[UnitMm]),
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
      .XbufBlocks(XbufBlocks),
      .WeightBits(WeightBits),
      .Sparsity  (Sparsity),
      .Kv4       (MacRows >= 2)
  ) u_sfu (
      .clk_i,
      .rst_ni,
      .clr_i,
      .desc_valid_i(desc_valid_i[UnitSfu]),
      .desc_ready_o(desc_ready_o[UnitSfu]),
      .desc_i      (desc_i[UnitSfu]),
      .done_o      (done_o[UnitSfu]),
      .done_seq_o  (done_seq_o[UnitSfu]),
      .busy_o      (busy[UnitSfu]),
      .err_valid_o (err_valid_o[UnitSfu]),
      .err_code_o  (err_code_o[UnitSfu]),
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
    count_o                 = '0;
    count_o[CntBusyLd+:4]   = busy;
    count_o[CntStreamBeats] = stream_beat;
    count_o[CntVectorBeats] = vector_beat;
    count_o[CntMmStarved]   = mm_starved;
    count_o[CntMmDrain]     = mm_drain;
    count_o[CntStreamFull]  = stream_full;
    count_o[CntMacSteps]    = mm_step;
  end

  assign trace_xwr_valid_o = xwr_valid;
  assign trace_xwr_addr_o  = 14'(xwr_addr);
  assign trace_xwr_data_o  = xwr_data;
endmodule

`default_nettype wire
