// Purpose: orders the activations of the blocks that a tile spans by the field that may select
//          them: candidate i of field j is the activation that index i names. Rows share it.
// Latency: one cycle.
// Throughput: one tile's blocks per cycle.
// Back-pressure: none.
// Notes: a dense tile has one candidate for each field, 2:4 four (shared by two fields), 4:16
//        sixteen (shared by four). Candidates that a kind of tile lacks are never selected.

`default_nettype none

module mm_candidates #(
    parameter int unsigned Sparsity   = 2,
    localparam int unsigned Choices   = Sparsity == 2 ? 16 : 4
) (
    input  wire logic                               clk_i,
    input  wire logic                               valid_i,
    input  wire logic [1:0]                         sparsity_i,
    input  wire logic [3:0][31:0][7:0]              codes_i,
    output logic [31:0][Choices-1:0][7:0]           candidates_o
);
  logic [127:0][7:0] codes;
  logic fours;

  assign codes = codes_i;
  assign fours = Sparsity == 2 && sparsity_i == 2'd2;

  // Candidate 0 differs between fields, 1 to 3 between pairs of them, the others between fours.
  logic [31:0][7:0]       first_q;
  logic [15:0][3:1][7:0]  pair_q;

  for (genvar j = 0; j < 32; j++) begin : gen_first
    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        first_q[j] <= sparsity_i == 2'd0 ? codes[j] : fours ? codes[16*(j/4)] : codes[4*(j/2)];
      end
    end
    assign candidates_o[j][0] = first_q[j];
  end

  for (genvar p = 0; p < 16; p++) begin : gen_pairs
    for (genvar i = 1; i < 4; i++) begin : gen_choices
      always_ff @(posedge clk_i) begin
        if (valid_i) pair_q[p][i] <= fours ? codes[16*(p/2)+i] : codes[4*p+i];
      end
      assign candidates_o[2*p][i]   = pair_q[p][i];
      assign candidates_o[2*p+1][i] = pair_q[p][i];
    end
  end

  if (Choices == 16) begin : gen_fours
    logic [7:0][15:4][7:0] four_q;
    for (genvar q = 0; q < 8; q++) begin : gen_quads
      for (genvar i = 4; i < 16; i++) begin : gen_choices
        always_ff @(posedge clk_i) if (valid_i) four_q[q][i] <= codes[16*q+i];
        for (genvar j = 0; j < 4; j++) begin : gen_fields
          assign candidates_o[4*q+j][i] = four_q[q][i];
        end
      end
    end
  end else begin : gen_halves
    // 2:4 alone uses two blocks.
    logic unused_codes;
    assign unused_codes = ^codes[127:64];
  end
endmodule

`default_nettype wire
