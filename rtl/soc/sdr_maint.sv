// Purpose: starts the SDRAM and keeps it refreshed.
// Latency: a due refresh is issued when nothing waits, at the latest after PostponeMax intervals.
// Throughput: a refresh every TRfc cycles while several are due.
// Back-pressure: hold_o asks the scheduler to pause, quiet_i says that it did.
// Notes: reset owes the chip its first refreshes; the loop that pays them is the same as later. All
//        rows are closed before refreshes, which also keeps every row open for less than tRAS(max).

`default_nettype none

module sdr_maint #(
    parameter int unsigned TRp             = 2,
    parameter int unsigned TRfc            = 7,
    parameter int unsigned TMrd            = 2,
    parameter int unsigned RefreshInterval = 780,
    parameter int unsigned PowerUp         = 20000
) (
    input  wire logic      clk_i,
    input  wire logic      rst_ni,
    // Scheduler
    input  wire logic      idle_i,
    input  wire logic      quiet_i,
    output logic           hold_o,
    output logic           active_o,
    output sdr_pkg::cmd_e  cmd_o,
    output logic           ready_o
);
  import sdr_pkg::*;

  localparam int unsigned InitRefreshes = 8;
  // One below the eight that may be postponed: the chunk under way is finished first.
  localparam int unsigned PostponeMax = 7;
  localparam int unsigned WaitW = $clog2(PowerUp + 32);
  localparam int unsigned IntervalW = $clog2(RefreshInterval);

  typedef enum logic [2:0] {
    StPause,    // initial pause
    StRefresh,  // rows are closed: refresh until none is due
    StMode,
    StRun,
    StWant      // the scheduler is asked to pause
  } state_e;

  state_e state_q;
  logic [WaitW-1:0] wait_q;
  logic [IntervalW-1:0] interval_q;
  logic [3:0] due_q;
  logic waited, tick, refresh;

  assign waited  = wait_q == 0;
  assign tick    = ready_o && interval_q == 0;
  assign refresh = state_q == StRefresh && waited && due_q != 0;

  assign hold_o   = state_q != StRun;
  assign active_o = state_q != StRun && state_q != StWant;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      interval_q <= IntervalW'(RefreshInterval - 1);
      due_q      <= 4'(InitRefreshes);
    end else begin
      if (ready_o) interval_q <= tick ? IntervalW'(RefreshInterval - 1) : interval_q - 1'b1;
      due_q <= due_q + 4'(tick) - 4'(refresh);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StPause;
      wait_q  <= WaitW'(PowerUp);
      cmd_o   <= CmdNop;
      ready_o <= 1'b0;
    end else begin
      cmd_o <= CmdNop;
      if (!waited) wait_q <= wait_q - 1'b1;
      unique case (state_q)
        StPause: begin
          if (waited) begin
            cmd_o   <= CmdPrecharge;
            wait_q  <= WaitW'(TRp - 1);
            state_q <= StRefresh;
          end
        end
        StRefresh: begin
          if (refresh) begin
            cmd_o  <= CmdRefresh;
            wait_q <= WaitW'(TRfc - 1);
          end else if (waited && ready_o) begin
            state_q <= StRun;
          end else if (waited) begin
            cmd_o   <= CmdMode;
            wait_q  <= WaitW'(TMrd - 1);
            state_q <= StMode;
          end
        end
        StMode: begin
          if (waited) begin
            ready_o <= 1'b1;
            state_q <= StRun;
          end
        end
        StRun: if (due_q >= 4'(PostponeMax) || (due_q != 0 && idle_i)) state_q <= StWant;
        default: begin
          if (quiet_i) begin
            cmd_o   <= CmdPrecharge;
            wait_q  <= WaitW'(TRp - 1);
            state_q <= StRefresh;
          end
        end
      endcase
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && ready_o && due_q > 4'd8) $fatal(1, "sdr_maint: more than eight refreshes are due");
  end
`endif
endmodule

`default_nettype wire
