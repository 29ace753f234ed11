// Purpose: activation buffer: blocks of 32 quantized activations (lampyris_pkg::act_block_t).
// Latency: read data in the cycle after the grant.
// Throughput: one block read and one block written a cycle.
// Back-pressure: reads: MM (always granted) before ST; writes are always accepted.

`default_nettype none

module xbuf #(
    parameter int unsigned XbufBlocks = 4096,
    localparam int unsigned XaW       = $clog2(XbufBlocks)
) (
    input  wire logic                      clk_i,
    input  wire logic                      mm_xrd_valid_i,
    input  wire logic [XaW-1:0]            mm_xrd_addr_i,
    output logic                           mm_xrd_ready_o,
    input  wire logic                      st_xrd_valid_i,
    input  wire logic [XaW-1:0]            st_xrd_addr_i,
    output logic                           st_xrd_ready_o,
    output lampyris_pkg::act_block_t       xrd_data_o,
    input  wire logic                      xwr_valid_i,
    input  wire logic [XaW-1:0]            xwr_addr_i,
    input  wire lampyris_pkg::act_block_t  xwr_data_i
);
  localparam int unsigned Width = $bits(lampyris_pkg::act_block_t);

  logic [Width-1:0] rdata;

  assign mm_xrd_ready_o = 1'b1;
  assign st_xrd_ready_o = !mm_xrd_valid_i;
  assign xrd_data_o     = rdata;

  prim_ram_1r1w #(
      .Width    (Width),
      .Depth    (XbufBlocks),
      .MaskWidth(Width)
  ) u_ram (
      .clk_i,
      .we_i   (xwr_valid_i),
      .waddr_i(xwr_addr_i),
      .wmask_i(1'b1),
      .wdata_i(xwr_data_i),
      .re_i   (mm_xrd_valid_i || st_xrd_valid_i),
      .raddr_i(mm_xrd_valid_i ? mm_xrd_addr_i : st_xrd_addr_i),
      .rdata_o(rdata)
  );
endmodule

`default_nettype wire
