// Purpose: one row of the multiplier array: its 32 products to the 128-bit term of num::block_term.
// Latency: 6 cycles from the products; stage k holds its result when valid_i[k] is set.
// Throughput: one block per cycle.
// Back-pressure: none.
// Notes: the activation's fields arrive from registers that the rows share, each with its stage.

`default_nettype none

module mm_row (
    input  wire logic                clk_i,
    input  wire logic [8:0]          valid_i,        // stage 0: the step register
    input  wire logic [15:0]         scale_i,        // stage 0
    input  wire logic [15:0]         minimum_i,      // stage 0
    input  wire logic signed [31:0][15:0] products_i, // stage 3
    input  wire logic signed [12:0]  sum_i,          // stage 5
    input  wire logic [6:0]          significand_i,  // stage 6
    input  wire logic [5:0]          exponent_i,     // stage 8
    output logic [127:0]             term_o          // stage 9
);
  // A binary16 number as significand, exponent and sign (num::f16_parts).
  function automatic logic signed [11:0] f16_significand(logic [15:0] x);
    logic signed [11:0] magnitude;
    magnitude = signed'({1'b0, x[14:10] != 0, x[9:0]});
    return x[15] ? -magnitude : magnitude;
  endfunction

  function automatic logic [4:0] f16_shift(logic [4:0] exponent);
    return exponent == 0 ? 5'd0 : exponent - 5'd1;
  endfunction

  // Scale and minimum travel beside the products up to stage 5.
  logic [31:0] scales_q[1:5];

  always_ff @(posedge clk_i) begin
    if (valid_i[0]) scales_q[1] <= {minimum_i, scale_i};
    for (int unsigned s = 1; s < 5; s++) begin
      if (valid_i[s]) scales_q[s+1] <= scales_q[s];
    end
  end

  // Stages 4 and 5: the sum of the products.
  logic signed [18:0] part4_q[4];
  logic signed [20:0] dot5_q;

  for (genvar p = 0; p < 4; p++) begin : gen_parts
    logic signed [18:0] sum;
    always_comb begin
      sum = '0;
      for (int unsigned j = 0; j < 8; j++) sum = sum + 19'(signed'(products_i[8*p+j]));
    end
    always_ff @(posedge clk_i) if (valid_i[3]) part4_q[p] <= sum;
  end

  always_ff @(posedge clk_i) begin
    if (valid_i[4]) dot5_q <= (21'(part4_q[0]) + 21'(part4_q[1])) + (21'(part4_q[2]) + 21'(part4_q[3]));
  end

  // Stage 6: times the weight's scale and minimum. Stage 7: times the activation's significand.
  logic signed [11:0] scale5, minimum5;
  logic signed [32:0] dot_product, dot6_q;
  logic signed [24:0] sum_product, sum6_q;
  logic signed [8:0] significand6;
  logic signed [41:0] dot_scaled, dot7_q;
  logic signed [33:0] sum_scaled, sum7_q;
  logic [4:0] dot_shift6_q, sum_shift6_q, dot_shift7_q, sum_shift7_q;

  assign scale5       = f16_significand(scales_q[5][15:0]);
  assign minimum5     = f16_significand(scales_q[5][31:16]);
  assign dot_product  = scale5 * dot5_q;
  assign sum_product  = minimum5 * sum_i;
  assign significand6 = signed'({2'b01, significand_i});
  assign dot_scaled   = dot6_q * significand6;
  assign sum_scaled   = sum6_q * significand6;

  always_ff @(posedge clk_i) begin
    if (valid_i[5]) begin
      dot6_q       <= dot_product;
      sum6_q       <= sum_product;
      dot_shift6_q <= f16_shift(scales_q[5][14:10]);
      sum_shift6_q <= f16_shift(scales_q[5][30:26]);
    end
    if (valid_i[6]) begin
      dot7_q       <= dot_scaled;
      sum7_q       <= sum_scaled;
      dot_shift7_q <= dot_shift6_q;
      sum_shift7_q <= sum_shift6_q;
    end
  end

  // Stage 8: binary16 exponents. Stage 9: the activation's exponent.
  logic signed [72:0] term8_q;
  logic signed [72:0] dot_aligned, sum_aligned;
  logic signed [127:0] term8;

  assign dot_aligned = 73'(dot7_q) <<< dot_shift7_q;
  assign sum_aligned = 73'(sum7_q) <<< sum_shift7_q;
  assign term8       = 128'(term8_q);

  always_ff @(posedge clk_i) begin
    if (valid_i[7]) term8_q <= dot_aligned + sum_aligned;
    if (valid_i[8]) term_o <= term8 <<< exponent_i;
  end
endmodule

`default_nettype wire
