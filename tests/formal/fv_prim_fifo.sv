// Purpose: proves prim_fifo against a queue: order, content, count, full and empty.
// Latency: none (a proof).
// Throughput: both sides do whatever they like, and clear whenever they like.
// Back-pressure: none is assumed.
// Notes: content does not influence control, so two bits a word stand for any width.

`default_nettype none

module fv_prim_fifo #(
    parameter int unsigned Width = 2,
    parameter int unsigned Depth = 4
) (
    input wire logic             clk_i,
    input wire logic             reset_i,
    input wire logic             clr_i,
    input wire logic             wvalid_i,
    input wire logic [Width-1:0] wdata_i,
    input wire logic             rready_i
);
  logic started_q, rst_n, wready, rvalid;
  logic [Width-1:0] rdata, head;
  logic [$clog2(Depth + 1)-1:0] usage;
  logic [$clog2(Depth + 2)-1:0] count;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;

  prim_fifo #(
      .Width(Width),
      .Depth(Depth)
  ) dut (
      .clk_i,
      .rst_ni  (rst_n),
      .clr_i,
      .wvalid_i,
      .wready_o(wready),
      .wdata_i,
      .rvalid_o(rvalid),
      .rready_i,
      .rdata_o (rdata),
      .usage_o (usage)
  );

  fv_queue #(
      .Width(Width),
      .Depth(Depth)
  ) u_model (
      .clk_i,
      .rst_ni (rst_n && !clr_i),
      .push_i (wvalid_i && wready),
      .data_i (wdata_i),
      .pop_i  (rvalid && rready_i),
      .head_o (head),
      .count_o(count)
  );

  always_comb begin
    if (started_q) begin
      a_content: assert (!rvalid || rdata == head);
      a_empty: assert (rvalid == (count != '0));
      a_full: assert (wready == (32'(count) != Depth));
      a_count: assert (32'(usage) == 32'(count));
      a_no_overflow: assert (32'(count) <= Depth);
    end
  end
endmodule

`default_nettype wire
