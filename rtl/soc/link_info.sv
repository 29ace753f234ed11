// Purpose: the words of INFO and LINK_STATUS: constants, and the counters of the link.
// Latency: word_o follows its index in the same clock; an event is counted in the next clock.
// Throughput: one event of each kind per clock.
// Back-pressure: none.
// Notes: counters wrap at 2^32; a reset of the link clears them.

`default_nettype none

module link_info
  import lampyris_link_pkg::*;
#(
    parameter int unsigned AxiBits       = 256,
    parameter int unsigned ConfigHash    = 0,
    parameter int unsigned ClockKhz      = 50000,
    parameter int unsigned TimeoutClocks = 1048576
) (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    input  wire logic        frame_i,
    input  wire logic        bad_i,
    input  wire logic        repeat_i,
    input  wire logic        lost_i,
    input  wire logic        counters_i,  // LINK_STATUS, not INFO
    input  wire logic [2:0]  index_i,
    output logic [31:0]      word_o
);
  logic [31:0] frames_q, bad_q, repeats_q, lost_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      frames_q  <= '0;
      bad_q     <= '0;
      repeats_q <= '0;
      lost_q    <= '0;
    end else begin
      if (frame_i) frames_q <= frames_q + 1'b1;
      if (bad_i) bad_q <= bad_q + 1'b1;
      if (repeat_i) repeats_q <= repeats_q + 1'b1;
      if (lost_i) lost_q <= lost_q + 1'b1;
    end
  end

  always_comb begin
    unique case ({counters_i, index_i})
      4'd0:    word_o = InfoProtocol;
      4'd1:    word_o = 32'(ConfigHash);
      4'd2:    word_o = 32'(ClockKhz);
      4'd3:    word_o = 32'(AxiBits);
      4'd4:    word_o = 32'(TimeoutClocks);
      4'd5:    word_o = 32'(Window);
      4'd8:    word_o = frames_q;
      4'd9:    word_o = bad_q;
      4'd10:   word_o = repeats_q;
      4'd11:   word_o = lost_q;
      default: word_o = '0;
    endcase
  end
endmodule

`default_nettype wire
