// Purpose: special-function unit: executes vop, quant and deq (docs/isa.md).
// Latency: vop with one line: 9 cycles from hand-over to done_o, one more for each further read,
//          and those of the parts in use (sfu_lane, sfu_reduce); at most 33.
// Throughput: one instruction at a time; see sfu_vop, sfu_quant and sfu_deq for lines a cycle.
// Back-pressure: desc_ready_o while idle; reads and writes wait for the memory's ready.
// Notes: within a row a result may replace an operand (d = a or d = b) but must not overlap one
//        otherwise; nor may the results of quant and deq overlap their sources.

`default_nettype none

module sfu_unit
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096,
    parameter int unsigned WeightBits = 380,
    parameter int unsigned Sparsity   = 2,
    parameter bit          Kv4        = 1'b1,  // codes of 4 bits in quant
    localparam int unsigned LineAw    = $clog2(VmemWords / SfuLanes),
    localparam int unsigned XaW       = $clog2(XbufBlocks)
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic                      desc_valid_i,
    output logic                           desc_ready_o,
    input  wire lampyris_pkg::desc_t       desc_i,
    output logic                           done_o,
    output logic [31:0]                    done_seq_o,
    output logic                           busy_o,
    output logic                           err_valid_o,
    output logic [7:0]                     err_code_o,
    output logic                           vrd_valid_o,
    output logic [LineAw-1:0]              vrd_line_o,
    input  wire logic                      vrd_ready_i,
    input  wire logic [32*SfuLanes-1:0]    vrd_data_i,
    output logic                           vwr_valid_o,
    output logic [LineAw-1:0]              vwr_line_o,
    output logic [SfuLanes-1:0]            vwr_mask_o,
    output logic [32*SfuLanes-1:0]         vwr_data_o,
    input  wire logic                      vwr_ready_i,
    output logic                           xwr_valid_o,
    output logic [XaW-1:0]                 xwr_addr_o,
    output lampyris_pkg::act_block_t       xwr_data_o
);
  if (SfuLanes != 2 && SfuLanes != 4 && SfuLanes != 8) begin : g_check_lanes
    $error("sfu_unit: SfuLanes must be 2, 4 or 8");
  end

  typedef enum logic [2:0] {
    StIdle,
    StRange,
    StVerdict,
    StRun,
    StError
  } state_e;

  typedef logic [SfuLanes-1:0][31:0] line_t;

  state_e     state_q;
  op_t        op;
  logic       accept, nothing, hazard, start, finished;
  logic [7:0] err_code;

  // ------------------------------------------------------------------ control
  assign accept       = desc_valid_i && desc_ready_o;
  assign desc_ready_o = state_q == StIdle;
  assign busy_o       = state_q != StIdle && state_q != StError;
  assign start        = state_q == StVerdict && err_code == 8'd0 && !nothing;
  assign done_o       = (state_q == StVerdict && err_code == 8'd0 && nothing) ||
                        (state_q == StRun && finished);
  assign err_valid_o  = state_q == StVerdict && err_code != 8'd0;
  assign err_code_o   = err_code;

  sfu_decode #(
      .VmemWords (VmemWords),
      .XbufBlocks(XbufBlocks),
      .WeightBits(WeightBits),
      .Sparsity  (Sparsity),
      .Kv4       (Kv4)
  ) u_decode (
      .clk_i,
      .accept_i  (accept),
      .desc_i,
      .seq_o     (done_seq_o),
      .op_o      (op),
      .nothing_o (nothing),
      .err_code_o(err_code),
      .hazard_o  (hazard)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:    if (accept) state_q <= StRange;
        StRange:   state_q <= StVerdict;
        StVerdict: begin
          if (err_code != 8'd0) state_q <= StError;
          else state_q <= nothing ? StIdle : StRun;
        end
        StRun:     if (finished) state_q <= StIdle;
        default:   ;  // an error holds the unit until clr_i
      endcase
    end
  end

  // ------------------------------------------------------------------ readers
  logic is_vop, is_quant, is_deq;
  assign is_vop   = op.kind == KindVop;
  assign is_quant = op.kind == KindQuant;
  assign is_deq   = op.kind == KindDeq;

  logic  vop_busy, quant_busy, deq_busy;
  logic  vop_rd_valid, quant_rd_valid, deq_rd_valid;
  logic  [LineAw-1:0] vop_rd_line, quant_rd_line, deq_rd_line;
  logic  vop_emit, quant_emit, deq_emit;
  line_t vop_x, vop_y, vop_z, quant_x, deq_x;
  logic  [31:0] quant_y, deq_y, deq_z;
  meta_t vop_meta, quant_meta, deq_meta;
  logic  line_room, word_room, vop_line_take, deq_line_take, vop_word_take, quant_word;
  logic  [17:0] quant_word_addr;
  logic  [31:0] quant_word_data;
  logic  idle, pipe_busy, codes_busy, write_idle;

  // A memory's output comes late in the cycle, and what uses it begins with a long path.
  line_t rd_data_q;

  always_ff @(posedge clk_i) begin
    rd_data_q <= vrd_data_i;
  end

  assign idle     = !pipe_busy && !codes_busy && write_idle;
  assign finished = idle && !vop_busy && !quant_busy && !deq_busy;

  sfu_vop #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_vop (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i     (start && is_vop),
      .op_i        (op),
      .hazard_i    (hazard),
      .idle_i      (idle),
      .busy_o      (vop_busy),
      .line_room_i (line_room),
      .line_take_o (vop_line_take),
      .word_room_i (word_room),
      .word_take_o (vop_word_take),
      .rd_valid_o  (vop_rd_valid),
      .rd_line_o   (vop_rd_line),
      .rd_ready_i  (vrd_ready_i),
      .rd_data_i   (rd_data_q),
      .emit_valid_o(vop_emit),
      .emit_x_o    (vop_x),
      .emit_y_o    (vop_y),
      .emit_z_o    (vop_z),
      .emit_meta_o (vop_meta)
  );

  sfu_quant #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_quant (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i     (start && is_quant),
      .op_i        (op),
      .busy_o      (quant_busy),
      .rd_valid_o  (quant_rd_valid),
      .rd_line_o   (quant_rd_line),
      .rd_ready_i  (vrd_ready_i),
      .rd_data_i   (rd_data_q),
      .emit_valid_o(quant_emit),
      .emit_x_o    (quant_x),
      .emit_y_o    (quant_y),
      .emit_meta_o (quant_meta),
      .word_room_i (word_room),
      .word_valid_o(quant_word),
      .word_addr_o (quant_word_addr),
      .word_data_o (quant_word_data)
  );

  sfu_deq #(
      .SfuLanes  (SfuLanes),
      .VmemWords (VmemWords),
      .WeightBits(WeightBits)
  ) u_deq (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i     (start && is_deq),
      .op_i        (op),
      .busy_o      (deq_busy),
      .line_room_i (line_room),
      .line_take_o (deq_line_take),
      .rd_valid_o  (deq_rd_valid),
      .rd_line_o   (deq_rd_line),
      .rd_ready_i  (vrd_ready_i),
      .rd_data_i   (rd_data_q),
      .emit_valid_o(deq_emit),
      .emit_x_o    (deq_x),
      .emit_y_o    (deq_y),
      .emit_z_o    (deq_z),
      .emit_meta_o (deq_meta)
  );

  assign vrd_valid_o = vop_rd_valid || quant_rd_valid || deq_rd_valid;
  assign vrd_line_o  = is_vop ? vop_rd_line : (is_quant ? quant_rd_line : deq_rd_line);

  // ------------------------------------------------------------------ lanes
  logic  out_valid;
  line_t out_w, in_x, in_y, in_z;
  meta_t in_meta, out_meta;

  always_comb begin
    if (is_vop) begin
      in_x    = vop_x;
      in_y    = vop_y;
      in_z    = vop_z;
      in_meta = vop_meta;
    end else if (is_quant) begin
      in_x    = quant_x;
      in_y    = {SfuLanes{quant_y}};
      in_z    = '0;
      in_meta = quant_meta;
    end else begin
      in_x    = deq_x;
      in_y    = {SfuLanes{deq_y}};
      in_z    = {SfuLanes{deq_z}};
      in_meta = deq_meta;
    end
  end

  sfu_pipe #(
      .SfuLanes(SfuLanes)
  ) u_pipe (
      .clk_i,
      .rst_ni,
      .clr_i,
      .use_mul_i(op.mul != MulNone),
      .use_add_i(op.add != AddNone),
      .func_i   (op.func),
      .valid_i  (vop_emit || quant_emit || deq_emit),
      .x_i      (in_x),
      .y_i      (in_y),
      .z_i      (in_z),
      .meta_i   (in_meta),
      .valid_o  (out_valid),
      .w_o      (out_w),
      .meta_o   (out_meta),
      .busy_o   (pipe_busy)
  );

  // ------------------------------------------------------------------ results
  logic        red_valid;
  logic [31:0] red_value, red_index;
  logic [17:0] red_addr_q;
  logic        unused_meta;

  assign unused_meta = ^{out_meta, is_deq};

  sfu_reduce #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_reduce (
      .clk_i,
      .rst_ni,
      .clr_i,
      .red_i  (op.red),
      .valid_i(out_valid && op.red != RedNone),
      .last_i (out_meta.last),
      .mask_i (out_meta.mask[SfuLanes-1:0]),
      .w_i    (out_w),
      .valid_o(red_valid),
      .value_o(red_value),
      .index_o(red_index)
  );

  always_ff @(posedge clk_i) begin
    if (start) red_addr_q <= op.red_addr;
    else if (red_valid) red_addr_q <= red_addr_q + (op.red == RedArgmax ? 18'd2 : 18'd1);
  end

  sfu_codes #(
      .SfuLanes  (SfuLanes),
      .XbufBlocks(XbufBlocks)
  ) u_codes (
      .clk_i,
      .rst_ni,
      .clr_i,
      .nibbles_i(op.nibbles),
      .valid_i(out_valid && is_quant),
      .w_i    (out_w),
      .last_i (out_meta.last),
      .block_i(out_meta.addr[XaW-1:0]),
      .scale_i(out_meta.scale),
      .busy_o (codes_busy),
      .xwr_valid_o,
      .xwr_addr_o,
      .xwr_data_o
  );

  sfu_write #(
      .SfuLanes (SfuLanes),
      .VmemWords(VmemWords)
  ) u_write (
      .clk_i,
      .rst_ni,
      .clr_i,
      .line_take_i  (vop_line_take || deq_line_take),
      .line_room_o  (line_room),
      .line_valid_i (out_valid && op.write),
      .line_addr_i  (out_meta.addr[LineAw-1:0]),
      .line_mask_i  (out_meta.mask[SfuLanes-1:0]),
      .line_data_i  (out_w),
      .word_take_i  (vop_word_take || quant_word),
      .word_room_o  (word_room),
      .word_valid_i (red_valid || quant_word),
      .word_pair_i  (op.red == RedArgmax),
      .word_addr_i  (is_quant ? quant_word_addr : red_addr_q),
      .word_data_i  (is_quant ? quant_word_data : red_value),
      .word_second_i(red_index),
      .idle_o       (write_idle),
      .vwr_valid_o,
      .vwr_line_o,
      .vwr_mask_o,
      .vwr_data_o,
      .vwr_ready_i
  );
endmodule

`default_nettype wire
