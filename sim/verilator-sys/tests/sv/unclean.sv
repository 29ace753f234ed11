// Purpose: test design: breaks a lint rule (the sum does not fit).
// Latency, throughput, back-pressure: combinational.

`default_nettype none

module unclean (
  input  logic [7:0] a_i,
  output logic [3:0] a_o
);
  assign a_o = a_i;
endmodule

`default_nettype wire
