// Purpose: reads the rows of a quant twice: once for the magnitudes, once for the codes.
// Latency: about 12 cycles from the last line of a unit to the first of its codes.
// Throughput: two reads a line; the magnitudes of the next unit are read meanwhile.
// Back-pressure: waits for read grants and for room for scale_out's words.
// Notes: a unit is what shares a scale: one, two or four blocks, or a row.

`default_nettype none

module sfu_quant
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
    output logic                           rd_valid_o,
    output logic [LineAw-1:0]              rd_line_o,
    input  wire logic                      rd_ready_i,
    input  wire logic [SfuLanes-1:0][31:0] rd_data_i,
    output logic                           emit_valid_o,
    output logic [SfuLanes-1:0][31:0]      emit_x_o,
    output logic [31:0]                    emit_y_o,
    output meta_t                          emit_meta_o,
    input  wire logic                      word_room_i,
    output logic                           word_valid_o,
    output logic [17:0]                    word_addr_o,
    output logic [31:0]                    word_data_o
);
  // ------------------------------------------------------------------ the two walks
  logic                look_active, look_ok, look_step, look_end;
  logic [LineAw-1:0]   look_line;
  logic [SfuLanes-1:0] look_mask;
  logic                code_active, code_row_first, code_block_last;
  logic                code_ok, code_step, code_end;
  logic [LineAw-1:0]   code_line;
  logic [SfuLanes-1:0] code_mask;
  logic [17:0]         code_block, code_row;
  logic                unused_row_first, unused_block_last, unused_look_end, unused_code_end;
  logic [17:0]         unused_block, unused_row;

  sfu_walk #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_look (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i,
      .op_i,
      .step_i      (look_step),
      .active_o    (look_active),
      .line_o      (look_line),
      .mask_o      (look_mask),
      .row_first_o (unused_row_first),
      .block_last_o(unused_block_last),
      .unit_last_o (look_end),
      .row_last_o  (unused_look_end),
      .block_o     (unused_block),
      .row_o       (unused_row)
  );

  sfu_walk #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_code (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i,
      .op_i,
      .step_i      (code_step),
      .active_o    (code_active),
      .line_o      (code_line),
      .mask_o      (code_mask),
      .row_first_o (code_row_first),
      .block_last_o(code_block_last),
      .unit_last_o (code_end),
      .row_last_o  (unused_code_end),
      .block_o     (code_block),
      .row_o       (code_row)
  );

  // Units whose magnitudes have been read but whose codes have not.
  logic [1:0]  ahead_q;
  logic        scale_valid;
  scale_t      scale;
  logic [31:0] inverse;

  assign look_ok   = look_active && !ahead_q[1];
  assign code_ok   = code_active && scale_valid &&
                     (!op_i.scale_out || !code_row_first || word_room_i);
  assign look_step = look_ok && rd_ready_i;
  assign code_step = !look_ok && code_ok && rd_ready_i;

  assign rd_valid_o = look_ok || code_ok;
  assign rd_line_o  = look_ok ? look_line : code_line;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) ahead_q <= '0;
    else ahead_q <= ahead_q + 2'(look_step && look_end) - 2'(code_step && code_end);
  end

  // The scale of a row's first block, exact in f32.
  assign word_valid_o = code_step && code_row_first && op_i.scale_out;
  assign word_addr_o  = op_i.red_addr + code_row;
  assign word_data_o  = {1'b0, 8'd96 + 8'(scale.exponent), scale.significand, 16'd0};

  // ------------------------------------------------------------------ replies
  // The read that was granted in the cycle before, and that whose data are there (registered from
  // the memory).
  logic                read_look_q, read_code_q, read_end_q, tag_look_q, tag_code_q, tag_end_q;
  logic [SfuLanes-1:0] read_mask_q, tag_mask_q;
  logic [31:0]         read_inverse_q, tag_inverse_q;
  meta_t               read_meta_q, tag_meta_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      read_look_q <= 1'b0;
      read_code_q <= 1'b0;
      tag_look_q  <= 1'b0;
      tag_code_q  <= 1'b0;
    end else begin
      read_look_q <= look_step;
      read_code_q <= code_step;
      tag_look_q  <= read_look_q;
      tag_code_q  <= read_code_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (look_step) read_end_q <= look_end;
    if (look_step || code_step) read_mask_q <= look_step ? look_mask : code_mask;
    if (code_step) begin
      read_inverse_q <= inverse;
      read_meta_q    <= '{last: code_block_last, mask: 8'hff, addr: code_block, scale: scale};
    end
    if (read_look_q) tag_end_q <= read_end_q;
    if (read_look_q || read_code_q) tag_mask_q <= read_mask_q;
    if (read_code_q) begin
      tag_inverse_q <= read_inverse_q;
      tag_meta_q    <= read_meta_q;
    end
  end

  sfu_scale #(
      .SfuLanes(SfuLanes)
  ) u_scale (
      .clk_i,
      .rst_ni,
      .clr_i,
      .f16_range_i(op_i.f16_range),
      .nibbles_i  (op_i.nibbles),
      .valid_i    (tag_look_q),
      .last_i     (tag_end_q),
      .mask_i     (tag_mask_q),
      .data_i     (rd_data_i),
      .valid_o    (scale_valid),
      .ready_i    (code_step && code_end),
      .scale_o    (scale),
      .inverse_o  (inverse)
  );

  assign busy_o       = look_active || code_active || read_code_q || tag_code_q;
  assign emit_valid_o = tag_code_q;
  assign emit_y_o     = tag_inverse_q;
  assign emit_meta_o  = tag_meta_q;

  for (genvar i = 0; i < int'(SfuLanes); i++) begin : g_operands
    assign emit_x_o[i] = tag_mask_q[i] ? rd_data_i[i] : '0;
  end
endmodule

`default_nettype wire
