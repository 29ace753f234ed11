// Purpose: signed fixed point to binary32, rounded once to nearest even (num::fixed_to_f32).
// Latency: 3 cycles (FixToFpLatency).
// Throughput: one value a cycle.
// Back-pressure: none; validity travels outside.
// Notes: the value is value_i * 2^LsbLog2; zero gives +0. The range keeps results normal.

`default_nettype none

module fix_to_fp #(
    parameter int unsigned Width = 128,
    parameter int LsbLog2 = -62
) (
    input  wire logic             clk_i,
    input  wire logic [Width-1:0] value_i,
    output logic [31:0]           result_o
);
  // Stage 2 leaves the leading one within this many bits of the top.
  localparam int unsigned FineBits = 8;
  // Bits that stage 3 may still need: the fine shift, significand and rounding bit.
  localparam int unsigned KeptBits = FineBits - 1 + 25;
  // Biased exponent of a value whose leading one is at the top.
  localparam int TopExponent = LsbLog2 + int'(Width) - 1 + 127;

  if (Width < 66 || Width > 128) begin : g_check_width
    $error("fix_to_fp: Width must be 66 to 128");
  end
  if (LsbLog2 < -126 || TopExponent > 253) begin : g_check_range
    $error("fix_to_fp: the range of values must stay within normal numbers");
  end

  // Stage 1: sign and magnitude.
  logic             sign1_q;
  logic [Width-1:0] magnitude1_q;

  always_ff @(posedge clk_i) begin
    sign1_q      <= value_i[Width-1];
    magnitude1_q <= value_i[Width-1] ? (~value_i + 1'b1) : value_i;
  end

  // Stage 2: coarse normalisation in steps of 64, 32, 16 and 8.
  logic [Width-1:0]    shifted;
  logic [3:0]          coarse;
  logic                sign2_q, sticky2_q;
  logic [3:0]          coarse2_q;
  logic [KeptBits-1:0] kept2_q;

  always_comb begin
    shifted = magnitude1_q;
    coarse  = '0;
    for (int unsigned level = 4; level > 0; level--) begin
      coarse[level-1] = (shifted >> (Width - (FineBits << (level - 1)))) == '0;
      if (coarse[level-1]) shifted = shifted << (FineBits << (level - 1));
    end
  end

  always_ff @(posedge clk_i) begin
    sign2_q   <= sign1_q;
    coarse2_q <= coarse;
    kept2_q   <= shifted[Width-1-:KeptBits];
    sticky2_q <= |shifted[Width-KeptBits-1:0];
  end

  // Stage 3: fine normalisation, rounding.
  logic [KeptBits-1:0] fine_shifted;
  logic [2:0]          fine;
  logic [7:0]          exponent;
  logic                round_up;

  always_comb begin
    fine_shifted = kept2_q;
    fine         = '0;
    for (int unsigned level = 3; level > 0; level--) begin
      fine[level-1] = (fine_shifted >> (KeptBits - (1 << (level - 1)))) == '0;
      if (fine[level-1]) fine_shifted = fine_shifted << (1 << (level - 1));
    end
  end

  assign exponent = 8'(TopExponent) - {1'b0, coarse2_q, fine};
  // Significand, rounding bit and rest of fine_shifted; ties go to even.
  assign round_up = fine_shifted[KeptBits-25] &&
                    (fine_shifted[KeptBits-24] || sticky2_q || fine_shifted[KeptBits-26:0] != '0);

  always_ff @(posedge clk_i) begin
    // A carry out of the fraction moves into the exponent, as it must.
    if (!fine_shifted[KeptBits-1]) result_o <= '0;
    else result_o <= {sign2_q, {exponent, fine_shifted[KeptBits-2-:23]} + 31'(round_up)};
  end
endmodule

`default_nettype wire
