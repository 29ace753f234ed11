// Purpose: largest magnitude of the lines of a block or row, the scale of the codes
//          (num::ActScale::for_amax, for_nibbles) and its inverse.
// Latency: 8 cycles from the last line to the scale.
// Throughput: one line a cycle.
// Back-pressure: none; at most two scales wait, the reader sees to that.

`default_nettype none

module sfu_scale
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes = 8
) (
    input  wire logic                      clk_i,
    input  wire logic                      rst_ni,
    input  wire logic                      clr_i,
    input  wire logic                      f16_range_i,
    input  wire logic                      nibbles_i,
    input  wire logic                      valid_i,
    input  wire logic                      last_i,
    input  wire logic [SfuLanes-1:0]       mask_i,
    input  wire logic [SfuLanes-1:0][31:0] data_i,
    output logic                           valid_o,
    input  wire logic                      ready_i,
    output scale_t                         scale_o,
    output logic [31:0]                    inverse_o
);
  localparam int unsigned Pairs = SfuLanes / 2;
  // 1/127 and 1/7.5 rounded to f32.
  localparam logic [31:0] Inverse127 = 32'h3c01_0204;
  localparam logic [31:0] Inverse7Point5 = 32'h3e08_8889;

  // ------------------------------------------------------------------ magnitudes
  // num::amax_magnitude
  function automatic logic [30:0] magnitude(logic [30:0] w);
    if (w[30:23] == 8'hff) return 31'h7f7f_ffff;
    if (w[30:23] == '0) return '0;
    return w;
  endfunction

  function automatic logic [30:0] larger(logic [30:0] p, logic [30:0] q);
    return p > q ? p : q;
  endfunction

  function automatic logic [30:0] largest(logic [Pairs-1:0][30:0] pairs);
    logic [30:0] m;
    m = pairs[0];
    for (int unsigned i = 1; i < Pairs; i++) m = larger(m, pairs[i]);
    return m;
  endfunction

  logic                   valid1_q, last1_q, valid2_q, last2_q, first_q, done_q;
  logic [Pairs-1:0][30:0] pairs_q;
  logic [30:0]            line_max_q, max_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      valid1_q <= 1'b0;
      valid2_q <= 1'b0;
      done_q   <= 1'b0;
      first_q  <= 1'b1;
    end else begin
      valid1_q <= valid_i;
      valid2_q <= valid1_q;
      done_q   <= valid2_q && last2_q;
      if (valid2_q) first_q <= last2_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      last1_q <= last_i;
      for (int unsigned i = 0; i < Pairs; i++) begin
        pairs_q[i] <= larger(mask_i[2*i] ? magnitude(data_i[2*i][30:0]) : '0,
                             mask_i[2*i+1] ? magnitude(data_i[2*i+1][30:0]) : '0);
      end
    end
    if (valid1_q) begin
      last2_q    <= last1_q;
      line_max_q <= largest(pairs_q);
    end
    if (valid2_q) max_q <= larger(line_max_q, first_q ? '0 : max_q);
  end

  // ------------------------------------------------------------------ scale
  logic [2:0]  mul_q;
  logic        scale_valid_q;
  logic [31:0] scaled;
  scale_t      scale_q;

  fp_mul u_mul (
      .clk_i,
      .en_i    ({mul_q[1:0], done_q}),
      .a_i     ({1'b0, max_q}),
      .b_i     (nibbles_i ? Inverse7Point5 : Inverse127),
      .result_o(scaled)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      mul_q         <= '0;
      scale_valid_q <= 1'b0;
    end else begin
      mul_q         <= {mul_q[1:0], done_q};
      scale_valid_q <= mul_q[2];
    end
  end

  // Rounds up to 8 significant bits and clamps the exponent.
  function automatic scale_t to_scale(logic [30:0] t, logic f16_range, logic nibbles);
    logic [15:0]       kept;  // exponent above significand; a carry moves up as it must
    logic signed [9:0] exponent;
    logic [5:0]        lowest, highest;
    lowest   = f16_range ? 6'd17 : 6'd0;
    highest  = !f16_range ? 6'd47 : nibbles ? 6'd43 : 6'd46;
    kept     = {1'b0, t[30:16]} + 16'(t[15:0] != '0);
    exponent = $signed({1'b0, kept[15:7]}) - 10'sd96;
    if (t[30:23] == '0 || exponent < $signed({4'd0, lowest})) begin
      return '{significand: '0, exponent: lowest};
    end
    if (exponent > $signed({4'd0, highest})) return '{significand: '1, exponent: highest};
    return '{significand: kept[6:0], exponent: exponent[5:0]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (mul_q[2]) scale_q <= to_scale(scaled[30:0], f16_range_i, nibbles_i);
  end

  // num::ActScale::inverse: a power of two times the table's 128 / significand.
  logic [31:0]                 ratio, inverse;
  logic                        room, unused_sign;
  logic [1:0]                  unused_usage;

  assign ratio       = lampyris_isa_pkg::InverseRom[scale_q.significand];
  assign inverse     = {1'b0, ratio[30:23] + 8'd31 - 8'(scale_q.exponent), ratio[22:0]};
  assign unused_sign = ratio[31] ^ scaled[31];

  prim_fifo #(
      .Width($bits(scale_t) + 32),
      .Depth(2)
  ) u_scales (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(scale_valid_q),
      .wready_o(room),
      .wdata_i ({scale_q, inverse}),
      .rvalid_o(valid_o),
      .rready_i(ready_i),
      .rdata_o ({scale_o, inverse_o}),
      .usage_o (unused_usage)
  );

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i) begin
      assert (!scale_valid_q || room) else $fatal(1, "sfu_scale: no room for a scale");
    end
  end
`else
  logic unused_room;
  assign unused_room = room;
`endif
endmodule

`default_nettype wire
