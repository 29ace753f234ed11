// Purpose: rounds scaled elements to codes of 8 or 4 bits and assembles activation blocks.
// Latency: the block is written 3 cycles after its last line.
// Throughput: one line a cycle.
// Back-pressure: none; the activation buffer always accepts.

`default_nettype none

module sfu_codes
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned XbufBlocks = 4096,
    localparam int unsigned XaW       = $clog2(XbufBlocks)
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic                      nibbles_i,   // holds while blocks are under way
    input  wire logic                      valid_i,
    input  wire logic [SfuLanes-1:0][31:0] w_i,
    input  wire logic                      last_i,
    input  wire logic [XaW-1:0]            block_i,
    input  wire scale_t                    scale_i,
    output logic                           busy_o,
    output logic                           xwr_valid_o,
    output logic [XaW-1:0]                 xwr_addr_o,
    output lampyris_pkg::act_block_t       xwr_data_o
);
  localparam int unsigned LineBits = 8 * SfuLanes;

  // num::quantize after the product: to nearest even, at most 127 in magnitude (or -8 to 7), NaN
  // gives 0. The first half moves the point.
  typedef struct packed {
    logic       sign;
    logic       zero;
    logic       beyond;
    logic [7:0] whole;
    logic       half;
    logic       rest;
  } fixed_t;

  function automatic fixed_t to_fixed(logic [31:0] w);
    logic [31:0] fixed;  // 8 integer bits
    fixed_t      f;
    fixed   = {1'b1, w[22:0], 8'd0} >> (8'd134 - w[30:23]);
    f.sign  = w[31];
    f.zero  = w[30:23] < 8'd126 || (w[30:23] == 8'hff && w[22:0] != '0);
    f.beyond = w[30:23] > 8'd133;
    f.whole = fixed[31:24];
    f.half  = fixed[23];
    f.rest  = fixed[22:0] != '0;
    return f;
  endfunction

  function automatic logic [7:0] to_code(fixed_t f, logic nibbles);
    logic [7:0] magnitude, most;
    magnitude = f.whole + 8'(f.half && (f.whole[0] || f.rest));
    most = !nibbles ? 8'd127 : f.sign ? 8'd8 : 8'd7;
    if (f.zero) magnitude = '0;
    else if (f.beyond || magnitude > most) magnitude = most;
    return f.sign ? ~magnitude + 8'd1 : magnitude;
  endfunction

  function automatic logic signed [12:0] add_codes(logic [SfuLanes-1:0][7:0] line_codes);
    logic signed [12:0] total;
    total = '0;
    for (int unsigned i = 0; i < SfuLanes; i++) total += 13'($signed(line_codes[i]));
    return total;
  endfunction

  logic                     fixed_valid_q, fixed_last_q;
  fixed_t [SfuLanes-1:0]    fixed_q;
  logic [XaW-1:0]           fixed_block_q;
  scale_t                   fixed_scale_q;
  logic                     valid_q, last_q, first_q;
  logic [SfuLanes-1:0][7:0] codes_q;
  logic [XaW-1:0]           block_q;
  scale_t                   scale_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      fixed_valid_q <= 1'b0;
      valid_q       <= 1'b0;
      first_q       <= 1'b1;
      xwr_valid_o   <= 1'b0;
    end else begin
      fixed_valid_q <= valid_i;
      valid_q       <= fixed_valid_q;
      xwr_valid_o   <= valid_q && last_q;
      if (valid_q) first_q <= last_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      fixed_last_q  <= last_i;
      fixed_block_q <= block_i;
      fixed_scale_q <= scale_i;
      for (int unsigned i = 0; i < SfuLanes; i++) fixed_q[i] <= to_fixed(w_i[i]);
    end
    if (fixed_valid_q) begin
      last_q  <= fixed_last_q;
      block_q <= fixed_block_q;
      scale_q <= fixed_scale_q;
      for (int unsigned i = 0; i < SfuLanes; i++) codes_q[i] <= to_code(fixed_q[i], nibbles_i);
    end
    if (valid_q) begin
      // The first line moves down to code 0 as the others follow.
      xwr_data_o.codes       <= {codes_q, xwr_data_o.codes[31:SfuLanes]};
      xwr_data_o.sum         <= add_codes(codes_q) + (first_q ? '0 : xwr_data_o.sum);
      xwr_data_o.significand <= scale_q.significand;
      xwr_data_o.exponent    <= scale_q.exponent;
      xwr_addr_o             <= block_q;
    end
  end

  assign busy_o = fixed_valid_q || valid_q || xwr_valid_o;

  if (LineBits > 256) begin : g_check_lanes
    $error("sfu_codes: a line has more codes than a block");
  end
endmodule

`default_nettype wire
