// Purpose: the rule of ready/valid: what is offered stays, unchanged, until it is taken.
// Latency: none (a proof).
// Throughput: any.
// Back-pressure: any.
// Notes: Assert says whether the rule is proven or, for the surroundings of a design, assumed.

`default_nettype none

module fv_stable #(
    parameter int unsigned Width  = 8,
    parameter bit          Assert = 1'b1
) (
    input wire logic             clk_i,
    input wire logic             rst_ni,
    input wire logic             valid_i,
    input wire logic             ready_i,
    input wire logic [Width-1:0] payload_i
);
  logic waits_q, keeps;
  logic [Width-1:0] payload_q;

  always_ff @(posedge clk_i) begin
    waits_q   <= rst_ni && valid_i && !ready_i;
    payload_q <= payload_i;
  end

  // Before the first clock waits_q is unknown; the reset of then keeps the rule out.
  assign keeps = !rst_ni || !waits_q || (valid_i && payload_i == payload_q);

  if (Assert) begin : g_assert
    always_comb a_stable: assert (keeps);
  end else begin : g_assume
    always_comb m_stable: assume (keeps);
  end
endmodule

`default_nettype wire
