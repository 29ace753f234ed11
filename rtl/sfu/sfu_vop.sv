// Purpose: reads the operands of a vop, row by row, and feeds the lanes.
// Latency: a line enters the lanes two cycles after its last read was granted; rd_data_i comes
//          registered from the memory.
// Throughput: one line every cycle (every second cycle if b is used), one cycle more a row for
//             each scalar in memory; rows follow each other unless hazard_i.
// Back-pressure: waits for read grants, for room behind the lanes (line_room_i, word_room_i).

`default_nettype none

module sfu_vop
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    localparam int unsigned LineAw   = $clog2(VmemWords / SfuLanes)
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic                      start_i,
    input  wire op_t                       op_i,
    input  wire logic                      hazard_i,
    input  wire logic                      idle_i,       // nothing under way behind this module
    output logic                           busy_o,
    input  wire logic                      line_room_i,
    output logic                           line_take_o,
    input  wire logic                      word_room_i,
    output logic                           word_take_o,
    output logic                           rd_valid_o,
    output logic [LineAw-1:0]              rd_line_o,
    input  wire logic                      rd_ready_i,
    input  wire logic [SfuLanes-1:0][31:0] rd_data_i,
    output logic                           emit_valid_o,
    output logic [SfuLanes-1:0][31:0]      emit_x_o,
    output logic [SfuLanes-1:0][31:0]      emit_y_o,
    output logic [SfuLanes-1:0][31:0]      emit_z_o,
    output meta_t                          emit_meta_o
);
  localparam int unsigned LaneW = $clog2(SfuLanes);

  typedef enum logic [1:0] {
    PhS1,
    PhS2,
    PhA,
    PhB
  } phase_e;

  // ------------------------------------------------------------------ requests
  logic              active_q, fresh_q, first_row_q;
  phase_e            phase_q, first_phase, after_s1;
  logic [39:0]       rows_left_q;
  logic [18:0]       left_q;
  logic [17:0]       a_row_q, b_row_q, d_row_q, s1_addr_q, s2_addr_q;
  logic [17:0]       a_row_next, b_row_next, d_row_next;
  logic [LineAw-1:0] a_line_q, b_line_q, d_line_q;
  logic              row_ok, grant, line_end, row_end;
  logic [17:0]       scalar_addr;
  // The read that was granted in the cycle before, and that whose data are there.
  logic              read_valid_q, tag_valid_q, read_end_q, tag_end_q;
  phase_e            read_phase_q, tag_phase_q;
  logic [LaneW-1:0]  read_word_q, tag_word_q;
  meta_t             read_meta_q, tag_meta_q;
  logic              unused_bits;

  assign unused_bits = ^{op_i, scalar_addr};

  assign after_s1    = op_i.load_s2 ? PhS2 : PhA;
  assign first_phase = op_i.load_s1 ? PhS1 : after_s1;
  assign a_row_next  = a_row_q + 18'(op_i.astride);
  assign b_row_next  = b_row_q + 18'(op_i.bstride);
  assign d_row_next  = d_row_q + 18'(op_i.dstride);
  assign scalar_addr = (phase_q == PhS1) ? s1_addr_q : s2_addr_q;

  // Checked before the first request of a row.
  assign row_ok     = !fresh_q || ((op_i.red == RedNone || word_room_i) &&
                                   (!hazard_i || first_row_q || (idle_i && !read_valid_q && !tag_valid_q)));
  assign rd_valid_o = active_q && row_ok && (phase_q != PhA || !op_i.write || line_room_i);
  assign grant      = rd_valid_o && rd_ready_i;
  assign line_end   = (phase_q == PhA && !op_i.use_b) || phase_q == PhB;
  assign row_end    = left_q <= 19'(SfuLanes);

  assign line_take_o = grant && phase_q == PhA && op_i.write;
  assign word_take_o = grant && fresh_q && op_i.red != RedNone;

  always_comb begin
    unique case (phase_q)
      PhA:     rd_line_o = a_line_q;
      PhB:     rd_line_o = b_line_q;
      default: rd_line_o = scalar_addr[LaneW+:LineAw];
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) active_q <= 1'b0;
    else if (start_i) active_q <= 1'b1;
    else if (grant && line_end && row_end && rows_left_q == 40'd1) active_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      phase_q     <= first_phase;
      fresh_q     <= 1'b1;
      first_row_q <= 1'b1;
      rows_left_q <= op_i.rows;
      left_q      <= op_i.n;
      a_row_q     <= op_i.a;
      b_row_q     <= op_i.b;
      d_row_q     <= op_i.d;
      s1_addr_q   <= op_i.s1[17:0];
      s2_addr_q   <= op_i.s2;
      a_line_q    <= op_i.a[LaneW+:LineAw];
      b_line_q    <= op_i.b[LaneW+:LineAw];
      d_line_q    <= op_i.d[LaneW+:LineAw];
    end else if (grant) begin
      fresh_q <= 1'b0;
      if (line_end && row_end) begin
        phase_q     <= first_phase;
        fresh_q     <= 1'b1;
        first_row_q <= 1'b0;
        rows_left_q <= rows_left_q - 40'd1;
        left_q      <= op_i.n;
        a_row_q     <= a_row_next;
        b_row_q     <= b_row_next;
        d_row_q     <= d_row_next;
        s1_addr_q   <= s1_addr_q + 18'(op_i.s1_row);
        s2_addr_q   <= s2_addr_q + 18'(op_i.s2_row);
        a_line_q    <= a_row_next[LaneW+:LineAw];
        b_line_q    <= b_row_next[LaneW+:LineAw];
        d_line_q    <= d_row_next[LaneW+:LineAw];
      end else if (line_end) begin
        phase_q  <= PhA;
        left_q   <= left_q - 19'(SfuLanes);
        a_line_q <= a_line_q + 1'b1;
        b_line_q <= b_line_q + 1'b1;
        d_line_q <= d_line_q + 1'b1;
      end else begin
        unique case (phase_q)
          PhS1:    phase_q <= after_s1;
          PhS2:    phase_q <= PhA;
          default: phase_q <= PhB;
        endcase
      end
    end
  end

  // ------------------------------------------------------------------ replies
  logic [31:0]               s1_q, s2_q, s1;
  logic [SfuLanes-1:0][31:0] a_q, a;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      read_valid_q <= 1'b0;
      tag_valid_q  <= 1'b0;
    end else begin
      read_valid_q <= grant;
      tag_valid_q  <= read_valid_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (grant) begin
      read_end_q        <= line_end;
      read_phase_q      <= phase_q;
      read_word_q       <= scalar_addr[LaneW-1:0];
      read_meta_q.last  <= row_end;
      read_meta_q.mask  <= row_end ? ~(8'hff << left_q[3:0]) : 8'hff;
      read_meta_q.addr  <= 18'(d_line_q);
      read_meta_q.scale <= '0;
    end
    if (read_valid_q) begin
      tag_end_q   <= read_end_q;
      tag_phase_q <= read_phase_q;
      tag_word_q  <= read_word_q;
      tag_meta_q  <= read_meta_q;
    end
    if (tag_valid_q) begin
      if (tag_phase_q == PhS1) s1_q <= rd_data_i[tag_word_q];
      if (tag_phase_q == PhS2) s2_q <= rd_data_i[tag_word_q];
      if (tag_phase_q == PhA) a_q <= rd_data_i;
    end
  end

  assign busy_o = active_q || read_valid_q || tag_valid_q;
  assign s1     = op_i.load_s1 ? s1_q : op_i.s1;
  assign a      = op_i.use_b ? a_q : rd_data_i;

  assign emit_valid_o = tag_valid_q && tag_end_q;
  assign emit_meta_o  = tag_meta_q;

  for (genvar i = 0; i < int'(SfuLanes); i++) begin : g_operands
    logic [31:0] x;
    assign x = op_i.swap ? a[i^1] : a[i];
    assign emit_x_o[i] = x;
    assign emit_y_o[i] = (op_i.mul == MulSelf) ? x : (op_i.mul == MulS1) ? s1 : rd_data_i[i];
    assign emit_z_o[i] = (op_i.add == AddS1) ? s1 : (op_i.add == AddS2) ? s2_q : rd_data_i[i];
  end
endmodule

`default_nettype wire
