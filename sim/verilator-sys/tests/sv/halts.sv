// Purpose: test design: ends the simulation in the way that the input selects.
// Latency, throughput, back-pressure: acts on the rising edge.

`default_nettype none

module halts (
  input  logic       clk_i,
  input  logic [2:0] how_i,
  output logic       loop_o
);
  always_ff @(posedge clk_i) begin
    if (how_i == 3'd1) $finish;
    if (how_i == 3'd2) $stop;
    if (how_i == 3'd3) $fatal(1, "beat %0d is missing", 17);
    if (how_i == 3'd5) $display("at %0t", $time);
    how_is_not_four : assert (how_i != 3'd4) else $error("four");
  end

  // A loop without a stable value when the input is 6.
  /* verilator lint_off UNOPTFLAT */
  logic a;
  assign a = (how_i == 3'd6) ? !a : 1'b0;
  /* verilator lint_on UNOPTFLAT */
  assign loop_o = a;
endmodule

`default_nettype wire
