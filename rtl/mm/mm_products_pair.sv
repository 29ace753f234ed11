// Purpose: the products of two rows of the array with one multiplier for both.
// Latency: 3 cycles.
// Throughput: one block per cycle, of both rows if `both_i`, otherwise of the row that is valid.
// Back-pressure: none.
// Notes: both rows must have one activation and codes within Wide bits: then one multiplier computes
//        a (hi 2^Shift + lo), and its product holds both. 4 bits (unsigned) take an 18 x 18
//        multiplier, 8 bits (signed) one of 27 x 18.

`default_nettype none

module mm_products_pair #(
    parameter int unsigned Wide = 4
) (
    input  wire logic                          clk_i,
    input  wire logic                          both_i,      // all stages of an instruction
    input  wire logic [1:0][2:0]               valid_i,     // of each row, stages 0 to 2
    input  wire logic [1:0][255:0]             weights_i,   // stage 0
    input  wire logic [1:0][31:0][7:0]         codes_i,     // stage 2
    output logic signed [1:0][31:0][15:0]      products_o   // stage 3
);
  // The low product takes a bit less than Wide + 8 with unsigned codes, and all with signed ones.
  localparam int unsigned Shift = Wide == 4 ? 12 : 18;
  // With the sign bit: unsigned codes above the shift, or signed ones.
  localparam int unsigned OperandW = Wide == 4 ? 17 : 27;

  logic [1:0][31:0][7:0] weights1_q;
  logic [31:0][OperandW-1:0] operand2_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned r = 0; r < 2; r++) if (valid_i[r][0]) weights1_q[r] <= weights_i[r];
  end

  for (genvar j = 0; j < 32; j++) begin : gen_products
    logic signed [7:0] lo, hi, alone, code;
    logic signed [OperandW-1:0] packed_codes, operand;
    logic signed [OperandW+7:0] product;
    logic signed [Shift-1:0] low;
    logic signed [16:0] high;

    assign lo           = weights1_q[0][j];
    assign hi           = weights1_q[1][j];
    assign alone        = valid_i[1][1] ? hi : lo;
    assign packed_codes = (OperandW'(hi) <<< Shift) + OperandW'(lo);
    always_ff @(posedge clk_i) begin
      if (valid_i[0][1] || valid_i[1][1]) begin
        operand2_q[j] <= both_i ? packed_codes : OperandW'(alone);
      end
    end

    assign operand = operand2_q[j];
    assign code    = valid_i[1][2] ? codes_i[1][j] : codes_i[0][j];
    assign product = operand * code;
    assign low     = product[Shift-1:0];
    // A negative low product borrowed one from the high one.
    assign high    = 17'(signed'(product[OperandW+7:Shift])) + 17'(low[Shift-1]);

    logic unused_high;
    assign unused_high = high[16];
    always_ff @(posedge clk_i) begin
      if (valid_i[0][2] || valid_i[1][2]) begin
        products_o[0][j] <= both_i ? 16'(low) : product[15:0];
        products_o[1][j] <= both_i ? high[15:0] : product[15:0];
      end
    end
  end
endmodule

`default_nettype wire
