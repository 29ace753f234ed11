// Purpose: link_mem_wr keeps the rules of its AXI4 port, writes as many words as were asked, and ends.
// Latency: none (a proof).
// Throughput: the memory answers whenever it likes, as the rules allow; starts come when it is free.
// Back-pressure: assumed: 1 to 64 words, and no start while busy. clr_i is not used.
// Notes: a port of 128 bits; checked for a bounded number of clocks.

`default_nettype none

module fv_link_mem_wr (
    input wire logic        clk_i,
    input wire logic        start_i,
    input wire logic [39:2] addr_i,
    input wire logic [6:0]  words_i,
    input wire logic        abort_i,
    input wire logic [31:0] word_i,
    input wire logic        awready_i,
    input wire logic        wready_i,
    input wire logic        bvalid_i,
    input wire logic [1:0]  bresp_i
);
  logic started_q, second_q, rst_n, busy, done, err, fetch, awvalid, wvalid, wlast, bready, aborted_q, bad_q;
  logic [5:0] index;
  logic [39:0] awaddr;
  logic [7:0] awlen;
  logic [127:0] wdata;
  logic [15:0] wstrb;
  logic [6:0] asked_q, sent_q, here;

  // The reset lasts two clocks: some outputs are of registers that it does not reach.
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    second_q  <= started_q;
  end
  assign rst_n = started_q && second_q;

  link_mem_wr #(
      .AxiBits(128)
  ) dut (
      .clk_i,
      .rst_ni   (rst_n),
      .clr_i    (1'b0),
      .start_i,
      .addr_i,
      .words_i,
      .abort_i,
      .busy_o   (busy),
      .done_o   (done),
      .err_o    (err),
      .fetch_o  (fetch),
      .index_o  (index),
      .word_i,
      .awvalid_o(awvalid),
      .awready_i,
      .awaddr_o (awaddr),
      .awlen_o  (awlen),
      .wvalid_o (wvalid),
      .wready_i,
      .wdata_o  (wdata),
      .wstrb_o  (wstrb),
      .wlast_o  (wlast),
      .bvalid_i,
      .bready_o (bready),
      .bresp_i
  );

  axi_rules #(
      .DataBits   (144),
      .MaxWrites  (1),
      .AssertSlave(1'b0)
  ) u_port (
      .clk_i,
      .rst_ni   (rst_n),
      .arvalid_i(1'b0),
      .arready_i(1'b0),
      .arlen_i  ('0),
      .araddr_i ('0),
      .rvalid_i (1'b0),
      .rready_i (1'b0),
      .rlast_i  (1'b0),
      .rdata_i  ('0),
      .awvalid_i(awvalid),
      .awready_i,
      .awlen_i  (awlen),
      .awaddr_i (awaddr),
      .wvalid_i (wvalid),
      .wready_i,
      .wlast_i  (wlast),
      .wdata_i  ({wstrb, wdata}),
      .bvalid_i,
      .bready_i (bready),
      .bresp_i
  );

  // Words in the beat that is offered.
  assign here = 7'(wstrb[0]) + 7'(wstrb[4]) + 7'(wstrb[8]) + 7'(wstrb[12]);

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      asked_q   <= words_i;
      sent_q    <= '0;
      aborted_q <= 1'b0;
    end else begin
      if (wvalid && wready_i) sent_q <= sent_q + here;
      if (abort_i) aborted_q <= 1'b1;
    end
    bad_q <= bresp_i != '0;
  end

  always_comb begin
    if (rst_n) begin
      m_start: assume (!start_i || (!busy && words_i >= 7'd1 && words_i <= 7'd64));
      a_words: assert (!done || aborted_q || sent_q == asked_q);
      a_not_more: assert (!done || sent_q <= asked_q);
      a_whole_words: assert (!wvalid || wstrb == {{4{wstrb[12]}}, {4{wstrb[8]}}, {4{wstrb[4]}}, {4{wstrb[0]}}});
      a_error: assert (!done || err == bad_q);
      a_aligned: assert (!awvalid || awaddr[3:0] == '0);
      a_index: assert (!fetch || 7'(index) < asked_q);
    end
  end
endmodule

`default_nettype wire
