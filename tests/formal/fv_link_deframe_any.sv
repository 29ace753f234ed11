// Purpose: proves that a delimiter brings link_deframe to rest out of any state, reachable or not.
// Latency: none (a proof).
// Throughput: bytes come whenever they like; slots are free whenever they like.
// Back-pressure: any. Assumed: nothing, and there is no reset: every register starts with any value.
// Notes: two clocks after the delimiter the next frame starts as the first one does after a reset.

`default_nettype none

module fv_link_deframe_any
  import lampyris_link_pkg::*;
(
    input wire logic       clk_i,
    input wire logic       valid_i,
    input wire logic [7:0] data_i,
    input wire logic       free_i
);
  logic started_q, ready, unused;
  logic open_before_q, closed_q, ended_q;
  logic [15:0] unused_words;
  logic [31:0] unused_data;

  always_ff @(posedge clk_i) started_q <= 1'b1;

  link_deframe dut (
      .clk_i,
      .rst_ni  (1'b1),
      .valid_i,
      .ready_o (ready),
      .data_i,
      .free_i,
      .we_o    (unused),
      .waddr_o (unused_words[6:0]),
      .wdata_o (unused_data),
      .commit_o(unused_words[15]),
      .words_o (unused_words[13:7]),
      .bad_o   (unused_words[14])
  );

  always_ff @(posedge clk_i) begin
    open_before_q <= dut.open_q;
    closed_q      <= started_q && valid_i && ready && data_i == Delimiter;
    ended_q       <= started_q && closed_q && open_before_q;
  end

  always_comb begin
    if (started_q) begin
      a_closed: assert (!closed_q || !dut.open_q);
      a_clean: assert (!ended_q || (dut.crc_q == CrcInitial && dut.count_q == '0 && !dut.long_q));
    end
  end
endmodule

`default_nettype wire
