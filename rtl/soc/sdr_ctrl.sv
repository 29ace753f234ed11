// Purpose: SDR SDRAM controller behind AXI4: one chip, or several in parallel as one.
// Latency: 11 + CasLatency + ReadDelay + words of a beat from AR to the first beat of an open row.
// Throughput: a word a cycle in long streams, less refresh: 99 % of the pins.
// Back-pressure: AXI; a read is issued only when its beats have room, a write when they have come.
// Notes: INCR bursts of full-width aligned beats. Others, and addresses past the chip, get SLVERR and
//        touch nothing. Address: row, bank, column, so that a stream walks through the banks. Times
//        are in cycles; the clock is the chip's. ReadDelay is what the board adds to CasLatency.
//        Reads and writes are ordered by B and R alone.

`default_nettype none

module sdr_ctrl #(
    parameter int unsigned AxiBits         = 128,
    parameter int unsigned DqBits          = 16,
    parameter int unsigned RowBits         = 13,
    parameter int unsigned ColBits         = 9,
    parameter int unsigned BankBits        = 2,
    parameter int unsigned TRcd            = 2,
    parameter int unsigned TRp             = 2,
    parameter int unsigned TRas            = 3,
    parameter int unsigned TRc             = 5,
    parameter int unsigned TRrd            = 1,
    parameter int unsigned TRfc            = 5,
    parameter int unsigned TWr             = 2,
    parameter int unsigned TMrd            = 2,
    parameter int unsigned CasLatency      = 2,
    parameter int unsigned RefreshInterval = 507,
    parameter int unsigned PowerUp         = 13000,
    parameter int unsigned ReadDelay       = 0
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    // AXI4
    input  wire logic                 s_arvalid_i,
    output logic                      s_arready_o,
    input  wire logic [39:0]          s_araddr_i,
    input  wire logic [1:0]           s_arid_i,
    input  wire logic [7:0]           s_arlen_i,
    input  wire logic [2:0]           s_arsize_i,
    input  wire logic [1:0]           s_arburst_i,
    output logic                      s_rvalid_o,
    input  wire logic                 s_rready_i,
    output logic [AxiBits-1:0]        s_rdata_o,
    output logic [1:0]                s_rid_o,
    output logic [1:0]                s_rresp_o,
    output logic                      s_rlast_o,
    input  wire logic                 s_awvalid_i,
    output logic                      s_awready_o,
    input  wire logic [39:0]          s_awaddr_i,
    input  wire logic [1:0]           s_awid_i,
    input  wire logic [7:0]           s_awlen_i,
    input  wire logic [2:0]           s_awsize_i,
    input  wire logic [1:0]           s_awburst_i,
    input  wire logic                 s_wvalid_i,
    output logic                      s_wready_o,
    input  wire logic [AxiBits-1:0]   s_wdata_i,
    input  wire logic [AxiBits/8-1:0] s_wstrb_i,
    input  wire logic                 s_wlast_i,
    output logic                      s_bvalid_o,
    input  wire logic                 s_bready_i,
    output logic [1:0]                s_bid_o,
    output logic [1:0]                s_bresp_o,
    // Chip
    output logic                      cke_o,
    output logic                      cs_no,
    output logic                      ras_no,
    output logic                      cas_no,
    output logic                      we_no,
    output logic [BankBits-1:0]       ba_o,
    output logic [RowBits-1:0]        a_o,
    output logic [DqBits/8-1:0]       dqm_o,
    output logic [DqBits-1:0]         dq_o,
    output logic                      dq_oe_o,
    input  wire logic [DqBits-1:0]    dq_i
);
  import sdr_pkg::*;

  localparam int unsigned Burst = burst_words(AxiBits, DqBits);
  localparam int unsigned AddrW = RowBits + BankBits + ColBits - $clog2(Burst);
  localparam int unsigned TimerMax = (1 << TimerW) - 1;

  if (AxiBits != 128 && AxiBits != 256 && AxiBits != 512) begin : g_check_axi
    $error("sdr_ctrl: AxiBits must be 128, 256 or 512");
  end
  if (DqBits != 16 && DqBits != 32) begin : g_check_dq
    $error("sdr_ctrl: DqBits must be 16 or 32");
  end
  // A10 is the flag of a precharge, so columns have at most ten bits and rows at least eleven.
  if (RowBits < 11 || RowBits > 13 || ColBits < 8 || ColBits > 10 || BankBits < 1 || BankBits > 2) begin : g_check_size
    $error("sdr_ctrl: RowBits must be 11 to 13, ColBits 8 to 10, BankBits 1 or 2");
  end
  if (CasLatency != 2 && CasLatency != 3) begin : g_check_cas
    $error("sdr_ctrl: CasLatency must be 2 or 3");
  end
  if (TRcd < 1 || TRp < 1 || TRas < 1 || TRc < 1 || TRrd < 1 || TRfc < 1 || TWr < 1 || TMrd < 1) begin : g_check_min
    $error("sdr_ctrl: a timing must be at least one cycle");
  end
  if (TRcd > TimerMax || TRp > TimerMax || TRas > TimerMax || TRc > TimerMax || TRrd > TimerMax
      || TRfc > TimerMax || TMrd > TimerMax || Burst + TWr > TimerMax) begin : g_check_max
    $error("sdr_ctrl: a timing is too long");
  end
  // Two chunks and the closing of their rows fit between two refreshes.
  if (RefreshInterval < 190) begin : g_check_refresh
    $error("sdr_ctrl: RefreshInterval must be at least 190");
  end

  // ------------------------------------------------------------------ addresses
  logic rd_order_valid, rd_order_ready, rd_order_err, rd_valid, rd_take, rd_room, unused_rd_last;
  logic wr_order_valid, wr_order_ready, wr_order_err, wr_valid, wr_take, wr_enough, wr_last, wr_done;
  logic [1:0] rd_order_id, wr_order_id;
  logic [7:0] rd_order_len, unused_wr_order_len;
  logic [AddrW-1:0] rd_addr, wr_addr;
  logic [CountW-1:0] rd_count, wr_count;

  sdr_front #(
      .AxiBits (AxiBits),
      .DqBits  (DqBits),
      .RowBits (RowBits),
      .ColBits (ColBits),
      .BankBits(BankBits)
  ) u_rd_front (
      .clk_i,
      .rst_ni,
      .avalid_i     (s_arvalid_i),
      .aready_o     (s_arready_o),
      .aaddr_i      (s_araddr_i),
      .aid_i        (s_arid_i),
      .alen_i       (s_arlen_i),
      .asize_i      (s_arsize_i),
      .aburst_i     (s_arburst_i),
      .order_valid_o(rd_order_valid),
      .order_ready_i(rd_order_ready),
      .order_id_o   (rd_order_id),
      .order_len_o  (rd_order_len),
      .order_err_o  (rd_order_err),
      .chunk_valid_o(rd_valid),
      .chunk_ready_i(rd_take),
      .chunk_addr_o (rd_addr),
      .chunk_count_o(rd_count),
      .chunk_last_o (unused_rd_last)
  );

  sdr_front #(
      .AxiBits (AxiBits),
      .DqBits  (DqBits),
      .RowBits (RowBits),
      .ColBits (ColBits),
      .BankBits(BankBits)
  ) u_wr_front (
      .clk_i,
      .rst_ni,
      .avalid_i     (s_awvalid_i),
      .aready_o     (s_awready_o),
      .aaddr_i      (s_awaddr_i),
      .aid_i        (s_awid_i),
      .alen_i       (s_awlen_i),
      .asize_i      (s_awsize_i),
      .aburst_i     (s_awburst_i),
      .order_valid_o(wr_order_valid),
      .order_ready_i(wr_order_ready),
      .order_id_o   (wr_order_id),
      .order_len_o  (unused_wr_order_len),
      .order_err_o  (wr_order_err),
      .chunk_valid_o(wr_valid),
      .chunk_ready_i(wr_take),
      .chunk_addr_o (wr_addr),
      .chunk_count_o(wr_count),
      .chunk_last_o (wr_last)
  );

  // ------------------------------------------------------------------ data
  logic rbeat_valid, wbeat_valid, wbeat_ready;
  logic [AxiBits-1:0] rbeat_data, wbeat_data;
  logic [AxiBits/8-1:0] wbeat_strb;

  sdr_rdata #(
      .AxiBits(AxiBits),
      .DqBits (DqBits)
  ) u_rdata (
      .clk_i,
      .rst_ni,
      .order_valid_i(rd_order_valid),
      .order_ready_o(rd_order_ready),
      .order_id_i   (rd_order_id),
      .order_len_i  (rd_order_len),
      .order_err_i  (rd_order_err),
      .room_o       (rd_room),
      .take_i       (rd_take),
      .take_count_i (rd_count),
      .beat_valid_i (rbeat_valid),
      .beat_data_i  (rbeat_data),
      .rvalid_o     (s_rvalid_o),
      .rready_i     (s_rready_i),
      .rdata_o      (s_rdata_o),
      .rid_o        (s_rid_o),
      .rresp_o      (s_rresp_o),
      .rlast_o      (s_rlast_o)
  );

  sdr_wdata #(
      .AxiBits(AxiBits),
      .DqBits (DqBits)
  ) u_wdata (
      .clk_i,
      .rst_ni,
      .order_valid_i(wr_order_valid),
      .order_ready_o(wr_order_ready),
      .order_id_i   (wr_order_id),
      .order_err_i  (wr_order_err),
      .wvalid_i     (s_wvalid_i),
      .wready_o     (s_wready_o),
      .wdata_i      (s_wdata_i),
      .wstrb_i      (s_wstrb_i),
      .wlast_i      (s_wlast_i),
      .enough_o     (wr_enough),
      .take_i       (wr_take),
      .take_count_i (wr_count),
      .done_i       (wr_done),
      .beat_valid_o (wbeat_valid),
      .beat_ready_i (wbeat_ready),
      .beat_data_o  (wbeat_data),
      .beat_strb_o  (wbeat_strb),
      .bvalid_o     (s_bvalid_o),
      .bready_i     (s_bready_i),
      .bid_o        (s_bid_o),
      .bresp_o      (s_bresp_o)
  );

  // ------------------------------------------------------------------ chip
  logic hold, quiet, idle, maint_active, ready, rd_start, wr_start;
  logic [BankBits-1:0] ba;
  logic [RowBits-1:0] a;
  cmd_e maint_cmd, cmd;

  sdr_maint #(
      .TRp            (TRp),
      .TRfc           (TRfc),
      .TMrd           (TMrd),
      .RefreshInterval(RefreshInterval),
      .PowerUp        (PowerUp)
  ) u_maint (
      .clk_i,
      .rst_ni,
      .idle_i  (idle),
      .quiet_i (quiet),
      .hold_o  (hold),
      .active_o(maint_active),
      .cmd_o   (maint_cmd),
      .ready_o (ready)
  );

  sdr_sched #(
      .AxiBits   (AxiBits),
      .DqBits    (DqBits),
      .RowBits   (RowBits),
      .ColBits   (ColBits),
      .BankBits  (BankBits),
      .TRcd      (TRcd),
      .TRp       (TRp),
      .TRas      (TRas),
      .TRc       (TRc),
      .TRrd      (TRrd),
      .TWr       (TWr),
      .CasLatency(CasLatency)
  ) u_sched (
      .clk_i,
      .rst_ni,
      .rd_valid_i    (rd_valid),
      .rd_may_i      (rd_room),
      .rd_take_o     (rd_take),
      .rd_addr_i     (rd_addr),
      .rd_count_i    (rd_count),
      .wr_valid_i    (wr_valid),
      .wr_may_i      (wr_enough),
      .wr_take_o     (wr_take),
      .wr_addr_i     (wr_addr),
      .wr_count_i    (wr_count),
      .wr_last_i     (wr_last),
      .wr_done_o     (wr_done),
      .hold_i        (hold),
      .quiet_o       (quiet),
      .idle_o        (idle),
      .maint_active_i(maint_active),
      .maint_cmd_i   (maint_cmd),
      .cmd_o         (cmd),
      .ba_o          (ba),
      .a_o           (a),
      .rd_start_o    (rd_start),
      .wr_start_o    (wr_start)
  );

  sdr_dq #(
      .AxiBits   (AxiBits),
      .DqBits    (DqBits),
      .RowBits   (RowBits),
      .BankBits  (BankBits),
      .CasLatency(CasLatency),
      .ReadDelay (ReadDelay)
  ) u_dq (
      .clk_i,
      .rst_ni,
      .ready_i      (ready),
      .cmd_i        (cmd),
      .ba_i         (ba),
      .a_i          (a),
      .rd_start_i   (rd_start),
      .wr_start_i   (wr_start),
      .wbeat_valid_i(wbeat_valid),
      .wbeat_ready_o(wbeat_ready),
      .wbeat_data_i (wbeat_data),
      .wbeat_strb_i (wbeat_strb),
      .rbeat_valid_o(rbeat_valid),
      .rbeat_data_o (rbeat_data),
      .cke_o,
      .cs_no,
      .ras_no,
      .cas_no,
      .we_no,
      .ba_o,
      .a_o,
      .dqm_o,
      .dq_o,
      .dq_oe_o,
      .dq_i
  );
endmodule

`default_nettype wire
