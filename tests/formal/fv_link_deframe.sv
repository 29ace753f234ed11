// Purpose: proves link_deframe against a plain decoder: which frames count, what is written, what is dropped.
// Latency: none (a proof).
// Throughput: bytes come whenever they like; slots are free whenever they like.
// Back-pressure: any. Assumed: nothing.
// Notes: the decoder here knows whole bytes only, keeps the CRC beside them and judges a frame at
//        its end. The time without a byte is eight clocks instead of 2^22.

`default_nettype none

module fv_link_deframe
  import lampyris_link_pkg::*;
#(
    parameter int unsigned IdleLog2 = 3
) (
    input wire logic       clk_i,
    input wire logic       reset_i,
    input wire logic       valid_i,
    input wire logic [7:0] data_i,
    input wire logic       free_i
);
  logic started_q, rst_n, ready, we, commit, bad;
  logic [6:0] waddr, words;
  logic [31:0] wdata;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  link_deframe #(
      .IdleLog2(IdleLog2)
  ) dut (
      .clk_i,
      .rst_ni  (rst_n),
      .valid_i,
      .ready_o (ready),
      .data_i,
      .free_i,
      .we_o    (we),
      .waddr_o (waddr),
      .wdata_o (wdata),
      .commit_o(commit),
      .words_o (words),
      .bad_o   (bad)
  );

  // ------------------------------------------------------------------ bytes to decoded bytes
  logic take, quiet, frame_q, zero_q, out, ends;
  logic [7:0] left_q, decoded;
  logic [IdleLog2:0] silence_q;

  assign take    = valid_i && ready;
  assign quiet   = !take && frame_q && 32'(silence_q) == 2 ** IdleLog2;
  assign ends    = frame_q && (quiet || (take && data_i == Delimiter));
  assign out     = take && frame_q && data_i != Delimiter && (left_q != '0 || zero_q);
  assign decoded = left_q == '0 ? 8'h00 : data_i;

  always_ff @(posedge clk_i) begin
    if (!rst_n) begin
      frame_q   <= 1'b0;
    end else begin
      if (take) frame_q <= data_i != Delimiter;
      else if (quiet) frame_q <= 1'b0;
    end
    // The first byte of a frame, and every one after a full group, says how long the next group is.
    if (take) begin
      left_q <= !frame_q || left_q == '0 ? data_i - 8'd1 : left_q - 8'd1;
      if (!frame_q || left_q == '0) zero_q <= data_i != 8'hff;
    end
    silence_q <= frame_q && !valid_i && !quiet ? silence_q + 1'b1 : '0;
  end

  // ------------------------------------------------------------------ the same, a clock later
  logic out_q, ends_q, whole_q;
  logic [7:0] decoded_q;

  always_ff @(posedge clk_i) begin
    out_q  <= rst_n && out;
    ends_q <= rst_n && ends;
    // A frame that ends in the middle of a group was cut.
    if (ends) whole_q <= !quiet && left_q == '0;
    if (take) decoded_q <= decoded;
  end

  // ------------------------------------------------------------------ frames
  logic [31:0] crc_q, last_q;
  logic [8:0] count_q;
  logic long_q, judged_q, judge_q, verdict_q, good_q, word_q;
  logic [6:0] words_q, addr_q;

  always_ff @(posedge clk_i) begin
    judge_q  <= rst_n && ends_q;
    judged_q <= rst_n && judge_q;
    word_q   <= rst_n && out_q && !long_q && 32'(count_q) != MaxBody && count_q[1:0] == 2'd3;
    if (out_q) begin
      last_q <= {decoded_q, last_q[31:8]};
      addr_q <= count_q[8:2];
    end
    verdict_q <= good_q;
    if (ends_q) begin
      good_q  <= whole_q && !long_q && crc_q == CrcResidue && count_q[1:0] == '0 &&
                 32'(count_q) >= RequestHeader + 4;
      words_q <= 7'((32'(count_q) - RequestHeader - 4) / 4);
    end
    if (!rst_n || ends_q) begin
      crc_q   <= CrcInitial;
      count_q <= '0;
      long_q  <= 1'b0;
    end else if (out_q) begin
      crc_q <= crc_byte(crc_q, decoded_q);
      if (32'(count_q) == MaxBody) long_q <= 1'b1;
      else count_q <= count_q + 1'b1;
    end
  end

  always_comb begin
    if (rst_n) begin
      a_ready: assert (ready == free_i);
      a_commit: assert (commit == (judged_q && verdict_q));
      a_bad: assert (bad == (judged_q && !verdict_q));
      a_words: assert (!commit || 32'(words) <= MaxWords + 1);
      a_write: assert (we == word_q);
      a_data: assert (!we || (wdata == last_q && waddr == addr_q));
      a_in_slot: assert (!we || 32'(waddr) < MaxBody / 4);
      a_crc: assert (!ends_q || dut.crc_q == crc_q);
    end
  end

  for (genvar i = 0; i < 7; i++) begin : g_bit
    always_comb begin
      if (rst_n) a_length: assert (!judge_q || words[i] == words_q[i]);
    end
  end
endmodule

`default_nettype wire
