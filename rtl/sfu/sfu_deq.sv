// Purpose: reads packed weight codes and their scales and feeds the lanes with
//          code * scale + minimum.
// Latency: a line enters the lanes two cycles after its read was granted; rd_data_i comes
//          registered from the memory.
// Throughput: one line a cycle and one cycle more for each block of 32.
// Back-pressure: waits for read grants and for room behind the lanes (line_room_i).
// Notes: a line of memory is read again for each line of results that it takes part in. Results
//        whose codes begin in the line before find them in that line's last word.

`default_nettype none

module sfu_deq
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    parameter int unsigned WeightBits = 380,
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

  // Positions count bits from the start of a word that comes before the line of memory.
  localparam int unsigned LineBits = 32 * SfuLanes;
  localparam int unsigned PlaceW = $clog2(LineBits + 32 + 8 * SfuLanes);
  typedef logic [PlaceW-1:0] place_t;

  logic              active_q, scale_phase_q;
  logic [13:0]       blocks_left_q;
  logic [SubW-1:0]   sub_q;
  place_t            place_q, step, after;
  logic [17:0]       scale_addr_q;
  logic [LineAw-1:0] a_line_q, d_line_q;
  logic              grant, line_end, block_end, unused_op;

  assign unused_op = ^op_i;

  assign rd_valid_o  = active_q && (scale_phase_q || line_room_i);
  assign rd_line_o   = scale_phase_q ? scale_addr_q[LaneW+:LineAw] : a_line_q;
  assign grant       = rd_valid_o && rd_ready_i;
  assign line_take_o = grant && !scale_phase_q;
  assign after       = place_q + step;
  // What is left of the line does not make another line of results.
  assign line_end    = after + step > place_t'(LineBits + 32);
  assign block_end   = sub_q == SubW'(LinesPerBlock - 1);

  always_comb begin
    step = place_t'(4 * SfuLanes);
    for (int unsigned b = 2; b <= 8; b++) begin
      if (WeightBits[b] && op_i.bits == 4'(b)) step = place_t'(b * SfuLanes);
    end
  end

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
      place_q       <= place_t'(32);
      scale_addr_q  <= op_i.b;
      a_line_q      <= op_i.a[LaneW+:LineAw];
      d_line_q      <= op_i.d[LaneW+:LineAw];
    end else if (grant) begin
      scale_phase_q <= !scale_phase_q && block_end;
      if (scale_phase_q) begin
        scale_addr_q <= scale_addr_q + 18'd1;
      end else begin
        sub_q    <= sub_q + 1'b1;  // wraps at the end of a block
        place_q  <= line_end ? after - place_t'(LineBits) : after;
        d_line_q <= d_line_q + 1'b1;
        if (line_end) a_line_q <= a_line_q + 1'b1;
        if (block_end) blocks_left_q <= blocks_left_q - 14'd1;
      end
    end
  end

  // ------------------------------------------------------------------ replies
  // The read that was granted in the cycle before, and that whose data are there.
  logic                     read_valid_q, read_scale_q, tag_valid_q, tag_scale_q;
  logic                     read_end_q, tag_end_q;
  place_t                   read_place_q, tag_place_q;
  logic [LaneW-1:0]         read_word_q, tag_word_q;
  logic [LineAw-1:0]        read_line_q, tag_line_q;
  logic [31:0]              scale_q, minimum_q, pair;

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
      read_end_q   <= line_end;
      read_place_q <= place_q;
      read_word_q  <= scale_addr_q[LaneW-1:0];
      read_line_q  <= d_line_q;
    end
    if (read_valid_q) begin
      tag_scale_q <= read_scale_q;
      tag_end_q   <= read_end_q;
      tag_place_q <= read_place_q;
      tag_word_q  <= read_word_q;
      tag_line_q  <= read_line_q;
    end
    if (tag_valid_q && tag_scale_q) begin
      scale_q   <= widen(pair[15:0]);
      minimum_q <= widen(pair[31:16]);
    end
  end

  // ------------------------------------------------------------------ codes
  // Two words hold the codes of a line of results; its steps divide a word or not.
  localparam bit Straddles = WeightBits[3] || WeightBits[5] || WeightBits[6];
  logic [SfuLanes+1:0][31:0] words;
  logic [63:0]               near;
  logic [63:0]               packed_codes;
  logic [SfuLanes-1:0][7:0]  codes;
  logic [PlaceW-6:0]         word;

  if (Straddles) begin : g_held
    logic [31:0] held_q;
    always_ff @(posedge clk_i) begin
      if (tag_valid_q && !tag_scale_q && tag_end_q) held_q <= rd_data_i[SfuLanes-1];
    end
    assign words = {32'd0, rd_data_i, held_q};
  end else begin : g_aligned
    logic unused_end;
    assign unused_end = tag_end_q;
    assign words      = {32'd0, rd_data_i, 32'd0};
  end

  assign word         = tag_place_q[PlaceW-1:5];
  assign near         = {words[word+1'b1], words[word]};
  assign packed_codes = near >> tag_place_q[4:0];

  always_comb begin
    for (int unsigned i = 0; i < SfuLanes; i++) begin
      codes[i] = {4'd0, packed_codes[4*i+:4]};
      for (int unsigned b = 2; b <= 8; b++) begin
        if (WeightBits[b] && b != 4 && op_i.bits == 4'(b)) begin
          codes[i] = packed_codes[b*i+:8] & 8'((1 << b) - 1);
        end
      end
    end
  end

  assign busy_o       = active_q || read_valid_q || tag_valid_q;
  assign emit_valid_o = tag_valid_q && !tag_scale_q;
  assign emit_y_o     = scale_q;
  assign emit_z_o     = minimum_q;
  assign emit_meta_o  = '{last: 1'b0, mask: 8'hff, addr: 18'(tag_line_q), scale: '0};

  always_comb begin
    emit_x_o = '0;
    if (emit_valid_o) begin
      for (int unsigned i = 0; i < SfuLanes; i++) begin
        emit_x_o[i] = to_float(codes[i]);
      end
    end
  end
endmodule

`default_nettype wire
