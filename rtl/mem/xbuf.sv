// Purpose: activation buffer: blocks of 32 quantized activations (lampyris_pkg::act_block_t).
// Latency: read data in the cycle after the grant.
// Throughput: one read and one block written a cycle.
// Back-pressure: reads: MM (always granted) before ST; writes are always accepted.
// Notes: with Sparsity there are four banks, by the low bits of the address, and a read brings
//        block a as number 0; if a is even, block a + 1 as number 1; if it is a multiple of 4, blocks
//        a + 2 and a + 3 as numbers 2 and 3. Other numbers hold something else.

`default_nettype none

module xbuf #(
    parameter int unsigned XbufBlocks = 4096,
    parameter int unsigned Sparsity   = 2,
    localparam int unsigned XaW       = $clog2(XbufBlocks),
    localparam int unsigned Banks     = Sparsity == 0 ? 1 : 4
) (
    input  wire logic                             clk_i,
    input  wire logic                             mm_xrd_valid_i,
    input  wire logic [XaW-1:0]                   mm_xrd_addr_i,
    output logic                                  mm_xrd_ready_o,
    input  wire logic                             st_xrd_valid_i,
    input  wire logic [XaW-1:0]                   st_xrd_addr_i,
    output logic                                  st_xrd_ready_o,
    output lampyris_pkg::act_block_t [Banks-1:0]  xrd_data_o,
    input  wire logic                             xwr_valid_i,
    input  wire logic [XaW-1:0]                   xwr_addr_i,
    input  wire lampyris_pkg::act_block_t         xwr_data_i
);
  localparam int unsigned Width = $bits(lampyris_pkg::act_block_t);
  localparam int unsigned BankW = $clog2(Banks);

  logic [Banks-1:0][Width-1:0] rdata;
  logic                        read;
  logic [XaW-1:0]              raddr;

  assign mm_xrd_ready_o = 1'b1;
  assign st_xrd_ready_o = !mm_xrd_valid_i;
  assign read           = mm_xrd_valid_i || st_xrd_valid_i;
  assign raddr          = mm_xrd_valid_i ? mm_xrd_addr_i : st_xrd_addr_i;

  for (genvar b = 0; b < Banks; b++) begin : gen_banks
    prim_ram_1r1w #(
        .Width    (Width),
        .Depth    (XbufBlocks / Banks),
        .MaskWidth(Width)
    ) u_ram (
        .clk_i,
        .we_i   (xwr_valid_i && (Banks == 1 || xwr_addr_i[1:0] == 2'(b))),
        .waddr_i(xwr_addr_i[XaW-1:BankW]),
        .wmask_i(1'b1),
        .wdata_i(xwr_data_i),
        .re_i   (read),
        .raddr_i(raddr[XaW-1:BankW]),
        .rdata_o(rdata[b])
    );
  end

  if (Banks == 1) begin : gen_whole
    assign xrd_data_o = rdata;
  end else begin : gen_aligned
    logic [1:0] low_q;
    always_ff @(posedge clk_i) if (read) low_q <= raddr[1:0];
    assign xrd_data_o[0] = rdata[low_q];
    assign xrd_data_o[1] = rdata[{low_q[1], 1'b1}];
    assign xrd_data_o[2] = rdata[2];
    assign xrd_data_o[3] = rdata[3];
  end
endmodule

`default_nettype wire
