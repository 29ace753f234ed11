// Purpose: one bank of the SDRAM: its open row, and when its next commands are allowed.
// Latency: a command shows in the outputs of the next cycle.
// Throughput: one command a cycle.
// Back-pressure: none; whoever issues a command looks at the *_ok_o before.
// Notes: a timer is loaded with the distance less one and allows its command at zero.

`default_nettype none

module sdr_bank #(
    parameter int unsigned RowBits = 13,
    parameter int unsigned Burst   = 8,
    parameter int unsigned TRcd    = 2,
    parameter int unsigned TRp     = 2,
    parameter int unsigned TRas    = 5,
    parameter int unsigned TRc     = 7,
    parameter int unsigned TWr     = 2
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    input  wire logic               activate_i,
    input  wire logic               precharge_i,
    input  wire logic               read_i,
    input  wire logic               write_i,
    input  wire logic [RowBits-1:0] row_i,
    output logic                    open_o,
    output logic [RowBits-1:0]      row_o,
    output logic                    activate_ok_o,
    output logic                    cas_ok_o,
    output logic                    precharge_ok_o
);
  localparam int unsigned W = sdr_pkg::TimerW;
  typedef logic [W-1:0] timer_t;

  // A burst's first word goes with its command, so the last follows Burst - 1 cycles later.
  localparam timer_t AfterWrite = timer_t'(Burst + TWr - 2);
  localparam timer_t AfterRead = timer_t'(Burst - 1);

  timer_t activate_q, cas_q, precharge_q;

  function automatic timer_t at_least(timer_t running, timer_t least);
    return running > least ? running - 1'b1 : least;
  endfunction

  function automatic timer_t down(timer_t running);
    return running - timer_t'(running != 0);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_o      <= 1'b0;
      activate_q  <= '0;
      cas_q       <= '0;
      precharge_q <= '0;
    end else begin
      if (activate_i) open_o <= 1'b1;
      else if (precharge_i) open_o <= 1'b0;

      if (activate_i) activate_q <= timer_t'(TRc - 1);
      else if (precharge_i) activate_q <= at_least(activate_q, timer_t'(TRp - 1));
      else activate_q <= down(activate_q);

      if (activate_i) cas_q <= timer_t'(TRcd - 1);
      else cas_q <= down(cas_q);

      if (activate_i) precharge_q <= timer_t'(TRas - 1);
      else if (write_i) precharge_q <= at_least(precharge_q, AfterWrite);
      else if (read_i) precharge_q <= at_least(precharge_q, AfterRead);
      else precharge_q <= down(precharge_q);
    end
    if (activate_i) row_o <= row_i;
  end

  assign activate_ok_o  = activate_q == 0;
  assign cas_ok_o       = cas_q == 0;
  assign precharge_ok_o = precharge_q == 0;
endmodule

`default_nettype wire
