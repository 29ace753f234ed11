// Purpose: 2^x, 1/x and 1/sqrt(x) by table lookup and a quadratic (num::exp2, recip, rsqrt).
// Latency: 6 cycles (fp_pkg::FpFuncLatency).
// Throughput: one value a cycle.
// Back-pressure: none. Stage k loads when en_i[k] is set; func_i travels with the value.

`default_nettype none

module fp_func
  import fp_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic [5:0]  en_i,
    input  wire logic [1:0]  func_i,    // 0 2^x, 1 1/x, 2 1/sqrt(x)
    input  wire logic [31:0] value_i,
    output logic [31:0]      result_o
);
  localparam logic [1:0] FuncExp2 = 2'd0, FuncRecip = 2'd1;
  localparam int unsigned RomDepth = 384;

  // What is known without the table; if `special`, `bits` is the result.
  typedef struct packed {
    logic              special;
    logic [31:0]       bits;
    logic              sign;
    logic              coarse;    // the table's results have one bit less (not 2^x)
    logic signed [9:0] exponent;  // biased
  } meta_t;

  typedef struct packed {
    meta_t       meta;
    logic        is_exp2;
    logic [8:0]  index;
    logic [16:0] df;
    logic [24:0] signed_significand;
    logic [2:0]  left;   // shift of 2^x's argument to 23 fractional bits
    logic [4:0]  right;
  } prepared_t;

  // Stage 1: special values; table address of 1/x and 1/sqrt(x).
  prepared_t prepared1_q;

  function automatic prepared_t prepare_exp2(fp32_t x);
    prepared_t p;
    p            = '0;
    p.is_exp2    = 1'b1;
    p.left       = (x.exponent >= 8'd127) ? x.exponent[2:0] - 3'd7 : '0;
    if (x.exponent < 8'd96) p.right = 5'd31;
    else if (x.exponent < 8'd127) p.right = 5'(8'd127 - x.exponent);
    p.signed_significand = {1'b0, !is_zero(x), is_zero(x) ? 23'd0 : x.fraction};
    if (x.sign) p.signed_significand = ~p.signed_significand + 1'b1;
    p.meta.special = 1'b1;
    if (is_nan(x)) p.meta.bits = Nan;
    else if (!x.sign && x.exponent >= 8'd134) p.meta.bits = {1'b0, Infinity};
    else if (x.sign && x[30:0] > 31'h42fc_0000) p.meta.bits = '0;
    else p.meta.special = 1'b0;
    return p;
  endfunction

  function automatic prepared_t prepare_recip(fp32_t x);
    prepared_t p;
    p               = '0;
    p.index         = {2'd1, x.fraction[22:16]};
    p.df            = {x.fraction[15:0], 1'b0};
    p.meta.coarse   = 1'b1;
    p.meta.sign     = x.sign;
    p.meta.exponent = 10'sd253 - $signed({2'b0, x.exponent});
    p.meta.special  = 1'b1;
    if (is_nan(x)) p.meta.bits = Nan;
    else if (is_zero(x)) p.meta.bits = {x.sign, Infinity};
    else if (is_inf(x)) p.meta.bits = {x.sign, 31'd0};
    else p.meta.special = 1'b0;
    return p;
  endfunction

  function automatic prepared_t prepare_rsqrt(fp32_t x);
    prepared_t p;
    logic      odd;
    odd             = !x.exponent[0];  // of the unbiased exponent
    p               = '0;
    p.index         = {2'd2, odd, x.fraction[22:17]};
    p.df            = x.fraction[16:0];
    p.meta.coarse   = 1'b1;
    // 126 - (exponent - 127 - odd) / 2
    p.meta.exponent = 10'sd190 - $signed({3'b0, 7'((x.exponent + {7'd0, !odd}) >> 1)});
    p.meta.special  = 1'b1;
    if (is_nan(x)) p.meta.bits = Nan;
    else if (is_zero(x)) p.meta.bits = {1'b0, Infinity};
    else if (x.sign) p.meta.bits = Nan;
    else if (is_inf(x)) p.meta.bits = '0;
    else p.meta.special = 1'b0;
    return p;
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[0]) begin
      unique case (func_i)
        FuncExp2:  prepared1_q <= prepare_exp2(value_i);
        FuncRecip: prepared1_q <= prepare_recip(value_i);
        default:   prepared1_q <= prepare_rsqrt(value_i);
      endcase
    end
  end

  // Stage 2: integer and fraction of 2^x's argument.
  logic [8:0]  index2_q;
  logic [16:0] df2_q;
  meta_t       meta2_q;

  // Integer part above 23 fractional bits, rounded towards minus infinity.
  function automatic logic [30:0] to_fixed(logic signed [24:0] value, logic [2:0] left,
                                           logic [4:0] right);
    logic signed [30:0] wide;
    wide = 31'(value);
    return (left != '0) ? 31'(wide << left) : 31'(wide >>> right);
  endfunction

  function automatic meta_t with_exponent(meta_t m, logic [7:0] exponent);
    meta_t r;
    r          = m;
    r.exponent = $signed({{2{exponent[7]}}, exponent}) + 10'sd127;
    return r;
  endfunction

  logic [30:0] fixed;
  assign fixed = to_fixed(prepared1_q.signed_significand, prepared1_q.left, prepared1_q.right);

  always_ff @(posedge clk_i) begin
    if (en_i[1]) begin
      if (prepared1_q.is_exp2) begin
        // Address in the table, offset in the segment.
        {index2_q, df2_q} <= {2'd0, fixed[22:0], 1'b0};
        meta2_q           <= with_exponent(prepared1_q.meta, fixed[30:23]);
      end else begin
        index2_q <= prepared1_q.index;
        df2_q    <= prepared1_q.df;
        meta2_q  <= prepared1_q.meta;
      end
    end
  end

  // The definition truncates products: their low bits have no use.
  /* verilator lint_off UNUSEDSIGNAL */

  // Stage 3: table and square.
  logic [63:0] rom[RomDepth];
  logic [63:0] segment_q;
  logic [33:0] square_q;
  logic [16:0] df3_q;
  meta_t       meta3_q;

  initial begin
    for (int unsigned i = 0; i < 128; i++) begin
      rom[i]       = lampyris_isa_pkg::Exp2Rom[i];
      rom[128 + i] = lampyris_isa_pkg::RecipRom[i];
      rom[256 + i] = lampyris_isa_pkg::RsqrtRom[i];
    end
  end

  always_ff @(posedge clk_i) begin
    if (en_i[2]) begin
      segment_q <= rom[index2_q];
      square_q  <= {17'd0, df2_q} * {17'd0, df2_q};
      df3_q     <= df2_q;
      meta3_q   <= meta2_q;
    end
  end

  // Stage 4: products; the signed 22-bit coefficient is split to fit a multiplier.
  logic signed [28:0] linear_high_q;
  logic [27:0]        linear_low_q;
  logic [30:0]        quadratic_q;
  logic [27:0]        constant4_q;
  meta_t              meta4_q;

  always_ff @(posedge clk_i) begin
    if (en_i[3]) begin
      linear_high_q <= $signed({{18{segment_q[35]}}, segment_q[35:25]}) * $signed({12'd0, df3_q});
      linear_low_q  <= {17'd0, segment_q[24:14]} * {11'd0, df3_q};
      quadratic_q   <= {17'd0, segment_q[13:0]} * {14'd0, square_q[33:17]};
      constant4_q   <= segment_q[63:36];
      meta4_q       <= meta3_q;
    end
  end

  // Stage 5: sum, each product truncated.
  logic [28:0] y_q;
  meta_t       meta5_q;

  function automatic logic [28:0] polynomial(logic [27:0] constant, logic signed [28:0] high,
                                             logic [27:0] low, logic [30:0] quadratic);
    logic signed [40:0] linear;
    linear = $signed({high[28], high, 11'd0}) + $signed({13'd0, low});
    return {1'b0, constant} + {{5{linear[40]}}, linear[40:17]} + {15'd0, quadratic[30:17]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[4]) begin
      y_q     <= polynomial(constant4_q, linear_high_q, linear_low_q, quadratic_q);
      meta5_q <= meta4_q;
    end
  end

  /* verilator lint_on UNUSEDSIGNAL */

  // Stage 6: rounding and range.
  function automatic logic [31:0] finish(meta_t m, logic [28:0] y);
    /* verilator lint_off UNUSEDSIGNAL */
    logic [28:0]       rounded;  // the lowest bits are rounded off
    /* verilator lint_on UNUSEDSIGNAL */
    logic              carry;
    logic signed [9:0] exponent;
    // The significand's leading one is at bit 27; a carry moves it to 28.
    rounded  = m.coarse ? {y[27:0], 1'b0} + 29'd8 : y + 29'd8;
    carry    = rounded[28];
    exponent = m.exponent + $signed({9'd0, carry});
    if (m.special) return m.bits;
    if (exponent <= 0) return {m.sign, 31'd0};
    if (exponent >= 255) return {m.sign, Infinity};
    return {m.sign, exponent[7:0], carry ? rounded[27:5] : rounded[26:4]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (en_i[5]) result_o <= finish(meta5_q, y_q);
  end
endmodule

`default_nettype wire
