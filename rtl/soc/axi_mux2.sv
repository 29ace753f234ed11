// Purpose: two AXI4 masters at one slave.
// Latency: two cycles on AR and AW, none on W, R and B.
// Throughput: an address and a beat of each channel a cycle.
// Back-pressure: ready/valid; addresses wait in FIFOs, so no master's ready depends on the other.
// Notes: round robin by transaction. The slave's identifier is the master, then its own identifier.
//        W follows the order of AW; a beat waits until its address was chosen.

`default_nettype none

module axi_mux2 #(
    parameter int unsigned AxiBits = 128
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    // Masters
    input  wire logic [1:0]                s_arvalid_i,
    output logic [1:0]                     s_arready_o,
    input  wire logic [1:0][39:0]          s_araddr_i,
    input  wire logic [1:0]                s_arid_i,
    input  wire logic [1:0][7:0]           s_arlen_i,
    input  wire logic [1:0][2:0]           s_arsize_i,
    input  wire logic [1:0][1:0]           s_arburst_i,
    output logic [1:0]                     s_rvalid_o,
    input  wire logic [1:0]                s_rready_i,
    output logic [AxiBits-1:0]             s_rdata_o,
    output logic                           s_rid_o,
    output logic [1:0]                     s_rresp_o,
    output logic                           s_rlast_o,
    input  wire logic [1:0]                s_awvalid_i,
    output logic [1:0]                     s_awready_o,
    input  wire logic [1:0][39:0]          s_awaddr_i,
    input  wire logic [1:0]                s_awid_i,
    input  wire logic [1:0][7:0]           s_awlen_i,
    input  wire logic [1:0][2:0]           s_awsize_i,
    input  wire logic [1:0][1:0]           s_awburst_i,
    input  wire logic [1:0]                s_wvalid_i,
    output logic [1:0]                     s_wready_o,
    input  wire logic [1:0][AxiBits-1:0]   s_wdata_i,
    input  wire logic [1:0][AxiBits/8-1:0] s_wstrb_i,
    input  wire logic [1:0]                s_wlast_i,
    output logic [1:0]                     s_bvalid_o,
    input  wire logic [1:0]                s_bready_i,
    output logic                           s_bid_o,
    output logic [1:0]                     s_bresp_o,
    // Slave
    output logic                           m_arvalid_o,
    input  wire logic                      m_arready_i,
    output logic [39:0]                    m_araddr_o,
    output logic [1:0]                     m_arid_o,
    output logic [7:0]                     m_arlen_o,
    output logic [2:0]                     m_arsize_o,
    output logic [1:0]                     m_arburst_o,
    input  wire logic                      m_rvalid_i,
    output logic                           m_rready_o,
    input  wire logic [AxiBits-1:0]        m_rdata_i,
    input  wire logic [1:0]                m_rid_i,
    input  wire logic [1:0]                m_rresp_i,
    input  wire logic                      m_rlast_i,
    output logic                           m_awvalid_o,
    input  wire logic                      m_awready_i,
    output logic [39:0]                    m_awaddr_o,
    output logic [1:0]                     m_awid_o,
    output logic [7:0]                     m_awlen_o,
    output logic [2:0]                     m_awsize_o,
    output logic [1:0]                     m_awburst_o,
    output logic                           m_wvalid_o,
    input  wire logic                      m_wready_i,
    output logic [AxiBits-1:0]             m_wdata_o,
    output logic [AxiBits/8-1:0]           m_wstrb_o,
    output logic                           m_wlast_o,
    input  wire logic                      m_bvalid_i,
    output logic                           m_bready_o,
    input  wire logic [1:0]                m_bid_i,
    input  wire logic [1:0]                m_bresp_i
);
  // ------------------------------------------------------------------ addresses
  logic order_ready, order_valid, owner, aw_take, aw_master;
  logic [1:0] unused_ar;
  logic [2:0] unused_usage;

  axi_mux2_addr u_ar (
      .clk_i,
      .rst_ni,
      .s_valid_i(s_arvalid_i),
      .s_ready_o(s_arready_o),
      .s_addr_i (s_araddr_i),
      .s_id_i   (s_arid_i),
      .s_len_i  (s_arlen_i),
      .s_size_i (s_arsize_i),
      .s_burst_i(s_arburst_i),
      .may_i    (1'b1),
      .take_o   (unused_ar[0]),
      .master_o (unused_ar[1]),
      .m_valid_o(m_arvalid_o),
      .m_ready_i(m_arready_i),
      .m_addr_o (m_araddr_o),
      .m_id_o   (m_arid_o),
      .m_len_o  (m_arlen_o),
      .m_size_o (m_arsize_o),
      .m_burst_o(m_arburst_o)
  );

  axi_mux2_addr u_aw (
      .clk_i,
      .rst_ni,
      .s_valid_i(s_awvalid_i),
      .s_ready_o(s_awready_o),
      .s_addr_i (s_awaddr_i),
      .s_id_i   (s_awid_i),
      .s_len_i  (s_awlen_i),
      .s_size_i (s_awsize_i),
      .s_burst_i(s_awburst_i),
      .may_i    (order_ready),
      .take_o   (aw_take),
      .master_o (aw_master),
      .m_valid_o(m_awvalid_o),
      .m_ready_i(m_awready_i),
      .m_addr_o (m_awaddr_o),
      .m_id_o   (m_awid_o),
      .m_len_o  (m_awlen_o),
      .m_size_o (m_awsize_o),
      .m_burst_o(m_awburst_o)
  );

  // ------------------------------------------------------------------ write data
  // Masters of the addresses whose beats are still to come.
  prim_fifo #(
      .Width(1),
      .Depth(4)
  ) u_order (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(aw_take),
      .wready_o(order_ready),
      .wdata_i (aw_master),
      .rvalid_o(order_valid),
      .rready_i(m_wvalid_o && m_wready_i && m_wlast_o),
      .rdata_o (owner),
      .usage_o (unused_usage)
  );

  assign m_wvalid_o    = order_valid && s_wvalid_i[owner];
  assign m_wdata_o     = s_wdata_i[owner];
  assign m_wstrb_o     = s_wstrb_i[owner];
  assign m_wlast_o     = s_wlast_i[owner];
  assign s_wready_o[0] = order_valid && !owner && m_wready_i;
  assign s_wready_o[1] = order_valid && owner && m_wready_i;

  // ------------------------------------------------------------------ responses
  assign s_rvalid_o = {m_rvalid_i && m_rid_i[1], m_rvalid_i && !m_rid_i[1]};
  assign m_rready_o = s_rready_i[m_rid_i[1]];
  assign s_rdata_o  = m_rdata_i;
  assign s_rid_o    = m_rid_i[0];
  assign s_rresp_o  = m_rresp_i;
  assign s_rlast_o  = m_rlast_i;

  assign s_bvalid_o = {m_bvalid_i && m_bid_i[1], m_bvalid_i && !m_bid_i[1]};
  assign m_bready_o = s_bready_i[m_bid_i[1]];
  assign s_bid_o    = m_bid_i[0];
  assign s_bresp_o  = m_bresp_i;
endmodule

`default_nettype wire
