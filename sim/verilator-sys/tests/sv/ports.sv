// Purpose: test design: one port of each storage class, each inverted.
// Latency, throughput, back-pressure: combinational.

`default_nettype none

module ports (
  input  logic [6:0]        a_i,
  input  logic [14:0]       b_i,
  input  logic [30:0]       c_i,
  input  logic [62:0]       d_i,
  input  logic [500:0]      e_i,
  input  logic [3:0][127:0] f_i,
  output logic [6:0]        a_o,
  output logic [14:0]       b_o,
  output logic [30:0]       c_o,
  output logic [62:0]       d_o,
  output logic [500:0]      e_o,
  output logic [3:0][127:0] f_o
);
  assign a_o = ~a_i;
  assign b_o = ~b_i;
  assign c_o = ~c_i;
  assign d_o = ~d_i;
  assign e_o = ~e_i;
  assign f_o = ~f_i;
endmodule

`default_nettype wire
