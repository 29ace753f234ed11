// Purpose: synchronous RAM with one read and one write port, inferred as block RAM.
// Latency: read data in the cycle after re_i; it holds until the cycle after the next re_i.
// Throughput: one read and one write a cycle.
// Back-pressure: none.
// Notes: a write updates the groups of MaskWidth bits selected by wmask_i; a read of the address
//        that is being written returns the old word.

`default_nettype none

module prim_ram_1r1w #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 256,
    parameter int unsigned MaskWidth = Width
) (
    input  wire logic                         clk_i,
    input  wire logic                         we_i,
    input  wire logic [$clog2(Depth)-1:0]     waddr_i,
    input  wire logic [Width/MaskWidth-1:0]   wmask_i,
    input  wire logic [Width-1:0]             wdata_i,
    input  wire logic                         re_i,
    input  wire logic [$clog2(Depth)-1:0]     raddr_i,
    output logic [Width-1:0]                  rdata_o
);
  localparam int unsigned Groups = Width / MaskWidth;

  if (Groups * MaskWidth != Width) begin : g_check_mask
    $error("prim_ram_1r1w: Width must be a multiple of MaskWidth");
  end
  if (Depth < 2) begin : g_check_depth
    $error("prim_ram_1r1w: Depth must be at least 2");
  end

  logic [Width-1:0] mem[Depth];

  always_ff @(posedge clk_i) begin
    if (re_i) rdata_o <= mem[raddr_i];
  end

  always_ff @(posedge clk_i) begin
    if (we_i) begin
      for (int unsigned g = 0; g < Groups; g++) begin
        if (wmask_i[g]) mem[waddr_i][g*MaskWidth+:MaskWidth] <= wdata_i[g*MaskWidth+:MaskWidth];
      end
    end
  end
endmodule

`default_nettype wire
