// Purpose: proves that each master of axi_mux2 sees a legal port if memory is one, and W follows AW.
// Latency: none (a proof).
// Throughput: masters and memory do whatever the rules of axi_rules.sv allow.
// Back-pressure: any. Assumed: the rules, for masters at their ports and for memory per master.
// Notes: beats of eight bits, bursts of one or two, addresses of one bit; fv_axi_mux2_addr.sv proves
//        that addresses pass whole. Checked for a bounded number of clocks.

`default_nettype none

module fv_axi_mux2 (
    input wire logic            clk_i,
    input wire logic            reset_i,
    input wire logic [1:0]      s_arvalid_i,
    input wire logic [1:0]      s_araddr_i,
    input wire logic [1:0]      s_arlen_i,
    input wire logic [1:0]      s_rready_i,
    input wire logic [1:0]      s_awvalid_i,
    input wire logic [1:0]      s_awaddr_i,
    input wire logic [1:0]      s_awlen_i,
    input wire logic [1:0]      s_wvalid_i,
    input wire logic [1:0][7:0] s_wdata_i,
    input wire logic [1:0]      s_wstrb_i,
    input wire logic [1:0]      s_wlast_i,
    input wire logic [1:0]      s_bready_i,
    input wire logic            m_arready_i,
    input wire logic            m_rvalid_i,
    input wire logic [7:0]      m_rdata_i,
    input wire logic [1:0]      m_rid_i,
    input wire logic [1:0]      m_rresp_i,
    input wire logic            m_rlast_i,
    input wire logic            m_awready_i,
    input wire logic            m_wready_i,
    input wire logic            m_bvalid_i,
    input wire logic [1:0]      m_bid_i,
    input wire logic [1:0]      m_bresp_i
);
  logic started_q, rst_n;
  logic [1:0] s_arready, s_rvalid, s_awready, s_wready, s_bvalid;
  logic [1:0][39:0] s_araddr, s_awaddr;
  logic [1:0][7:0] s_arlen, s_awlen;
  logic [7:0] s_rdata, m_wdata, m_arlen, m_awlen;
  logic [1:0] s_rresp, s_bresp, m_arid, m_awid, m_arburst, m_awburst;
  logic s_rid, s_rlast, s_bid, m_arvalid, m_rready, m_awvalid, m_wvalid, m_wstrb, m_wlast, m_bready;
  logic [39:0] m_araddr, m_awaddr;
  logic [2:0] m_arsize, m_awsize;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  for (genvar k = 0; k < 2; k++) begin : g_in
    assign s_araddr[k] = 40'(s_araddr_i[k]);
    assign s_awaddr[k] = 40'(s_awaddr_i[k]);
    assign s_arlen[k]  = 8'(s_arlen_i[k]);
    assign s_awlen[k]  = 8'(s_awlen_i[k]);
  end

  axi_mux2 #(
      .AxiBits(8)
  ) dut (
      .clk_i,
      .rst_ni     (rst_n),
      .s_arvalid_i,
      .s_arready_o(s_arready),
      .s_araddr_i (s_araddr),
      .s_arid_i   (2'b00),
      .s_arlen_i  (s_arlen),
      .s_arsize_i ('0),
      .s_arburst_i('0),
      .s_rvalid_o (s_rvalid),
      .s_rready_i,
      .s_rdata_o  (s_rdata),
      .s_rid_o    (s_rid),
      .s_rresp_o  (s_rresp),
      .s_rlast_o  (s_rlast),
      .s_awvalid_i,
      .s_awready_o(s_awready),
      .s_awaddr_i (s_awaddr),
      .s_awid_i   (2'b00),
      .s_awlen_i  (s_awlen),
      .s_awsize_i ('0),
      .s_awburst_i('0),
      .s_wvalid_i,
      .s_wready_o (s_wready),
      .s_wdata_i,
      .s_wstrb_i,
      .s_wlast_i,
      .s_bvalid_o (s_bvalid),
      .s_bready_i,
      .s_bid_o    (s_bid),
      .s_bresp_o  (s_bresp),
      .m_arvalid_o(m_arvalid),
      .m_arready_i,
      .m_araddr_o (m_araddr),
      .m_arid_o   (m_arid),
      .m_arlen_o  (m_arlen),
      .m_arsize_o (m_arsize),
      .m_arburst_o(m_arburst),
      .m_rvalid_i,
      .m_rready_o (m_rready),
      .m_rdata_i,
      .m_rid_i,
      .m_rresp_i,
      .m_rlast_i,
      .m_awvalid_o(m_awvalid),
      .m_awready_i,
      .m_awaddr_o (m_awaddr),
      .m_awid_o   (m_awid),
      .m_awlen_o  (m_awlen),
      .m_awsize_o (m_awsize),
      .m_awburst_o(m_awburst),
      .m_wvalid_o (m_wvalid),
      .m_wready_i,
      .m_wdata_o  (m_wdata),
      .m_wstrb_o  (m_wstrb),
      .m_wlast_o  (m_wlast),
      .m_bvalid_i,
      .m_bready_o (m_bready),
      .m_bid_i,
      .m_bresp_i
  );

  // ------------------------------------------------------------------ whose beats are due on W
  logic aw_waits_q, offered, oldest, owner;
  logic [2:0] due;

  always_ff @(posedge clk_i) aw_waits_q <= rst_n && m_awvalid && !m_awready_i;
  assign offered = m_awvalid && !aw_waits_q;
  assign owner   = due == '0 ? m_awid[1] : oldest;

  fv_queue #(
      .Width(1),
      .Depth(5)
  ) u_order (
      .clk_i,
      .rst_ni (rst_n),
      .push_i (offered),
      .data_i (m_awid[1]),
      .pop_i  (m_wvalid && m_wready_i && m_wlast),
      .head_o (oldest),
      .count_o(due)
  );

  // ------------------------------------------------------------------ ports
  for (genvar k = 0; k < 2; k++) begin : g_master
    axi_rules #(
        .LenBits     (1),
        .AddrBits    (1),
        .DataBits    (9),
        .AnswerBits  (10),
        .AssertMaster(1'b0)
    ) u_port (
        .clk_i,
        .rst_ni   (rst_n),
        .arvalid_i(s_arvalid_i[k]),
        .arready_i(s_arready[k]),
        .arlen_i  (s_arlen_i[k]),
        .araddr_i (s_araddr_i[k]),
        .rvalid_i (s_rvalid[k]),
        .rready_i (s_rready_i[k]),
        .rlast_i  (s_rlast),
        .rdata_i  ({s_rresp, s_rdata}),
        .awvalid_i(s_awvalid_i[k]),
        .awready_i(s_awready[k]),
        .awlen_i  (s_awlen_i[k]),
        .awaddr_i (s_awaddr_i[k]),
        .wvalid_i (s_wvalid_i[k]),
        .wready_i (s_wready[k]),
        .wlast_i  (s_wlast_i[k]),
        .wdata_i  ({s_wstrb_i[k], s_wdata_i[k]}),
        .bvalid_i (s_bvalid[k]),
        .bready_i (s_bready_i[k]),
        .bresp_i  (s_bresp)
    );

    // What memory sees of this master.
    axi_rules #(
        .LenBits    (1),
        .AddrBits   (40),
        .DataBits   (9),
        .AnswerBits (12),
        .AssertSlave(1'b0)
    ) u_memory (
        .clk_i,
        .rst_ni   (rst_n),
        .arvalid_i(m_arvalid && m_arid[1] == 1'(k)),
        .arready_i(m_arready_i),
        .arlen_i  (m_arlen[0]),
        .araddr_i (m_araddr),
        .rvalid_i (m_rvalid_i && m_rid_i[1] == 1'(k)),
        .rready_i (m_rready),
        .rlast_i  (m_rlast_i),
        .rdata_i  ({m_rid_i, m_rresp_i, m_rdata_i}),
        .awvalid_i(m_awvalid && m_awid[1] == 1'(k)),
        .awready_i(m_awready_i),
        .awlen_i  (m_awlen[0]),
        .awaddr_i (m_awaddr),
        .wvalid_i (m_wvalid && owner == 1'(k)),
        .wready_i (m_wready_i),
        .wlast_i  (m_wlast),
        .wdata_i  ({m_wstrb, m_wdata}),
        .bvalid_i (m_bvalid_i && m_bid_i[1] == 1'(k)),
        .bready_i (m_bready),
        .bresp_i  (m_bresp_i)
    );
  end

  always_comb begin
    if (rst_n) begin
      a_w_known: assert (!m_wvalid || due != '0 || offered);
      a_w_order: assert (!m_wvalid || (s_wvalid_i[owner] && m_wdata == s_wdata_i[owner] &&
                         m_wstrb == s_wstrb_i[owner] && m_wlast == s_wlast_i[owner]));
      a_w_taken: assert (s_wready[owner] == (m_wready_i && (due != '0 || offered)) || !s_wvalid_i[owner]);
      a_w_not_other: assert (!s_wready[!owner]);
      a_r: assert (!m_rvalid_i || (s_rvalid[m_rid_i[1]] && !s_rvalid[!m_rid_i[1]] &&
                   m_rready == s_rready_i[m_rid_i[1]] && s_rid == m_rid_i[0] &&
                   {s_rresp, s_rdata} == {m_rresp_i, m_rdata_i}));
      a_b: assert (!m_bvalid_i || (s_bvalid[m_bid_i[1]] && !s_bvalid[!m_bid_i[1]] &&
                   m_bready == s_bready_i[m_bid_i[1]] && s_bid == m_bid_i[0] && s_bresp == m_bresp_i));
      a_fields: assert (m_arlen[7:1] == '0 || !m_arvalid);
    end
  end
endmodule

`default_nettype wire
