// Purpose: proves stream_fifo and the ram_fifo inside: order, content, free_o, two cycles to the output.
// Latency: none (a proof).
// Throughput: both sides do whatever they like, and clear whenever they like.
// Back-pressure: assumed: the writer respects free_o, as its header demands.
// Notes: content does not influence control, so two bits a beat stand for any width.

`default_nettype none

module fv_stream_fifo #(
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
  // One word more waits in the output register.
  localparam int unsigned Held = Depth + 1;

  logic started_q, rst_n, keep, rvalid, aged_q;
  logic [Width-1:0] rdata, head;
  logic [$clog2(Depth + 1)-1:0] free;
  logic [$clog2(Held + 2)-1:0] count;

  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_n = started_q && !reset_i;
  assign keep  = rst_n && !clr_i;

  stream_fifo #(
      .AxiBits    (Width),
      .StreamBeats(Depth)
  ) dut (
      .clk_i,
      .rst_ni     (rst_n),
      .clr_i,
      .swr_valid_i(wvalid_i),
      .swr_data_i (wdata_i),
      .free_o     (free),
      .srd_valid_o(rvalid),
      .srd_data_o (rdata),
      .srd_ready_i(rready_i)
  );

  fv_queue #(
      .Width(Width),
      .Depth(Held)
  ) u_model (
      .clk_i,
      .rst_ni (keep),
      .push_i (wvalid_i),
      .data_i (wdata_i),
      .pop_i  (rvalid && rready_i),
      .head_o (head),
      .count_o(count)
  );

  // A word has waited for a cycle, and nobody took one meanwhile.
  always_ff @(posedge clk_i) aged_q <= keep && count != '0 && !(rvalid && rready_i);

  always_comb begin
    if (started_q) begin
      m_room: assume (!wvalid_i || free != '0);
      a_content: assert (!rvalid || (count != '0 && rdata == head));
      a_free: assert (32'(free) == Depth + 32'(rvalid) - 32'(count));
      a_no_overflow: assert (32'(count) <= Held);
      a_latency: assert (!aged_q || rvalid);
    end
  end
endmodule

`default_nettype wire
