// Purpose: proves axi_rd_arb: no address lost, changed or withdrawn; beats go to who asked; order of the two.
// Latency: none (a proof).
// Throughput: masters and memory do whatever they like.
// Back-pressure: any. Assumed: nothing, not even that offered addresses stay.
// Notes: a beat carries eight bits instead of a port's width; the module only passes them on.

`default_nettype none

module fv_axi_rd_arb (
    input wire logic             clk_i,
    input wire logic             reset_i,
    input wire logic [1:0]       arvalid_i,
    input wire logic [1:0][47:0] ar_i,
    input wire logic [1:0]       rready_i,
    input wire logic             m_arready_i,
    input wire logic             m_rvalid_i,
    input wire logic             m_rid_i,
    input wire logic [10:0]      m_r_i
);
  logic started_q, rst_n, m_arvalid, m_arid, m_rready;
  logic [1:0] arready, rvalid;
  logic [1:0][10:0] r;
  logic [47:0] m_ar;
  logic [1:0][47:0] head;
  logic [1:0][1:0] count;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  axi_rd_arb #(
      .AxiBits(8)
  ) dut (
      .clk_i,
      .rst_ni      (rst_n),
      .ld_arvalid_i(arvalid_i[0]),
      .ld_arready_o(arready[0]),
      .ld_araddr_i (ar_i[0][39:0]),
      .ld_arlen_i  (ar_i[0][47:40]),
      .ld_rvalid_o (rvalid[0]),
      .ld_rready_i (rready_i[0]),
      .ld_rdata_o  (r[0][7:0]),
      .ld_rresp_o  (r[0][9:8]),
      .ld_rlast_o  (r[0][10]),
      .ic_arvalid_i(arvalid_i[1]),
      .ic_arready_o(arready[1]),
      .ic_araddr_i (ar_i[1][39:0]),
      .ic_arlen_i  (ar_i[1][47:40]),
      .ic_rvalid_o (rvalid[1]),
      .ic_rready_i (rready_i[1]),
      .ic_rdata_o  (r[1][7:0]),
      .ic_rresp_o  (r[1][9:8]),
      .ic_rlast_o  (r[1][10]),
      .m_arvalid_o (m_arvalid),
      .m_arready_i,
      .m_araddr_o  (m_ar[39:0]),
      .m_arlen_o   (m_ar[47:40]),
      .m_arid_o    (m_arid),
      .m_rvalid_i,
      .m_rready_o  (m_rready),
      .m_rdata_i   (m_r_i[7:0]),
      .m_rresp_i   (m_r_i[9:8]),
      .m_rlast_i   (m_r_i[10]),
      .m_rid_i
  );

  for (genvar k = 0; k < 2; k++) begin : g_master
    fv_queue #(
        .Width(48),
        .Depth(1)
    ) u_model (
        .clk_i,
        .rst_ni (rst_n),
        .push_i (arvalid_i[k] && arready[k]),
        .data_i (ar_i[k]),
        .pop_i  (m_arvalid && m_arready_i && m_arid == 1'(k)),
        .head_o (head[k]),
        .count_o(count[k])
    );
  end

  fv_stable #(
      .Width(49)
  ) u_ar (
      .clk_i,
      .rst_ni   (rst_n),
      .valid_i  (m_arvalid),
      .ready_i  (m_arready_i),
      .payload_i({m_arid, m_ar})
  );

  always_comb begin
    if (rst_n) begin
      a_address: assert (!m_arvalid || (count[m_arid] != '0 && m_ar == head[m_arid]));
      a_none_lost: assert (m_arvalid == (count != '0));
      a_one: assert (count[0] + count[1] <= 2'd1);
      a_cache_first: assert (!(arvalid_i[1] && arvalid_i[0] && arready[0]));
      a_full_speed: assert (!m_arready_i || !arvalid_i[1] || arready[1]);
      a_beat_there: assert (!m_rvalid_i || (rvalid[m_rid_i] && r[m_rid_i] == m_r_i));
      a_beat_not_elsewhere: assert (!rvalid[!m_rid_i] && (m_rvalid_i || rvalid == '0));
      a_beat_taken: assert (m_rready == rready_i[m_rid_i]);
    end
  end
endmodule

`default_nettype wire
