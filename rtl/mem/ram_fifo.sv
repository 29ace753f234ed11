// Purpose: synchronous fall-through FIFO whose storage is block RAM.
// Latency: a word can be read two cycles after it was written.
// Throughput: one write and one read per cycle.
// Back-pressure: free_o counts the writes that storage can still take; a writer must respect it.
// Notes: Depth is a power of two; one word more waits in the RAM's output register.

`default_nettype none

module ram_fifo #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 32
) (
    input  wire logic                       clk_i,
    input  wire logic                       rst_ni,
    input  wire logic                       clr_i,
    input  wire logic                       wvalid_i,
    input  wire logic [Width-1:0]           wdata_i,
    output logic [$clog2(Depth + 1)-1:0]    free_o,
    output logic                            rvalid_o,
    input  wire logic                       rready_i,
    output logic [Width-1:0]                rdata_o
);
  localparam int unsigned PtrW = $clog2(Depth);

  // One bit more than an index, so that full and empty differ.
  logic [PtrW:0] wptr_q, rptr_q;
  logic rvalid_q, fetch;

  assign free_o   = (PtrW + 1)'(Depth) - (wptr_q - rptr_q);
  assign rvalid_o = rvalid_q;
  // Refill the output register whenever it is empty or being emptied.
  assign fetch    = (wptr_q != rptr_q) && (!rvalid_q || rready_i);

  prim_ram_1r1w #(
      .Width(Width),
      .Depth(Depth),
      .MaskWidth(Width)
  ) u_ram (
      .clk_i,
      .we_i(wvalid_i),
      .waddr_i(wptr_q[PtrW-1:0]),
      .wmask_i(1'b1),
      .wdata_i,
      .re_i(fetch),
      .raddr_i(rptr_q[PtrW-1:0]),
      .rdata_o
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      wptr_q   <= '0;
      rptr_q   <= '0;
      rvalid_q <= 1'b0;
    end else begin
      if (wvalid_i) wptr_q <= wptr_q + 1'b1;
      if (fetch) rptr_q <= rptr_q + 1'b1;
      if (fetch || rready_i) rvalid_q <= fetch;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i && wvalid_i && free_o == 0) $fatal(1, "ram_fifo: write into a full FIFO");
  end
`endif
endmodule

`default_nettype wire
