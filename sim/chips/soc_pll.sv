// Purpose: stands for the clock generator of a board in simulation.
// Latency: locked_o rises at the latest 16 clocks after the first.
// Throughput: one clock out per clock in.
// Back-pressure: none.
// Notes: clk_i runs at the accelerator's frequency, not at the oscillator's. The memory chip's clock,
//        which leads by a few nanoseconds on a board, is the same here: there are no delays of wires.

`default_nettype none

module soc_pll (
    input  wire logic clk_i,
    output logic      clk_o,
    output logic      clk_mem_o,
    output logic      locked_o
);
  logic [4:0] count_q;  // a PLL has no reset: any value counts up

  assign clk_o     = clk_i;
  assign clk_mem_o = clk_i;
  assign locked_o  = count_q[4];

  always_ff @(posedge clk_i) begin
    if (!count_q[4]) count_q <= count_q + 1'b1;
  end
endmodule

`default_nettype wire
