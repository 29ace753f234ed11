// Purpose: reads packed weight codes and their scales and feeds the lanes with
//          code * scale + minimum.
// Latency: a line enters the lanes two cycles after its read was granted; rd_data_i comes
//          registered from the memory.
// Throughput: one line a cycle and one cycle more for each block of 32.
// Back-pressure: waits for read grants and for room behind the lanes (line_room_i).

`default_nettype none

module sfu_deq
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
    output logic                           busy_o,
    input  wire logic                      line_room_i,
    output logic                           line_take_o,
    output logic                           rd_valid_o,
    output logic [LineAw-1:0]              rd_line_o,
    input  wire logic                      rd_ready_i,
    input  wire logic [SfuLanes-1:0][31:0] rd_data_i,
    output logic                           emit_valid_o,
    output logic [SfuLanes-1:0][31:0]      emit_x_o,
    output logic [31:0]                    emit_y_o,
    output logic [31:0]                    emit_z_o,
    output meta_t                          emit_meta_o
);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned LinesPerBlock = 32 / SfuLanes;
  localparam int unsigned SubW = $clog2(LinesPerBlock);

  // A line of memory holds 8 (4-bit codes) or 4 (8-bit codes) lines of results.
  logic              active_q, scale_phase_q;
  logic [13:0]       blocks_left_q;
  logic [SubW-1:0]   sub_q;
  logic [2:0]        part_q;
  logic [17:0]       scale_addr_q;
  logic [LineAw-1:0] a_line_q, d_line_q;
  logic              grant, part_end, block_end, unused_op;

  assign unused_op = ^op_i;

  assign rd_valid_o  = active_q && (scale_phase_q || line_room_i);
  assign rd_line_o   = scale_phase_q ? scale_addr_q[LaneW+:LineAw] : a_line_q;
  assign grant       = rd_valid_o && rd_ready_i;
  assign line_take_o = grant && !scale_phase_q;
  assign part_end    = op_i.bits8 ? part_q[1:0] == 2'd3 : part_q == 3'd7;
  assign block_end   = sub_q == SubW'(LinesPerBlock - 1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) active_q <= 1'b0;
    else if (start_i) active_q <= 1'b1;
    else if (grant && !scale_phase_q && block_end && blocks_left_q == 14'd1) active_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      scale_phase_q <= 1'b1;
      blocks_left_q <= op_i.n[18:5];
      sub_q         <= '0;
      part_q        <= '0;
      scale_addr_q  <= op_i.b;
      a_line_q      <= op_i.a[LaneW+:LineAw];
      d_line_q      <= op_i.d[LaneW+:LineAw];
    end else if (grant) begin
      scale_phase_q <= !scale_phase_q && block_end;
      if (scale_phase_q) begin
        scale_addr_q <= scale_addr_q + 18'd1;
      end else begin
        sub_q    <= sub_q + 1'b1;  // wraps at the end of a block
        part_q   <= part_end ? '0 : part_q + 3'd1;
        d_line_q <= d_line_q + 1'b1;
        if (part_end) a_line_q <= a_line_q + 1'b1;
        if (block_end) blocks_left_q <= blocks_left_q - 14'd1;
      end
    end
  end

  // ------------------------------------------------------------------ replies
  // The read that was granted in the cycle before, and that whose data are there.
  logic                     read_valid_q, read_scale_q, tag_valid_q, tag_scale_q;
  logic [2:0]               read_part_q, tag_part_q;
  logic [LaneW-1:0]         read_word_q, tag_word_q;
  logic [LineAw-1:0]        read_line_q, tag_line_q;
  logic [31:0]              scale_q, minimum_q, pair;
  logic [3:0][8*SfuLanes-1:0] parts8;
  logic [7:0][4*SfuLanes-1:0] parts4;
  logic [SfuLanes-1:0][7:0] codes8;
  logic [SfuLanes-1:0][3:0] codes4;

  // num::f16_to_f32: all exponents are ordinary, subnormals exact.
  function automatic logic [31:0] widen(logic [15:0] half);
    logic [9:0] fraction;
    logic [3:0] shift;
    if (half[14:10] != '0) return {half[15], 8'd112 + 8'(half[14:10]), half[9:0], 13'd0};
    if (half[9:0] == '0) return {half[15], 31'd0};
    fraction = half[9:0];
    shift    = '0;
    for (int unsigned level = 4; level > 0; level--) begin
      shift[level-1] = (fraction >> (10 - (1 << (level - 1)))) == '0;
      if (shift[level-1]) fraction = fraction << (1 << (level - 1));
    end
    return {half[15], 8'd112 - 8'(shift), fraction[8:0], 14'd0};
  endfunction

  // An 8-bit integer as f32.
  function automatic logic [31:0] to_float(logic signed [7:0] code);
    logic [7:0] magnitude;
    logic [2:0] shift;
    magnitude = code[7] ? 8'(~code) + 8'd1 : code;
    shift     = '0;
    if (magnitude == '0) return '0;
    for (int unsigned level = 3; level > 0; level--) begin
      shift[level-1] = (magnitude >> (8 - (1 << (level - 1)))) == '0;
      if (shift[level-1]) magnitude = magnitude << (1 << (level - 1));
    end
    return {code[7], 8'd134 - 8'(shift), magnitude[6:0], 16'd0};
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      read_valid_q <= 1'b0;
      tag_valid_q  <= 1'b0;
    end else begin
      read_valid_q <= grant;
      tag_valid_q  <= read_valid_q;
    end
  end

  assign pair = rd_data_i[tag_word_q];

  always_ff @(posedge clk_i) begin
    if (grant) begin
      read_scale_q <= scale_phase_q;
      read_part_q  <= part_q;
      read_word_q  <= scale_addr_q[LaneW-1:0];
      read_line_q  <= d_line_q;
    end
    if (read_valid_q) begin
      tag_scale_q <= read_scale_q;
      tag_part_q  <= read_part_q;
      tag_word_q  <= read_word_q;
      tag_line_q  <= read_line_q;
    end
    if (tag_valid_q && tag_scale_q) begin
      scale_q   <= widen(pair[15:0]);
      minimum_q <= widen(pair[31:16]);
    end
  end

  assign parts8 = rd_data_i;
  assign parts4 = rd_data_i;
  assign codes8 = parts8[tag_part_q[1:0]];
  assign codes4 = parts4[tag_part_q];

  assign busy_o       = active_q || read_valid_q || tag_valid_q;
  assign emit_valid_o = tag_valid_q && !tag_scale_q;
  assign emit_y_o     = scale_q;
  assign emit_z_o     = minimum_q;
  assign emit_meta_o  = '{last: 1'b0, mask: 8'hff, addr: 18'(tag_line_q), scale: '0};

  always_comb begin
    emit_x_o = '0;
    if (emit_valid_o) begin
      for (int unsigned i = 0; i < SfuLanes; i++) begin
        emit_x_o[i] = to_float(op_i.bits8 ? codes8[i] : {4'd0, codes4[i]});
      end
    end
  end
endmodule

`default_nettype wire
