// Purpose: walks over the rows of a quant in blocks of 32 elements, line by line.
// Latency: none; the outputs describe the current line, step_i goes to the next.
// Throughput: one line a cycle.
// Back-pressure: step_i.
// Notes: a block always has all its lines, and two or four blocks that share a scale are always
//        complete; lanes beyond the row's end are masked.

`default_nettype none

module sfu_walk
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    localparam int unsigned LineAw   = $clog2(VmemWords / SfuLanes)
) (
    input  wire logic                clk_i,
    input  wire logic                rst_ni,
    input  wire logic                clr_i,
    input  wire logic                start_i,
    input  wire op_t                 op_i,
    input  wire logic                step_i,
    output logic                     active_o,
    output logic [LineAw-1:0]        line_o,
    output logic [SfuLanes-1:0]      mask_o,
    output logic                     row_first_o,   // first line of a row
    output logic                     block_last_o,  // last line of a block
    output logic                     unit_last_o,   // last line of what shares a scale
    output logic                     row_last_o,    // last line of a row
    output logic [17:0]              block_o,       // in the activation buffer
    output logic [17:0]              row_o          // number of the row
);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned LinesPerBlock = 32 / SfuLanes;
  localparam int unsigned SubW = $clog2(LinesPerBlock);

  logic              active_q, row_first_q;
  logic [39:0]       rows_left_q;
  logic [18:0]       left_q;
  logic [17:0]       row_q, row_start_q, row_start_next, x_row_q, x_row_next, x_q;
  logic [LineAw-1:0] line_q;
  logic [SubW-1:0]   sub_q;
  logic [1:0]        number_q, group_mask;  // number of the block in its row, modulo 4
  logic              line_full, group_last, unused_op;

  assign unused_op      = ^op_i;
  assign row_start_next = row_start_q + 18'(op_i.astride);
  assign x_row_next     = x_row_q + 18'(op_i.bstride);
  assign line_full      = left_q >= 19'(SfuLanes);

  assign active_o     = active_q;
  assign line_o       = line_q;
  assign mask_o       = line_full ? '1 : ~({SfuLanes{1'b1}} << left_q[LaneW-1:0]);
  assign row_first_o  = row_first_q;
  assign block_last_o = sub_q == SubW'(LinesPerBlock - 1);
  assign group_mask   = op_i.group == GroupFour ? 2'b11 : op_i.group == GroupTwo ? 2'b01 : 2'b00;
  assign group_last   = block_last_o && (~number_q & group_mask) == 2'b00;
  assign row_last_o   = group_last && left_q <= 19'(SfuLanes);
  assign unit_last_o  = op_i.group == GroupRow ? row_last_o : group_last;
  assign block_o      = x_q;
  assign row_o        = row_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) active_q <= 1'b0;
    else if (start_i) active_q <= 1'b1;
    else if (step_i && row_last_o && rows_left_q == 40'd1) active_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      row_first_q <= 1'b1;
      rows_left_q <= op_i.rows;
      left_q      <= op_i.n;
      row_q       <= '0;
      row_start_q <= op_i.a;
      x_row_q     <= op_i.b;
      x_q         <= op_i.b;
      line_q      <= op_i.a[LaneW+:LineAw];
      sub_q       <= '0;
      number_q    <= '0;
    end else if (step_i) begin
      row_first_q <= row_last_o;
      sub_q       <= sub_q + 1'b1;  // wraps at the end of a block
      if (block_last_o) number_q <= row_last_o ? '0 : number_q + 2'd1;
      if (row_last_o) begin
        rows_left_q <= rows_left_q - 40'd1;
        left_q      <= op_i.n;
        row_q       <= row_q + 18'd1;
        row_start_q <= row_start_next;
        x_row_q     <= x_row_next;
        x_q         <= x_row_next;
        line_q      <= row_start_next[LaneW+:LineAw];
      end else begin
        left_q <= line_full ? left_q - 19'(SfuLanes) : '0;
        line_q <= line_q + 1'b1;
        if (block_last_o) x_q <= x_q + 18'd1;
      end
    end
  end
endmodule

`default_nettype wire
