// Purpose: the 128-bit accumulators of one row of the array, in two banks.
// Latency: read, add and write in one cycle; reads for draining are combinational.
// Throughput: one term per cycle, also to the same accumulator.
// Back-pressure: none.
// Notes: the first term of a group overwrites; draining uses the bank that takes no terms.

`default_nettype none

module mm_acc #(
    parameter int unsigned Depth = 128
) (
    input  wire logic                       clk_i,
    input  wire logic                       valid_i,
    input  wire logic                       bank_i,
    input  wire logic                       first_i,
    input  wire logic [$clog2(Depth)-1:0]   addr_i,
    input  wire logic [127:0]               term_i,
    input  wire logic                       rd_bank_i,
    input  wire logic [$clog2(Depth)-1:0]   rd_addr_i,
    output logic [127:0]                    rd_data_o
);
  logic [127:0] bank0[Depth];
  logic [127:0] bank1[Depth];
  logic [127:0] word0, word1, sum;

  // One read port a bank: the bank that takes terms uses it for them.
  assign word0     = bank0[valid_i && !bank_i ? addr_i : rd_addr_i];
  assign word1     = bank1[valid_i && bank_i ? addr_i : rd_addr_i];
  assign rd_data_o = rd_bank_i ? word1 : word0;
  assign sum       = (first_i ? 128'd0 : bank_i ? word1 : word0) + term_i;

  always_ff @(posedge clk_i) begin
    if (valid_i && !bank_i) bank0[addr_i] <= sum;
  end
  always_ff @(posedge clk_i) begin
    if (valid_i && bank_i) bank1[addr_i] <= sum;
  end
endmodule

`default_nettype wire
