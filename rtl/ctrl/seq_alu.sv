// Purpose: the sequencer's 40-bit arithmetic (add, sub, mul, and, shl, shr, min, max).
// Latency: none for all but mul; mul takes 8 cycles with one 17 x 17 multiplier.
// Throughput: one operation at a time.
// Back-pressure: req_i and the operands are held until done_o; the result is valid with done_o.
// Notes: results wrap modulo 2^40; shift amounts are the low 6 bits of b_i.

`default_nettype none

module seq_alu (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    input  wire logic        req_i,
    input  wire logic [2:0]  func_i,
    input  wire logic [39:0] a_i,
    input  wire logic [39:0] b_i,
    output logic             done_o,
    output logic [39:0]      result_o
);
  localparam logic [2:0] FuncAdd = 3'd0, FuncSub = 3'd1, FuncMul = 3'd2, FuncAnd = 3'd3;
  localparam logic [2:0] FuncShl = 3'd4, FuncShr = 3'd5, FuncMin = 3'd6;
  localparam logic [2:0] LastStep = 3'd7;

  // The product modulo 2^40 is the sum of the products of 17-bit pieces i and j with i + j <= 2.
  logic [2:0]  step_q;
  logic [16:0] piece_a, piece_b;
  logic [16:0] piece_a_q, piece_b_q;
  logic [1:0]  weight, weight_q;
  logic [33:0] product;
  logic [39:0] term, acc_q;
  logic        is_mul;

  assign is_mul = func_i == FuncMul;

  always_comb begin
    piece_a = a_i[16:0];
    piece_b = b_i[16:0];
    weight  = 2'd0;
    unique case (step_q)
      3'd1: begin
        piece_b = b_i[33:17];
        weight  = 2'd1;
      end
      3'd2: begin
        piece_a = a_i[33:17];
        weight  = 2'd1;
      end
      3'd3: begin
        piece_b = {11'd0, b_i[39:34]};
        weight  = 2'd2;
      end
      3'd4: begin
        piece_a = a_i[33:17];
        piece_b = b_i[33:17];
        weight  = 2'd2;
      end
      3'd5: begin
        piece_a = {11'd0, a_i[39:34]};
        weight  = 2'd2;
      end
      default: ;
    endcase
  end

  assign product = {17'd0, piece_a_q} * {17'd0, piece_b_q};
  always_comb begin
    unique case (weight_q)
      2'd0:    term = {6'd0, product};
      2'd1:    term = {product[22:0], 17'd0};
      default: term = {product[5:0], 34'd0};
    endcase
  end

  always_ff @(posedge clk_i) begin
    piece_a_q <= piece_a;
    piece_b_q <= piece_b;
    weight_q  <= weight;
    if (step_q == 3'd1) acc_q <= term;
    else if (step_q <= 3'd6) acc_q <= acc_q + term;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !req_i || !is_mul || step_q == LastStep) step_q <= 3'd0;
    else step_q <= step_q + 3'd1;
  end

  always_comb begin
    unique case (func_i)
      FuncAdd: result_o = a_i + b_i;
      FuncSub: result_o = a_i - b_i;
      FuncMul: result_o = acc_q;
      FuncAnd: result_o = a_i & b_i;
      FuncShl: result_o = a_i << b_i[5:0];
      FuncShr: result_o = a_i >> b_i[5:0];
      FuncMin: result_o = (a_i < b_i) ? a_i : b_i;
      default: result_o = (a_i < b_i) ? b_i : a_i;
    endcase
  end

  assign done_o = req_i && (!is_mul || step_q == LastStep);
endmodule

`default_nettype wire
