// Purpose: test design: counts enabled cycles; one register has no reset.
// Latency, throughput, back-pressure: the count changes one cycle after the enable.

`default_nettype none

module counter #(
  parameter int unsigned Width = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             en_i,
  output logic [Width-1:0] count_o,
  output logic [63:0]      unreset_o
);
  logic [63:0] unreset;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_o <= '0;
    end else if (en_i) begin
      count_o <= count_o + 1'b1;
    end
    unreset <= {unreset[62:0], unreset[63]};
  end

  assign unreset_o = unreset;
endmodule

`default_nettype wire
