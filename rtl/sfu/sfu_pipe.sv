// Purpose: the lanes with their stage enables and what travels beside each line.
// Latency: 2 cycles and that of the parts in use (sfu_lane).
// Throughput: one line a cycle.
// Back-pressure: none: whoever feeds it has reserved room behind it.
// Notes: use_*_i and func_i are constant while busy_o.

`default_nettype none

module sfu_pipe
  import sfu_pkg::*;
#(
    parameter int unsigned SfuLanes = 8
) (
    input  wire logic                     clk_i,
    input  wire logic                     rst_ni,
    input  wire logic                     clr_i,
    input  wire logic                     use_mul_i,
    input  wire logic                     use_add_i,
    input  wire logic [2:0]               func_i,
    input  wire logic                     valid_i,
    input  wire logic [SfuLanes-1:0][31:0] x_i,
    input  wire logic [SfuLanes-1:0][31:0] y_i,
    input  wire logic [SfuLanes-1:0][31:0] z_i,
    input  wire meta_t                    meta_i,
    output logic                          valid_o,
    output logic [SfuLanes-1:0][31:0]     w_o,
    output meta_t                         meta_o,
    output logic                          busy_o
);
  // Lines under way: one a stage.
  localparam int unsigned MetaDepth = 16;

  logic                      valid_q, mul_done, add_done, use_func, done;
  logic [2:0]                mul_q, mul_en;
  logic [4:0]                add_q, add_en;
  logic [5:0]                func_q, func_en;
  logic [SfuLanes-1:0][31:0] x_q, y_q, z_q;

  assign use_func = func_i >= FuncExp2 && func_i <= FuncRsqrt;
  assign mul_en   = {mul_q[1:0], valid_q && use_mul_i};
  assign mul_done = use_mul_i ? mul_q[2] : valid_q;
  assign add_en   = {add_q[3:0], mul_done && use_add_i};
  assign add_done = use_add_i ? add_q[4] : mul_done;
  assign func_en  = {func_q[4:0], add_done && use_func};
  assign done     = use_func ? func_q[5] : add_done;
  assign busy_o   = valid_q || mul_q != '0 || add_q != '0 || func_q != '0 || valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      valid_q <= 1'b0;
      mul_q   <= '0;
      add_q   <= '0;
      func_q  <= '0;
      valid_o <= 1'b0;
    end else begin
      valid_q <= valid_i;
      mul_q   <= mul_en;
      add_q   <= add_en;
      func_q  <= func_en;
      valid_o <= done;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      x_q <= x_i;
      y_q <= y_i;
      z_q <= z_i;
    end
  end

  // Each consumer begins with a long path of its own, so the choice of parts ends here.
  logic [SfuLanes-1:0][31:0] w;
  meta_t                     meta;

  always_ff @(posedge clk_i) begin
    if (done) begin
      w_o    <= w;
      meta_o <= meta;
    end
  end

  for (genvar i = 0; i < int'(SfuLanes); i++) begin : g_lane
    sfu_lane u_lane (
        .clk_i,
        .use_mul_i,
        .use_add_i,
        .func_i,
        .mul_en_i (mul_en),
        .add_en_i (add_en),
        .func_en_i(func_en),
        .x_i      (x_q[i]),
        .y_i      (y_q[i]),
        .z_i      (z_q[i]),
        .w_o      (w[i])
    );
  end

  logic                           meta_room, meta_valid;
  logic [$clog2(MetaDepth+1)-1:0] unused_usage;

  prim_fifo #(
      .Width($bits(meta_t)),
      .Depth(MetaDepth)
  ) u_meta (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(valid_i),
      .wready_o(meta_room),
      .wdata_i (meta_i),
      .rvalid_o(meta_valid),
      .rready_i(done),
      .rdata_o (meta),
      .usage_o (unused_usage)
  );

  // Stages and FIFO move together, so the FIFO can neither overflow nor run dry.
`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i) begin
      assert (!valid_i || meta_room) else $fatal(1, "sfu_pipe: no room beside the lanes");
      assert (!done || meta_valid) else $fatal(1, "sfu_pipe: line without address");
    end
  end
`else
  logic unused_flags;
  assign unused_flags = meta_room ^ meta_valid;
`endif
endmodule

`default_nettype wire
