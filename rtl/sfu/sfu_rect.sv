// Purpose: range of `rows` runs of `len` addresses, `stride` apart, and whether it fits a memory.
// Latency: 1 cycle (the product is registered); holds while en_i is low.
// Throughput: one range a cycle.
// Back-pressure: none.
// Notes: exact for all 40-bit operands; end_o is valid if bad_o is low.

`default_nettype none

module sfu_rect #(
    parameter int unsigned Limit = 131072  // addresses of the memory, at most 2^18
) (
    input  wire logic        clk_i,
    input  wire logic        en_i,
    input  wire logic [39:0] start_i,
    input  wire logic [39:0] len_i,
    input  wire logic [39:0] rows_less_1_i,
    input  wire logic [15:0] stride_i,
    output logic [18:0]      end_o,  // one past the last address
    output logic             bad_o
);
  logic        far_q;
  logic [19:0] run_end_q;
  logic [33:0] skipped_q;
  logic [34:0] rect_end;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      far_q     <= start_i[39:19] != '0 || len_i[39:19] != '0 ||
                   (rows_less_1_i[39:18] != '0 && stride_i != '0);
      run_end_q <= {1'b0, start_i[18:0]} + {1'b0, len_i[18:0]};
      skipped_q <= {16'd0, rows_less_1_i[17:0]} * {18'd0, stride_i};
    end
  end

  assign rect_end = {1'b0, skipped_q} + {15'd0, run_end_q};
  assign bad_o    = far_q || rect_end > 35'(Limit);
  assign end_o    = rect_end[18:0];
endmodule

`default_nettype wire
