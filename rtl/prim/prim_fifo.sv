// Purpose: synchronous first-word-fall-through FIFO in registers or distributed RAM.
// Latency: a word can be read in the cycle after it was written.
// Throughput: one write and one read per cycle.
// Back-pressure: ready/valid on both sides; wready_o does not depend on rready_i.
// Notes: Depth is a power of two of at least 2; clr_i empties the FIFO.

`default_nettype none

module prim_fifo #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 4
) (
    input  wire logic                         clk_i,
    input  wire logic                         rst_ni,
    input  wire logic                         clr_i,
    input  wire logic                         wvalid_i,
    output logic                              wready_o,
    input  wire logic [Width-1:0]             wdata_i,
    output logic                              rvalid_o,
    input  wire logic                         rready_i,
    output logic [Width-1:0]                  rdata_o,
    output logic [$clog2(Depth + 1)-1:0]      usage_o
);
  localparam int unsigned PtrW = $clog2(Depth);

  logic [Width-1:0] storage[Depth];
  // One bit more than an index, so that full and empty differ.
  logic [PtrW:0] wptr_q, rptr_q, used;
  logic push, pop;

  assign used     = wptr_q - rptr_q;
  assign usage_o  = used;
  assign rvalid_o = wptr_q != rptr_q;
  assign wready_o = !used[PtrW];
  assign rdata_o  = storage[rptr_q[PtrW-1:0]];
  assign push     = wvalid_i && wready_o;
  assign pop      = rvalid_o && rready_i;

  always_ff @(posedge clk_i) begin
    if (push) storage[wptr_q[PtrW-1:0]] <= wdata_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      wptr_q <= '0;
      rptr_q <= '0;
    end else begin
      if (push) wptr_q <= wptr_q + 1'b1;
      if (pop) rptr_q <= rptr_q + 1'b1;
    end
  end

`ifndef SYNTHESIS
  initial begin
    if (Depth < 2 || (Depth & (Depth - 1)) != 0) $fatal(1, "prim_fifo: Depth must be a power of two >= 2");
  end
`endif
endmodule

`default_nettype wire
