// Purpose: the 32 products of one row of the array: codes of weights times codes of activations.
// Latency: 3 cycles.
// Throughput: one block per cycle.
// Back-pressure: none.
// Notes: a multiplier for each product; mm_products_pair shares them between two rows.

`default_nettype none

module mm_products (
    input  wire logic                     clk_i,
    input  wire logic [2:0]               valid_i,     // stages 0 to 2
    input  wire logic [255:0]             weights_i,   // stage 0
    input  wire logic [31:0][7:0]         codes_i,     // stage 2
    output logic signed [31:0][15:0]      products_o   // stage 3
);
  logic [31:0][7:0] weights1_q, weights2_q;

  // Weights wait for the activation block.
  always_ff @(posedge clk_i) begin
    if (valid_i[0]) weights1_q <= weights_i;
    if (valid_i[1]) weights2_q <= weights1_q;
  end

  for (genvar j = 0; j < 32; j++) begin : gen_products
    logic signed [7:0] weight, code;
    logic signed [15:0] product;
    assign weight  = weights2_q[j];
    assign code    = codes_i[j];
    assign product = weight * code;
    always_ff @(posedge clk_i) if (valid_i[2]) products_o[j] <= product;
  end
endmodule

`default_nettype wire
