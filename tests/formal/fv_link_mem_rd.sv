// Purpose: link_mem_rd keeps the rules of its AXI4 port, hands on as many words as were asked, and ends.
// Latency: none (a proof).
// Throughput: the memory answers whenever it likes, as the rules allow; starts come when it is free.
// Back-pressure: assumed: 1 to 64 words, and no start while busy. clr_i is not used.
// Notes: a port of 128 bits; checked for a bounded number of clocks.

`default_nettype none

module fv_link_mem_rd (
    input wire logic         clk_i,
    input wire logic         start_i,
    input wire logic [39:2]  addr_i,
    input wire logic [6:0]   words_i,
    input wire logic         arready_i,
    input wire logic         rvalid_i,
    input wire logic [127:0] rdata_i,
    input wire logic [1:0]   rresp_i,
    input wire logic         rlast_i
);
  logic started_q, second_q, rst_n, busy, done, err, word_valid, arvalid, rready, bad_q;
  logic [5:0] index;
  logic [31:0] word;
  logic [39:0] araddr;
  logic [7:0] arlen;
  logic [6:0] asked_q, given_q;
  logic [39:2] first_q;

  // The reset lasts two clocks: some outputs are of registers that it does not reach.
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    second_q  <= started_q;
  end
  assign rst_n = started_q && second_q;

  link_mem_rd #(
      .AxiBits(128)
  ) dut (
      .clk_i,
      .rst_ni      (rst_n),
      .clr_i       (1'b0),
      .start_i,
      .addr_i,
      .words_i,
      .busy_o      (busy),
      .done_o      (done),
      .err_o       (err),
      .word_valid_o(word_valid),
      .word_index_o(index),
      .word_o      (word),
      .arvalid_o   (arvalid),
      .arready_i,
      .araddr_o    (araddr),
      .arlen_o     (arlen),
      .rvalid_i,
      .rready_o    (rready),
      .rdata_i,
      .rresp_i,
      .rlast_i
  );

  axi_rules #(
      .AnswerBits (130),
      .MaxReads   (1),
      .AssertSlave(1'b0)
  ) u_port (
      .clk_i,
      .rst_ni   (rst_n),
      .arvalid_i(arvalid),
      .arready_i,
      .arlen_i  (arlen),
      .araddr_i (araddr),
      .rvalid_i,
      .rready_i (rready),
      .rlast_i,
      .rdata_i  ({rresp_i, rdata_i}),
      .awvalid_i(1'b0),
      .awready_i(1'b0),
      .awlen_i  ('0),
      .awaddr_i ('0),
      .wvalid_i (1'b0),
      .wready_i (1'b0),
      .wlast_i  (1'b0),
      .wdata_i  ('0),
      .bvalid_i (1'b0),
      .bready_i (1'b0),
      .bresp_i  ('0)
  );

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      asked_q <= words_i;
      first_q <= addr_i;
      given_q <= '0;
      bad_q   <= 1'b0;
    end else begin
      if (word_valid) given_q <= given_q + 1'b1;
      if (rvalid_i && rready && rresp_i != '0) bad_q <= 1'b1;
    end
  end

  always_comb begin
    if (rst_n) begin
      m_start: assume (!start_i || (!busy && words_i >= 7'd1 && words_i <= 7'd64));
      a_words: assert (!done || given_q + 7'(word_valid) == asked_q);
      a_index: assert (!word_valid || 7'(index) == given_q);
      a_error: assert (!done || err == bad_q);
      a_first: assert (!arvalid || (araddr[39:4] == first_q[39:4] && araddr[3:0] == '0));
      // The burst ends with the beat of the last word.
      a_length: assert (!arvalid || 32'(arlen) == (32'(first_q[3:2]) + 32'(asked_q) - 1) / 4);
    end
  end
endmodule

`default_nettype wire
