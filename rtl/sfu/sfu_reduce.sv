// Purpose: reduces the lines of a row: exact sum, maximum, or maximum and its index.
// Latency: from the last line of a row: 6 cycles (sum), 3 (maximum).
// Throughput: one line a cycle; rows follow each other.
// Back-pressure: none: room for the result was reserved when the row was started.
// Notes: a maximum is by num::order_key; of equal values the first counts.

`default_nettype none

module sfu_reduce
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic [1:0]                red_i,
    input  wire logic                      valid_i,
    input  wire logic                      last_i,
    input  wire logic [SfuLanes-1:0]       mask_i,
    input  wire logic [SfuLanes-1:0][31:0] w_i,
    output logic                           valid_o,
    output logic [31:0]                    value_o,
    output logic [31:0]                    index_o
);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned IndexW = $clog2(VmemWords);
  // Sums have 40 fractional bits (num::SUM_LSB_LOG2). A term has a sign and 79 bits, a row at
  // most VmemWords terms.
  localparam int SumLsbLog2 = -40;
  localparam int unsigned TermBits = 80;
  localparam int unsigned LineBits = TermBits + LaneW;
  localparam int unsigned SumBits = TermBits + IndexW;

  // num::sum_term
  function automatic logic signed [TermBits-1:0] term(logic [31:0] w);
    logic [TermBits-1:0] magnitude;
    logic [7:0]          right;
    right     = 8'd165 - w[30:23];
    magnitude = {1'b0, 1'b1, w[22:0], 55'd0} >> right;
    if (w[30:23] > 8'd165) magnitude = {1'b0, {(TermBits - 1) {1'b1}}};
    if (w[30:23] == '0) magnitude = '0;
    return w[31] ? ~magnitude + 1'b1 : magnitude;
  endfunction

  // num::order_key; the lanes give canonical values.
  function automatic logic [31:0] order_key(logic [31:0] w);
    return w[31] ? ~w : {1'b1, w[30:0]};
  endfunction

  // ------------------------------------------------------------------ valid bits
  logic sum, valid1_q, last1_q, valid2_q, last2_q, first3_q, done3_q;
  logic [2:0] rounding_q;

  assign sum = red_i == RedSum;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      valid1_q   <= 1'b0;
      valid2_q   <= 1'b0;
      first3_q   <= 1'b1;
      done3_q    <= 1'b0;
      rounding_q <= '0;
    end else begin
      valid1_q   <= valid_i;
      valid2_q   <= valid1_q;
      done3_q    <= valid2_q && last2_q;
      rounding_q <= {rounding_q[1:0], done3_q && sum};
      if (valid2_q) first3_q <= last2_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) last1_q <= last_i;
    if (valid1_q) last2_q <= last1_q;
  end

  // ------------------------------------------------------------------ sum
  logic signed [SfuLanes-1:0][TermBits-1:0] terms_q;
  logic signed [LineBits-1:0]               line_sum_q;
  logic signed [SumBits-1:0]                sum_q;
  logic [31:0]                              rounded;

  function automatic logic signed [LineBits-1:0] add_lanes(logic [SfuLanes-1:0][TermBits-1:0] t);
    logic signed [LineBits-1:0] total;
    total = '0;
    for (int unsigned i = 0; i < SfuLanes; i++) total += LineBits'($signed(t[i]));
    return total;
  endfunction

  always_ff @(posedge clk_i) begin
    if (valid_i && sum) begin
      for (int unsigned i = 0; i < SfuLanes; i++) terms_q[i] <= mask_i[i] ? term(w_i[i]) : '0;
    end
    if (valid1_q && sum) line_sum_q <= add_lanes(terms_q);
    if (valid2_q && sum) begin
      sum_q <= SumBits'(line_sum_q) + (first3_q ? '0 : sum_q);
    end
  end

  fix_to_fp #(
      .Width  (SumBits),
      .LsbLog2(SumLsbLog2)
  ) u_round (
      .clk_i,
      .value_i (sum_q),
      .result_o(rounded)
  );

  // ------------------------------------------------------------------ maximum
  typedef struct packed {
    logic [31:0]      key;
    logic [LaneW-1:0] lane;
  } best_t;

  logic [SfuLanes-1:0][31:0] keys_q;
  best_t                     line_best_q;
  logic [31:0]               best_key_q;
  logic [IndexW-1:0]         best_index_q;
  logic [IndexW-LaneW-1:0]   line_q, line_index;

  function automatic best_t best_lane(logic [SfuLanes-1:0][31:0] keys);
    best_t best;
    best = '{key: keys[0], lane: '0};
    for (int unsigned i = 1; i < SfuLanes; i++) begin
      if (keys[i] > best.key) best = '{key: keys[i], lane: LaneW'(i)};
    end
    return best;
  endfunction

  assign line_index = first3_q ? '0 : line_q;

  always_ff @(posedge clk_i) begin
    if (valid_i && !sum) begin
      // No value has the key 0.
      for (int unsigned i = 0; i < SfuLanes; i++) keys_q[i] <= mask_i[i] ? order_key(w_i[i]) : '0;
    end
    if (valid1_q && !sum) line_best_q <= best_lane(keys_q);
    if (valid2_q && !sum) begin
      line_q <= line_index + 1'b1;
      if (first3_q || line_best_q.key > best_key_q) begin
        best_key_q   <= line_best_q.key;
        best_index_q <= {line_index, line_best_q.lane};
      end
    end
  end

  assign valid_o = sum ? rounding_q[2] : done3_q;
  assign value_o = sum ? rounded : (best_key_q[31] ? {1'b0, best_key_q[30:0]} : ~best_key_q);
  assign index_o = 32'(best_index_q);
endmodule

`default_nettype wire
