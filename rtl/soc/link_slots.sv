// Purpose: complete requests that wait for execution, in block RAM.
// Latency: a request is offered in the clock after its commit; its words one clock after their address.
// Throughput: one word in and one word out per clock.
// Back-pressure: free_o says that the next request has a slot; it may change only after a commit.
// Notes: as many slots as requests may be under way. A slot has room for header, payload and CRC.

`default_nettype none

module link_slots
  import lampyris_link_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    // Deframer
    output logic             free_o,
    input  wire logic        we_i,
    input  wire logic [6:0]  waddr_i,
    input  wire logic [31:0] wdata_i,
    input  wire logic        commit_i,
    input  wire logic [6:0]  words_i,
    // Execution: the oldest request
    output logic             valid_o,
    output logic [6:0]       words_o,
    input  wire logic        re_i,
    input  wire logic [6:0]  raddr_i,
    output logic [31:0]      rdata_o,
    input  wire logic        pop_i
);
  localparam int unsigned SlotW = $clog2(Window);

  if (Window != 1 << SlotW || Window < 2) begin : g_check_window
    $error("link_slots: Window must be a power of two of at least 2");
  end

  // One bit more than an index, so that full and empty differ.
  logic [SlotW:0] wslot_q, rslot_q, used;
  logic [6:0] words_q[Window];

  assign used    = wslot_q - rslot_q;
  assign free_o  = !used[SlotW];
  assign valid_o = used != '0;
  assign words_o = words_q[rslot_q[SlotW-1:0]];

  always_ff @(posedge clk_i) begin
    if (commit_i) words_q[wslot_q[SlotW-1:0]] <= words_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wslot_q <= '0;
      rslot_q <= '0;
    end else begin
      if (commit_i) wslot_q <= wslot_q + 1'b1;
      if (pop_i) rslot_q <= rslot_q + 1'b1;
    end
  end

  prim_ram_1r1w #(
      .Width(32),
      .Depth(Window * 128),
      .MaskWidth(32)
  ) u_ram (
      .clk_i,
      .we_i,
      .waddr_i({wslot_q[SlotW-1:0], waddr_i}),
      .wmask_i(1'b1),
      .wdata_i,
      .re_i,
      .raddr_i({rslot_q[SlotW-1:0], raddr_i}),
      .rdata_o
  );

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && commit_i && !free_o) $fatal(1, "link_slots: a commit without a slot");
    if (rst_ni && pop_i && !valid_o) $fatal(1, "link_slots: a pop without a request");
  end
`endif
endmodule

`default_nettype wire
