// Purpose: the host link (docs/link.md) on streams of bytes: requests in, responses out.
// Latency: a request is executed when all of it has arrived, and answered when it is done.
// Throughput: one byte per clock in, one per two clocks out; see the parts.
// Back-pressure: ready/valid on bytes; AXI4-Lite and AXI4 on the buses.
// Notes: a host may have Window requests under way. TimeoutClocks must be below the host's patience.
//        host_reset_o resets the accelerator, and should reset what the buses lead to.

`default_nettype none

module link_core
  import lampyris_link_pkg::*;
#(
    parameter int unsigned AxiBits       = 256,
    parameter int unsigned ConfigHash    = 0,
    parameter int unsigned ClockKhz      = 50000,
    parameter int unsigned TimeoutClocks = 1048576,
    parameter int unsigned IdleLog2      = 22
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    // Bytes from and to the host
    input  wire logic                 rx_valid_i,
    output logic                      rx_ready_o,
    input  wire logic [7:0]           rx_data_i,
    input  wire logic                 rx_lost_i,  // a byte was lost before it came here
    output logic                      tx_valid_o,
    input  wire logic                 tx_ready_i,
    output logic [7:0]                tx_data_o,
    // Reset of the accelerator
    output logic                      host_reset_o,
    // Host registers
    output logic                      m_axi_control_awvalid,
    input  wire logic                 m_axi_control_awready,
    output logic [11:0]               m_axi_control_awaddr,
    output logic                      m_axi_control_wvalid,
    input  wire logic                 m_axi_control_wready,
    output logic [31:0]               m_axi_control_wdata,
    output logic [3:0]                m_axi_control_wstrb,
    input  wire logic                 m_axi_control_bvalid,
    output logic                      m_axi_control_bready,
    input  wire logic [1:0]           m_axi_control_bresp,
    output logic                      m_axi_control_arvalid,
    input  wire logic                 m_axi_control_arready,
    output logic [11:0]               m_axi_control_araddr,
    input  wire logic                 m_axi_control_rvalid,
    output logic                      m_axi_control_rready,
    input  wire logic [31:0]          m_axi_control_rdata,
    input  wire logic [1:0]           m_axi_control_rresp,
    // Memory
    output logic                      m_axi_gmem_arvalid,
    input  wire logic                 m_axi_gmem_arready,
    output logic [39:0]               m_axi_gmem_araddr,
    output logic                      m_axi_gmem_arid,
    output logic [7:0]                m_axi_gmem_arlen,
    output logic [2:0]                m_axi_gmem_arsize,
    output logic [1:0]                m_axi_gmem_arburst,
    input  wire logic                 m_axi_gmem_rvalid,
    output logic                      m_axi_gmem_rready,
    input  wire logic [AxiBits-1:0]   m_axi_gmem_rdata,
    input  wire logic                 m_axi_gmem_rid,
    input  wire logic                 m_axi_gmem_rlast,
    input  wire logic [1:0]           m_axi_gmem_rresp,
    output logic                      m_axi_gmem_awvalid,
    input  wire logic                 m_axi_gmem_awready,
    output logic [39:0]               m_axi_gmem_awaddr,
    output logic                      m_axi_gmem_awid,
    output logic [7:0]                m_axi_gmem_awlen,
    output logic [2:0]                m_axi_gmem_awsize,
    output logic [1:0]                m_axi_gmem_awburst,
    output logic                      m_axi_gmem_wvalid,
    input  wire logic                 m_axi_gmem_wready,
    output logic [AxiBits-1:0]        m_axi_gmem_wdata,
    output logic [AxiBits/8-1:0]      m_axi_gmem_wstrb,
    output logic                      m_axi_gmem_wlast,
    input  wire logic                 m_axi_gmem_bvalid,
    output logic                      m_axi_gmem_bready,
    input  wire logic                 m_axi_gmem_bid,
    input  wire logic [1:0]           m_axi_gmem_bresp
);
  localparam logic [2:0] BeatSize = 3'($clog2(AxiBits / 8));

  // ------------------------------------------------------------------ requests
  logic        slot_free, slot_we, commit, bad;
  logic [6:0]  slot_waddr, commit_words;
  logic [31:0] slot_wdata;
  logic        slot_valid, slot_re, slot_pop;
  logic [6:0]  slot_words, slot_raddr;
  logic [31:0] slot_rdata;

  link_deframe #(
      .IdleLog2(IdleLog2)
  ) u_deframe (
      .clk_i,
      .rst_ni,
      .valid_i (rx_valid_i),
      .ready_o (rx_ready_o),
      .data_i  (rx_data_i),
      .free_i  (slot_free),
      .we_o    (slot_we),
      .waddr_o (slot_waddr),
      .wdata_o (slot_wdata),
      .commit_o(commit),
      .words_o (commit_words),
      .bad_o   (bad)
  );

  link_slots u_slots (
      .clk_i,
      .rst_ni,
      .free_o  (slot_free),
      .we_i    (slot_we),
      .waddr_i (slot_waddr),
      .wdata_i (slot_wdata),
      .commit_i(commit),
      .words_i (commit_words),
      .valid_o (slot_valid),
      .words_o (slot_words),
      .re_i    (slot_re),
      .raddr_i (slot_raddr),
      .rdata_o (slot_rdata),
      .pop_i   (slot_pop)
  );

  // ------------------------------------------------------------------ execution
  logic [39:0] addr;
  logic [6:0]  words;
  logic [31:0] csr_wdata, csr_rdata, rd_word, info_word;
  logic        abort;
  logic        csr_start, csr_write, csr_busy, csr_done, csr_err;
  logic        rd_start, rd_busy, rd_done, rd_err, rd_word_valid;
  logic        wr_start, wr_busy, wr_done, wr_err, wr_fetch;
  logic [5:0]  rd_word_index, wr_index;
  logic        frame, repeated, info_counters;
  logic [2:0]  info_index;
  logic        reply_busy, reply_start, payload_we;
  logic [7:0]  reply_seq, reply_command, reply_status;
  logic [6:0]  reply_words;
  logic [5:0]  payload_index;
  logic [31:0] payload_word;

  link_exec #(
      .TimeoutClocks(TimeoutClocks)
  ) u_exec (
      .clk_i,
      .rst_ni,
      .slot_valid_i   (slot_valid),
      .slot_words_i   (slot_words),
      .slot_re_o      (slot_re),
      .slot_raddr_o   (slot_raddr),
      .slot_rdata_i   (slot_rdata),
      .slot_pop_o     (slot_pop),
      .addr_o         (addr),
      .words_o        (words),
      .csr_wdata_o    (csr_wdata),
      .abort_o        (abort),
      .csr_start_o    (csr_start),
      .csr_write_o    (csr_write),
      .csr_busy_i     (csr_busy),
      .csr_done_i     (csr_done),
      .csr_err_i      (csr_err),
      .csr_rdata_i    (csr_rdata),
      .rd_start_o     (rd_start),
      .rd_busy_i      (rd_busy),
      .rd_done_i      (rd_done),
      .rd_err_i       (rd_err),
      .rd_word_valid_i(rd_word_valid),
      .rd_word_index_i(rd_word_index),
      .rd_word_i      (rd_word),
      .wr_start_o     (wr_start),
      .wr_busy_i      (wr_busy),
      .wr_done_i      (wr_done),
      .wr_err_i       (wr_err),
      .wr_fetch_i     (wr_fetch),
      .wr_index_i     (wr_index),
      .frame_o        (frame),
      .repeat_o       (repeated),
      .info_counters_o(info_counters),
      .info_index_o   (info_index),
      .info_word_i    (info_word),
      .reply_busy_i   (reply_busy),
      .reply_start_o  (reply_start),
      .reply_seq_o    (reply_seq),
      .reply_command_o(reply_command),
      .reply_words_o  (reply_words),
      .reply_status_o (reply_status),
      .payload_we_o   (payload_we),
      .payload_index_o(payload_index),
      .payload_word_o (payload_word),
      .host_reset_o
  );

  link_info #(
      .AxiBits      (AxiBits),
      .ConfigHash   (ConfigHash),
      .ClockKhz     (ClockKhz),
      .TimeoutClocks(TimeoutClocks)
  ) u_info (
      .clk_i,
      .rst_ni,
      .frame_i   (frame),
      .bad_i     (bad),
      .repeat_i  (repeated),
      .lost_i    (rx_lost_i),
      .counters_i(info_counters),
      .index_i   (info_index),
      .word_o    (info_word)
  );

  // ------------------------------------------------------------------ buses
  link_csr u_csr (
      .clk_i,
      .rst_ni,
      .clr_i    (host_reset_o),
      .start_i  (csr_start),
      .write_i  (csr_write),
      .addr_i   (addr[11:0]),
      .wdata_i  (csr_wdata),
      .busy_o   (csr_busy),
      .done_o   (csr_done),
      .err_o    (csr_err),
      .rdata_o  (csr_rdata),
      .awvalid_o(m_axi_control_awvalid),
      .awready_i(m_axi_control_awready),
      .awaddr_o (m_axi_control_awaddr),
      .wvalid_o (m_axi_control_wvalid),
      .wready_i (m_axi_control_wready),
      .wdata_o  (m_axi_control_wdata),
      .bvalid_i (m_axi_control_bvalid),
      .bready_o (m_axi_control_bready),
      .bresp_i  (m_axi_control_bresp),
      .arvalid_o(m_axi_control_arvalid),
      .arready_i(m_axi_control_arready),
      .araddr_o (m_axi_control_araddr),
      .rvalid_i (m_axi_control_rvalid),
      .rready_o (m_axi_control_rready),
      .rdata_i  (m_axi_control_rdata),
      .rresp_i  (m_axi_control_rresp)
  );
  assign m_axi_control_wstrb = '1;

  link_mem_rd #(
      .AxiBits(AxiBits)
  ) u_mem_rd (
      .clk_i,
      .rst_ni,
      .clr_i       (host_reset_o),
      .start_i     (rd_start),
      .addr_i      (addr[39:2]),
      .words_i     (words),
      .busy_o      (rd_busy),
      .done_o      (rd_done),
      .err_o       (rd_err),
      .word_valid_o(rd_word_valid),
      .word_index_o(rd_word_index),
      .word_o      (rd_word),
      .arvalid_o   (m_axi_gmem_arvalid),
      .arready_i   (m_axi_gmem_arready),
      .araddr_o    (m_axi_gmem_araddr),
      .arlen_o     (m_axi_gmem_arlen),
      .rvalid_i    (m_axi_gmem_rvalid),
      .rready_o    (m_axi_gmem_rready),
      .rdata_i     (m_axi_gmem_rdata),
      .rresp_i     (m_axi_gmem_rresp),
      .rlast_i     (m_axi_gmem_rlast)
  );
  assign m_axi_gmem_arid    = 1'b0;
  assign m_axi_gmem_arsize  = BeatSize;
  assign m_axi_gmem_arburst = 2'b01;

  link_mem_wr #(
      .AxiBits(AxiBits)
  ) u_mem_wr (
      .clk_i,
      .rst_ni,
      .clr_i    (host_reset_o),
      .start_i  (wr_start),
      .addr_i   (addr[39:2]),
      .words_i  (words),
      .abort_i  (abort),
      .busy_o   (wr_busy),
      .done_o   (wr_done),
      .err_o    (wr_err),
      .fetch_o  (wr_fetch),
      .index_o  (wr_index),
      .word_i   (slot_rdata),
      .awvalid_o(m_axi_gmem_awvalid),
      .awready_i(m_axi_gmem_awready),
      .awaddr_o (m_axi_gmem_awaddr),
      .awlen_o  (m_axi_gmem_awlen),
      .wvalid_o (m_axi_gmem_wvalid),
      .wready_i (m_axi_gmem_wready),
      .wdata_o  (m_axi_gmem_wdata),
      .wstrb_o  (m_axi_gmem_wstrb),
      .wlast_o  (m_axi_gmem_wlast),
      .bvalid_i (m_axi_gmem_bvalid),
      .bready_o (m_axi_gmem_bready),
      .bresp_i  (m_axi_gmem_bresp)
  );
  assign m_axi_gmem_awid    = 1'b0;
  assign m_axi_gmem_awsize  = BeatSize;
  assign m_axi_gmem_awburst = 2'b01;

  // The only ID is 0.
  logic unused_ids;
  assign unused_ids = m_axi_gmem_rid ^ m_axi_gmem_bid;

  // ------------------------------------------------------------------ responses
  logic       body_valid, body_ready, body_last;
  logic [7:0] body_data;

  link_reply u_reply (
      .clk_i,
      .rst_ni,
      .we_i     (payload_we),
      .index_i  (payload_index),
      .word_i   (payload_word),
      .start_i  (reply_start),
      .seq_i    (reply_seq),
      .command_i(reply_command),
      .words_i  (reply_words),
      .status_i (reply_status),
      .busy_o   (reply_busy),
      .valid_o  (body_valid),
      .ready_i  (body_ready),
      .data_o   (body_data),
      .last_o   (body_last)
  );

  link_frame u_frame (
      .clk_i,
      .rst_ni,
      .valid_i(body_valid),
      .ready_o(body_ready),
      .data_i (body_data),
      .last_i (body_last),
      .valid_o(tx_valid_o),
      .ready_i(tx_ready_i),
      .data_o (tx_data_o)
  );
endmodule

`default_nettype wire
