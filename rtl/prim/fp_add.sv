// Purpose: binary32 sum (num::add): subnormals are zero on input and output.
// Latency: 5 cycles (fp_pkg::FpAddLatency).
// Throughput: one sum a cycle.
// Back-pressure: none. Stage k loads when en_i[k] is set.

`default_nettype none

module fp_add
  import fp_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic [4:0]  en_i,
    input  wire logic [31:0] a_i,
    input  wire logic [31:0] b_i,
    output logic [31:0]      result_o
);
  // What a result is if it is not computed: NaN or infinity.
  typedef struct packed {
    logic        nan;
    logic        inf;
    logic        sign;      // of the larger operand
    logic        zero_sign; // of an exact zero
    logic [7:0]  exponent;  // of the larger operand
  } meta_t;

  typedef struct packed {
    meta_t       meta;
    logic        subtract;
    logic [23:0] larger;
    logic [23:0] smaller;
    logic [7:0]  distance;
  } ordered_t;

  // Stage 1: larger magnitude first.
  ordered_t ordered_q;

  function automatic ordered_t order(fp32_t a, fp32_t b);
    ordered_t o;
    fp32_t    x, y;
    logic     swap;
    swap             = b[30:0] > a[30:0];
    x                = swap ? b : a;
    y                = swap ? a : b;
    o.meta.nan       = is_nan(a) || is_nan(b) || (is_inf(a) && is_inf(b) && a.sign != b.sign);
    o.meta.inf       = is_inf(x);
    o.meta.sign      = x.sign;
    o.meta.zero_sign = a.sign && b.sign;
    o.subtract       = a.sign != b.sign;
    o.meta.exponent  = x.exponent;
    o.larger         = is_zero(x) ? '0 : {1'b1, x.fraction};
    o.smaller        = is_zero(y) ? '0 : {1'b1, y.fraction};
    o.distance       = x.exponent - y.exponent;
    return o;
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[0]) ordered_q <= order(a_i, b_i);
  end

  // Stage 2: alignment with two more bits and the rest as one sticky bit.
  logic [23:0] large2_q;
  logic [26:0] small2_q;
  logic        subtract2_q;
  meta_t       meta2_q;

  function automatic logic [26:0] align(logic [23:0] significand, logic [7:0] distance);
    logic [49:0] wide;
    if (distance > 8'd25) return {26'd0, significand != '0};
    wide = {significand, 26'd0} >> distance[4:0];
    return {wide[49:24], wide[23:0] != '0};
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[1]) begin
      large2_q    <= ordered_q.larger;
      small2_q    <= align(ordered_q.smaller, ordered_q.distance);
      subtract2_q <= ordered_q.subtract;
      meta2_q     <= ordered_q.meta;
    end
  end

  // Stage 3: sum or difference.
  logic [27:0] sum_q;
  meta_t       meta3_q;

  always_ff @(posedge clk_i) begin
    if (en_i[2]) begin
      sum_q   <= subtract2_q ? {1'b0, large2_q, 3'd0} - {1'b0, small2_q}
                             : {1'b0, large2_q, 3'd0} + {1'b0, small2_q};
      meta3_q <= meta2_q;
    end
  end

  // Stage 4: normalisation to bit 27.
  typedef struct packed {
    logic [27:0] value;
    logic [4:0]  shift;
  } normal_t;
  normal_t normal_q;
  meta_t   meta4_q;

  function automatic normal_t normalise(logic [27:0] sum);
    normal_t n;
    n.value = sum;
    n.shift = '0;
    for (int unsigned level = 5; level > 0; level--) begin
      n.shift[level-1] = (n.value >> (28 - (1 << (level - 1)))) == '0;
      if (n.shift[level-1]) n.value = n.value << (1 << (level - 1));
    end
    return n;
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[3]) begin
      normal_q <= normalise(sum_q);
      meta4_q  <= meta3_q;
    end
  end

  // Stage 5: rounding to nearest even, range.
  function automatic logic [31:0] finish(meta_t m, normal_t n);
    logic signed [9:0] exponent;
    logic              round_up;
    logic [31:0]       rounded;
    exponent = $signed({2'b0, m.exponent}) + 10'sd1 - $signed({5'd0, n.shift});
    round_up = n.value[3] && (n.value[4] || n.value[2:0] != '0);
    rounded  = {exponent[8:0], n.value[26:4]} + 32'(round_up);
    if (m.nan) return Nan;
    if (m.inf) return {m.sign, Infinity};
    if (!n.value[27]) return {m.zero_sign, 31'd0};
    if (exponent <= 0) return {m.sign, 31'd0};
    if (rounded[31:23] >= 9'd255) return {m.sign, Infinity};
    return {m.sign, rounded[30:0]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[4]) result_o <= finish(meta4_q, normal_q);
  end
endmodule

`default_nettype wire
