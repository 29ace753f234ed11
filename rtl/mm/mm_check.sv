// Purpose: absolute operands of mm and mv, and their checks.
// Latency: operands one cycle after accept_i, verdict three cycles after.
// Throughput: one instruction every three cycles.
// Back-pressure: none; the result holds until the next accept_i.
// Notes: products and sums are registered between the cycles, so phase_i tells which one it is.

`default_nettype none

module mm_check #(
    parameter int unsigned Channels   = 1,
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned MaxTokens  = 16,
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096,
    parameter int unsigned WeightBits = 380,
    parameter int unsigned Sparsity   = 2,
    parameter bit          Kv4        = 1'b1  // paired rows of 4-bit codes
) (
    input  wire logic                                   clk_i,
    input  wire logic                                   accept_i,
    input  wire lampyris_pkg::desc_t                    desc_i,
    output logic [31:0]                                 seq_o,
    output logic [3:0]                                  width_o,     // of a field: code and index
    output logic [1:0]                                  sparsity_o,
    output logic                                        header_o,
    output logic                                        paired_o,
    output logic [$clog2(XbufBlocks)-1:0]               x_o,
    output logic [$clog2(XbufBlocks)-1:0]               xstride_o,
    output logic [$clog2(XbufBlocks):0]                 kblocks_o,
    output logic [$clog2(VmemWords/16):0]               groups_o,
    output logic [4:0]                                  token_last_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       line_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       line_stride_o,
    output logic                                        empty_o,
    output logic [7:0]                                  err_code_o
);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned VaW = $clog2(VmemWords);
  localparam int unsigned XaW = $clog2(XbufBlocks);
  localparam int unsigned MostGroups = VmemWords / (16 * Channels);

  lampyris_isa_pkg::mm_t insn;
  logic vector, unused_desc;

  // mv has the same fields at the same places, less tokens and strides.
  assign insn        = desc_i.insn;
  assign vector      = insn.opcode == lampyris_isa_pkg::OpMv;
  assign unused_desc = ^{desc_i, insn};

  // ------------------------------------------------------------------ operands
  logic [39:0] x_q, y_q, kblocks_q, groups_q, tokens_q;
  logic [13:0] xstride_q;
  logic [17:0] ystride_q;
  logic [31:0] seq_q;
  logic [3:0] bits_q;
  logic [1:0] header_q;
  logic [2:0] sparsity_q;

  always_ff @(posedge clk_i) begin
    if (accept_i) begin
      seq_q      <= desc_i.seq;
      x_q        <= desc_i.rval[0] + 40'(insn.x);
      y_q        <= desc_i.rval[1] + 40'(insn.y);
      kblocks_q  <= desc_i.rval[2] + 40'(insn.kblocks);
      groups_q   <= desc_i.rval[3] + 40'(insn.groups);
      tokens_q   <= vector ? 40'd1 : desc_i.rval[4] + 40'(insn.tokens);
      xstride_q  <= vector ? '0 : insn.xstride;
      ystride_q  <= vector ? '0 : insn.ystride;
      bits_q     <= insn.bits;
      header_q   <= insn.header;
      sparsity_q <= insn.sparsity;
    end
  end

  assign token_last_o  = tokens_q[4:0] - 5'd1;
  assign seq_o         = seq_q;
  assign sparsity_o    = Sparsity == 0 ? 2'd0 : sparsity_q[1:0];
  assign width_o       = bits_q + {1'b0, sparsity_o, 1'b0};
  assign header_o      = header_q == 2'd0;
  assign paired_o      = Kv4 && header_q == 2'd2;
  assign x_o           = x_q[XaW-1:0];
  assign xstride_o     = XaW'(xstride_q);
  assign kblocks_o     = kblocks_q[XaW:0];
  assign groups_o      = groups_q[VaW-4:0];
  assign line_o        = y_q[VaW-1:LaneW];
  assign line_stride_o = (VaW - LaneW)'(ystride_q >> LaneW);

  // ------------------------------------------------------------------ checks
  // Whether the configuration has tiles with codes of this width.
  function automatic logic known(logic [3:0] bits, logic [2:0] sparsity);
    logic found;
    found = 1'b0;
    for (int unsigned s = 0; s <= Sparsity; s++) begin
      for (int unsigned b = 2; b + 2 * s <= 8; b++) begin
        if (WeightBits[b+2*s] && bits == 4'(b) && sparsity == 3'(s)) found = 1'b1;
      end
    end
    return found;
  endfunction

  // Blocks that a tile spans divide the addresses of blocks.
  logic [1:0] low, span_mask;
  assign low       = x_q[1:0] | xstride_q[1:0] | kblocks_q[1:0];
  assign span_mask = sparsity_o == 2'd2 ? 2'b11 : sparsity_o == 2'd1 ? 2'b01 : 2'b00;

  // Second cycle: distance to the last vector and extent of one vector.
  logic [18:0] xspan_q;
  logic [22:0] yspan_q;
  logic [15:0] xend_q;
  logic [19:0] yend_q;
  logic illegal_q, operand_q, far_q;
  // Third cycle.
  logic outside;

  always_ff @(posedge clk_i) begin
    xspan_q   <= token_last_o * xstride_q;
    yspan_q   <= token_last_o * ystride_q;
    xend_q    <= 16'(x_q[14:0]) + 16'(kblocks_q[14:0]);
    yend_q    <= 20'(y_q[18:0]) + (20'(groups_q[14:0]) << $clog2(16 * Channels));
    illegal_q <= !known(bits_q, sparsity_q) || header_q == 2'd3
        || (header_q == 2'd2 && (!Kv4 || bits_q != 4'd4 || sparsity_q != 3'd0));
    operand_q <= tokens_q == 0 || tokens_q > 40'(MaxTokens) || kblocks_q == 0
        || (low & span_mask) != 2'b00;
    far_q     <= x_q > 40'(XbufBlocks) || kblocks_q > 40'(XbufBlocks)
        || y_q > 40'(VmemWords) || groups_q > 40'(MostGroups)
        || y_q[2:0] != 0 || ystride_q[2:0] != 0;
    empty_o   <= groups_q == 0;
  end

  assign outside = far_q || 20'(xspan_q) + 20'(xend_q) > 20'(XbufBlocks)
      || 24'(yspan_q) + 24'(yend_q) > 24'(VmemWords);

  always_comb begin
    if (illegal_q) err_code_o = lampyris_isa_pkg::ErrIllegal;
    else if (operand_q) err_code_o = lampyris_isa_pkg::ErrOperand;
    else if (!empty_o && outside) err_code_o = lampyris_isa_pkg::ErrAddress;
    else err_code_o = 8'd0;
  end
endmodule

`default_nettype wire
