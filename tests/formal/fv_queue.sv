// Purpose: a queue as one would specify it: the oldest word stands in place 0, others move up.
// Latency: a word is the head in the cycle after it was pushed, if it is alone.
// Throughput: a push and a pop a cycle.
// Back-pressure: none; the user proves that count_o stays within Depth.
// Notes: for proofs only. Words beyond Depth are lost, and a pop from an empty queue wraps count_o.

`default_nettype none

module fv_queue #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 4
) (
    input  wire logic                       clk_i,
    input  wire logic                       rst_ni,
    input  wire logic                       push_i,
    input  wire logic [Width-1:0]           data_i,
    input  wire logic                       pop_i,
    output logic [Width-1:0]                head_o,
    output logic [$clog2(Depth + 2)-1:0]    count_o
);
  localparam int unsigned CountW = $clog2(Depth + 2);

  logic [Depth-1:0][Width-1:0] word_q, word_d;
  logic [CountW-1:0] count_q, kept;

  assign kept    = count_q - CountW'(pop_i);
  assign head_o  = word_q[0];
  assign count_o = count_q;

  always_comb begin
    for (int unsigned i = 0; i < Depth; i++) begin
      word_d[i] = pop_i && i + 1 < Depth ? word_q[(i+1)%Depth] : word_q[i];
      if (push_i && kept == CountW'(i)) word_d[i] = data_i;
    end
  end

  always_ff @(posedge clk_i) begin
    word_q <= word_d;
    if (!rst_ni) count_q <= '0;
    else count_q <= kept + CountW'(push_i);
  end
endmodule

`default_nettype wire
