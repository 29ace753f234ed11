// Purpose: one element-wise lane: w = func(x * y + z), each part optional.
// Latency: 3 cycles for the product, 5 for the sum, 6 for 2^x, 1/x and 1/sqrt(x); parts that are
//          not used take none.
// Throughput: one element a cycle.
// Back-pressure: none; the enables of the stages come from sfu_pipe.

`default_nettype none

module sfu_lane
  import sfu_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic        use_mul_i,
    input  wire logic        use_add_i,
    input  wire logic [2:0]  func_i,
    input  wire logic [2:0]  mul_en_i,
    input  wire logic [4:0]  add_en_i,
    input  wire logic [5:0]  func_en_i,
    input  wire logic [31:0] x_i,
    input  wire logic [31:0] y_i,
    input  wire logic [31:0] z_i,
    output logic [31:0]      w_o
);
  logic [31:0] mul_result, add_result, func_result;
  logic [31:0] addend1_q, addend2_q, addend3_q;
  logic [31:0] u, v;

  fp_mul u_mul (
      .clk_i,
      .en_i    (mul_en_i),
      .a_i     (x_i),
      .b_i     (y_i),
      .result_o(mul_result)
  );

  // The addend waits for the product.
  always_ff @(posedge clk_i) begin
    if (mul_en_i[0]) addend1_q <= z_i;
    if (mul_en_i[1]) addend2_q <= addend1_q;
    if (mul_en_i[2]) addend3_q <= addend2_q;
  end

  assign u = use_mul_i ? mul_result : x_i;

  fp_add u_add (
      .clk_i,
      .en_i    (add_en_i),
      .a_i     (u),
      .b_i     (use_mul_i ? addend3_q : z_i),
      .result_o(add_result)
  );

  assign v = use_add_i ? add_result : u;

  fp_func u_func (
      .clk_i,
      .en_i    (func_en_i),
      .func_i  (func_i[1:0] - 2'd1),
      .value_i (v),
      .result_o(func_result)
  );

  always_comb begin
    if (func_i == FuncNone) w_o = fp_pkg::canonical(v);
    else if (func_i == FuncRelu) w_o = fp_pkg::relu(v);
    else w_o = func_result;
  end
endmodule

`default_nettype wire
