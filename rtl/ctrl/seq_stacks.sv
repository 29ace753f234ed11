// Purpose: loop stack and return stack of the sequencer, both StackDepth deep.
// Latency: outputs follow the state; pushes and pops take effect in the next cycle.
// Throughput: one operation per cycle.
// Back-pressure: none; the sequencer checks the full and empty flags before it asks.
// Notes: a loop ends only at the call depth at which it was entered, so a called function that
//        passes through the same address is not mistaken for the end of the body.

`default_nettype none

module seq_stacks
  import lampyris_isa_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    input  wire logic        clr_i,
    // Loop stack.
    input  wire logic        loop_push_i,
    input  wire logic [23:0] loop_start_i,
    input  wire logic [23:0] loop_end_i,
    input  wire logic [23:0] loop_count_i,
    output logic             loop_full_o,
    // Is this the end of the innermost loop's body? Then loop_next_i counts one iteration:
    // the loop is left if it was the last one, else it goes on at loop_target_o.
    input  wire logic [23:0] pc_i,
    output logic             loop_hit_o,
    input  wire logic        loop_next_i,
    output logic             loop_last_o,
    output logic [23:0]      loop_target_o,
    // Return stack.
    input  wire logic        call_push_i,
    input  wire logic [23:0] call_pc_i,
    input  wire logic        call_pop_i,
    output logic             call_full_o,
    output logic             call_empty_o,
    output logic [23:0]      call_pc_o
);
  localparam int unsigned IdxW = $clog2(StackDepth);

  typedef struct packed {
    logic [IdxW:0] depth;
    logic [23:0]   target;
    logic [23:0]   finish;
  } loop_entry_t;

  loop_entry_t   loops[StackDepth];
  logic [23:0]   remaining[StackDepth];
  logic [23:0]   returns[StackDepth];
  logic [IdxW:0] loop_depth_q, call_depth_q;
  logic [IdxW-1:0] loop_top, call_top;
  loop_entry_t   top;

  assign loop_top      = loop_depth_q[IdxW-1:0] - 1'b1;
  assign call_top      = call_depth_q[IdxW-1:0] - 1'b1;
  assign top           = loops[loop_top];
  assign loop_full_o   = loop_depth_q[IdxW];
  assign loop_hit_o    = loop_depth_q != '0 && top.finish == pc_i && top.depth == call_depth_q;
  assign loop_last_o   = remaining[loop_top] == 24'd1;
  assign loop_target_o = top.target;
  assign call_full_o   = call_depth_q[IdxW];
  assign call_empty_o  = call_depth_q == '0;
  assign call_pc_o     = returns[call_top];

  always_ff @(posedge clk_i) begin
    if (loop_push_i) begin
      loops[loop_depth_q[IdxW-1:0]] <= '{depth: call_depth_q, target: loop_start_i, finish: loop_end_i};
      remaining[loop_depth_q[IdxW-1:0]] <= loop_count_i;
    end else if (loop_next_i) begin
      remaining[loop_top] <= remaining[loop_top] - 24'd1;
    end
    if (call_push_i) returns[call_depth_q[IdxW-1:0]] <= call_pc_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      loop_depth_q <= '0;
      call_depth_q <= '0;
    end else begin
      if (loop_push_i) loop_depth_q <= loop_depth_q + 1'b1;
      else if (loop_next_i && loop_last_o) loop_depth_q <= loop_depth_q - 1'b1;
      if (call_push_i) call_depth_q <= call_depth_q + 1'b1;
      else if (call_pop_i) call_depth_q <= call_depth_q - 1'b1;
    end
  end
endmodule

`default_nettype wire
