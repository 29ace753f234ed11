// Purpose: sparse multiplexer of one row: selects each field's activation by its index.
// Latency: one cycle more than without it: weights leave at stage 1, activations at stage 3.
// Throughput: one block per cycle.
// Back-pressure: none.
// Notes: index 0 of a dense tile's field is its own activation (mm_candidates).

`default_nettype none

module mm_sparse_mux #(
    parameter int unsigned Choices = 16
) (
    input  wire logic                               clk_i,
    input  wire logic [2:0]                         valid_i,       // stages 0 to 2
    input  wire logic [255:0]                       weights_i,     // stage 0
    input  wire logic [31:0][3:0]                   index_i,       // stage 0
    input  wire logic [15:0]                        scale_i,       // stage 0
    input  wire logic [15:0]                        minimum_i,     // stage 0
    input  wire logic [31:0][Choices-1:0][7:0]      candidates_i,  // stage 2
    output logic [255:0]                            weights_o,     // stage 1
    output logic [15:0]                             scale_o,       // stage 1
    output logic [15:0]                             minimum_o,     // stage 1
    output logic [31:0][7:0]                        codes_o        // stage 3
);
  localparam int unsigned IndexW = $clog2(Choices);
  logic [31:0][IndexW-1:0] index1_q, index2_q;

  always_ff @(posedge clk_i) begin
    if (valid_i[0]) begin
      weights_o <= weights_i;
      scale_o   <= scale_i;
      minimum_o <= minimum_i;
    end
    for (int unsigned j = 0; j < 32; j++) begin
      if (valid_i[0]) index1_q[j] <= index_i[j][IndexW-1:0];
      if (valid_i[2]) codes_o[j] <= candidates_i[j][index2_q[j]];
    end
    if (valid_i[1]) index2_q <= index1_q;
  end

  if (IndexW < 4) begin : gen_narrow
    logic [31:0] unused_index;
    for (genvar j = 0; j < 32; j++) begin : gen_fields
      assign unused_index[j] = ^index_i[j][3:IndexW];
    end
  end
endmodule

`default_nettype wire
