// Purpose: binary32 product (num::mul): subnormals are zero, and so is a product below 2^-126
//          before rounding.
// Latency: 3 cycles (fp_pkg::FpMulLatency).
// Throughput: one product a cycle.
// Back-pressure: none. Stage k loads when en_i[k] is set; operands come from registers.

`default_nettype none

module fp_mul
  import fp_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic [2:0]  en_i,
    input  wire logic [31:0] a_i,
    input  wire logic [31:0] b_i,
    output logic [31:0]      result_o
);
  typedef struct packed {
    logic              nan;
    logic              inf;
    logic              zero;
    logic              sign;
    logic signed [9:0] exponent;  // biased, if the leading one is at bit 46
  } meta_t;

  // Stage 1: partial products of 17- and 7-bit pieces, which fit 18 x 18 signed multipliers.
  logic [16:0] a_low, b_low;
  logic [6:0]  a_high, b_high;
  logic [33:0] low_low_q;
  logic [23:0] low_high_q, high_low_q;
  logic [13:0] high_high_q;
  meta_t       meta1_q, meta2_q;
  logic [47:0] product_q;

  assign a_low  = a_i[16:0];
  assign b_low  = b_i[16:0];
  assign a_high = {1'b1, a_i[22:17]};
  assign b_high = {1'b1, b_i[22:17]};

  function automatic meta_t classify(fp32_t a, fp32_t b);
    meta_t m;
    m.nan      = is_nan(a) || is_nan(b) || (is_inf(a) && is_zero(b)) || (is_zero(a) && is_inf(b));
    m.inf      = is_inf(a) || is_inf(b);
    m.zero     = is_zero(a) || is_zero(b);
    m.sign     = a.sign ^ b.sign;
    m.exponent = $signed({2'b0, a.exponent}) + $signed({2'b0, b.exponent}) - 10'sd127;
    return m;
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[0]) begin
      low_low_q   <= {17'd0, a_low} * {17'd0, b_low};
      low_high_q  <= {7'd0, a_low} * {17'd0, b_high};
      high_low_q  <= {17'd0, a_high} * {7'd0, b_low};
      high_high_q <= {7'd0, a_high} * {7'd0, b_high};
      meta1_q     <= classify(a_i, b_i);
    end
  end

  // Stage 2: their sum.
  always_ff @(posedge clk_i) begin
    if (en_i[1]) begin
      product_q <= {high_high_q, low_low_q} +
                   {6'd0, {1'b0, low_high_q} + {1'b0, high_low_q}, 17'd0};
      meta2_q   <= meta1_q;
    end
  end

  // Stage 3: normalisation, rounding to nearest even, range.
  function automatic logic [31:0] finish(meta_t m, logic [47:0] product);
    logic signed [9:0] exponent;
    logic [22:0]       fraction;
    logic              half, rest;
    logic [31:0]       rounded;  // exponent above fraction; a carry moves up as it must
    exponent    = m.exponent + $signed({9'd0, product[47]});
    fraction    = product[47] ? product[46:24] : product[45:23];
    half        = product[47] ? product[23] : product[22];
    rest        = product[47] ? (product[22:0] != '0) : (product[21:0] != '0);
    rounded     = {exponent[8:0], fraction} + 32'(half && (rest || fraction[0]));
    if (m.nan) return Nan;
    if (m.inf) return {m.sign, Infinity};
    if (m.zero || exponent <= 0) return {m.sign, 31'd0};
    if (rounded[31:23] >= 9'd255) return {m.sign, Infinity};
    return {m.sign, rounded[30:0]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[2]) result_o <= finish(meta2_q, product_q);
  end
endmodule

`default_nettype wire
