// Purpose: absolute operands of vop, quant and deq, their checks, and whether rows may overlap.
// Latency: op_o 1 cycle after accept_i, the verdict 2, hazard_o 3; all hold until the next accept_i.
// Throughput: one instruction every three cycles.
// Back-pressure: none.

`default_nettype none

module sfu_decode
  import sfu_pkg::*;
#(
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096,
    parameter int unsigned WeightBits = 380,
    parameter int unsigned Sparsity   = 2,
    parameter bit          Kv4        = 1'b1
) (
    input  wire logic                 clk_i,
    input  wire logic                 accept_i,
    input  wire lampyris_pkg::desc_t  desc_i,
    output logic [31:0]               seq_o,
    output op_t                       op_o,
    output logic                      nothing_o,   // retires without an effect
    output logic [7:0]                err_code_o,  // 0: none
    output logic                      hazard_o     // a row may read what an earlier one writes
);
  lampyris_isa_pkg::vop_t   vop;
  lampyris_isa_pkg::quant_t quant;
  lampyris_isa_pkg::deq_t   deq;
  logic                     unused_fields;

  assign vop           = desc_i.insn;
  assign quant         = desc_i.insn;
  assign deq           = desc_i.insn;
  assign unused_fields = ^{desc_i.rval, vop, quant, deq};

  // ------------------------------------------------------------------ operands
  // Ranges in 40 bits as the checks need them; op_o has the bits that remain if they hold.
  typedef struct packed {
    logic        is_vop;
    logic        is_quant;
    logic        is_deq;
    logic        bad_code;  // a field has an illegal value
    logic [3:0]  bits;
    logic [39:0] a;
    logic [39:0] b;
    logic [39:0] d;
    logic [39:0] n;
    logic [39:0] rows;
    logic [31:0] s1;
  } wide_t;

  wide_t wide, wide_q;
  op_t   op, op_q;
  logic  accepted_q;
  logic  use_s1;

  assign use_s1 = vop.mul == MulS1 || vop.add == AddS1;

  always_comb begin
    wide          = '0;
    wide.is_vop   = vop.opcode == lampyris_isa_pkg::OpVop;
    wide.is_quant = vop.opcode == lampyris_isa_pkg::OpQuant;
    wide.is_deq   = vop.opcode == lampyris_isa_pkg::OpDeq;
    wide.bits     = deq.bits;
    wide.s1       = vop.s1;
    if (wide.is_deq) begin
      wide.a    = desc_i.rval[0] + 40'(deq.a);
      wide.b    = 40'(deq.scales);
      wide.d    = desc_i.rval[2] + 40'(deq.d);
      wide.n    = 40'(deq.n);
      wide.rows = 40'd1;
    end else begin
      wide.bad_code = (wide.is_vop && vop.func > FuncRelu) ||
                      (wide.is_quant && ((quant.group == GroupTwo && Sparsity < 1) ||
                                         (quant.group == GroupFour && Sparsity < 2) ||
                                         (quant.nibbles && !Kv4)));
      wide.a        = desc_i.rval[0] + 40'(vop.a);
      wide.b        = desc_i.rval[1] + (wide.is_quant ? 40'(quant.x) : 40'(vop.b));
      wide.d        = desc_i.rval[2] + 40'(vop.d);
      wide.n        = desc_i.rval[3] + 40'(vop.n);
      wide.rows     = desc_i.rval[4] + 40'(vop.rows);
    end
  end

  always_comb begin
    op         = '0;
    op.astride = vop.astride;
    if (wide.is_vop) begin
      op.kind     = KindVop;
      op.mul      = vop.mul;
      op.add      = vop.add;
      op.func     = vop.func;
      op.red      = vop.red;
      op.swap     = vop.swap;
      op.write    = vop.write;
      op.use_b    = vop.mul == MulB || vop.add == AddB;
      op.load_s1  = use_s1 && vop.s1_mem;
      op.load_s2  = vop.add == AddS2;
      op.s1_row   = vop.s1_row;
      op.s2_row   = vop.s2_row;
      op.s1       = vop.s1;
      op.s2       = 18'(vop.s2);
      op.red_addr = 18'(vop.red_addr);
      op.bstride  = vop.bstride;
      op.dstride  = vop.dstride;
    end else if (wide.is_quant) begin
      op.kind      = KindQuant;
      op.mul       = MulB;
      op.group     = Sparsity == 0 ? {1'b0, quant.group[0]} : quant.group;
      op.f16_range = quant.f16_range;
      op.scale_out = quant.scale_out;
      op.nibbles   = Kv4 && quant.nibbles;
      op.red_addr  = quant.scale_addr;
      op.bstride   = 16'(quant.xstride);
    end else begin
      op.kind    = KindDeq;
      op.mul     = MulB;
      op.add     = AddB;
      op.write   = 1'b1;
      op.use_b   = 1'b1;
      op.bits    = deq.bits;
      op.astride = '0;
    end
  end

  always_ff @(posedge clk_i) begin
    accepted_q <= accept_i;
    if (accept_i) begin
      seq_o  <= desc_i.seq;
      op_q   <= op;
      wide_q <= wide;
    end
  end

  always_comb begin
    op_o      = op_q;
    op_o.a    = wide_q.a[17:0];
    op_o.b    = wide_q.b[17:0];
    op_o.d    = wide_q.d[17:0];
    op_o.n    = wide_q.n[18:0];
    op_o.rows = wide_q.rows;
  end

  // ------------------------------------------------------------------ ranges
  localparam int unsigned BLimit = VmemWords > XbufBlocks ? VmemWords : XbufBlocks;

  logic [39:0] rows_less_1, whole, blocks, words;
  logic [1:0]  extra;
  logic        known_bits;
  logic [18:0] a_end, b_end, d_end, s1_end, s2_end, red_end;
  logic        a_bad, bx_bad, b_bad, x_bad, d_bad, s1_bad, s2_bad, red_bad;

  assign rows_less_1 = wide_q.rows - 40'd1;
  assign whole       = (wide_q.n >> 5) + 40'(wide_q.n[4:0] != '0);
  // Two or four blocks with one scale are written together.
  assign extra       = op_q.group == GroupFour ? 2'd3 : op_q.group == GroupTwo ? 2'd1 : 2'd0;
  assign blocks      = (whole + 40'(extra)) & ~40'(extra);

  // A block of codes of b bits takes b words.
  always_comb begin
    words      = wide_q.n;
    known_bits = 1'b0;
    for (int unsigned b = 2; b <= 8; b++) begin
      if (WeightBits[b] && wide_q.bits == 4'(b)) begin
        known_bits = 1'b1;
        if (wide_q.is_deq) words = (wide_q.n >> 5) * 40'(b);
      end
    end
  end

  sfu_rect #(.Limit(VmemWords)) u_a (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (wide_q.a),
      .len_i        (words),
      .rows_less_1_i(rows_less_1),
      .stride_i     (op_q.astride),
      .end_o        (a_end),
      .bad_o        (a_bad)
  );

  // One range in vector memory or, for quant, in the activation buffer.
  sfu_rect #(.Limit(BLimit)) u_b (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (wide_q.b),
      .len_i        (wide_q.is_vop ? wide_q.n : blocks),
      .rows_less_1_i(rows_less_1),
      .stride_i     (op_q.bstride),
      .end_o        (b_end),
      .bad_o        (bx_bad)
  );
  assign b_bad = bx_bad || b_end > 19'(VmemWords);
  assign x_bad = bx_bad || b_end > 19'(XbufBlocks);

  sfu_rect #(.Limit(VmemWords)) u_d (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (wide_q.d),
      .len_i        (wide_q.n),
      .rows_less_1_i(rows_less_1),
      .stride_i     (op_q.dstride),
      .end_o        (d_end),
      .bad_o        (d_bad)
  );

  sfu_rect #(.Limit(VmemWords)) u_s1 (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (40'(wide_q.s1)),
      .len_i        (40'd1),
      .rows_less_1_i(rows_less_1),
      .stride_i     (16'(op_q.s1_row)),
      .end_o        (s1_end),
      .bad_o        (s1_bad)
  );

  sfu_rect #(.Limit(VmemWords)) u_s2 (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (40'(op_q.s2)),
      .len_i        (40'd1),
      .rows_less_1_i(rows_less_1),
      .stride_i     (16'(op_q.s2_row)),
      .end_o        (s2_end),
      .bad_o        (s2_bad)
  );

  logic [1:0] red_words;
  assign red_words = (op_q.red == RedArgmax) ? 2'd2 : 2'd1;

  sfu_rect #(.Limit(VmemWords)) u_red (
      .clk_i,
      .en_i         (accepted_q),
      .start_i      (40'(op_q.red_addr)),
      .len_i        (40'(red_words)),
      .rows_less_1_i(rows_less_1),
      .stride_i     (16'(red_words)),
      .end_o        (red_end),
      .bad_o        (red_bad)
  );

  // ------------------------------------------------------------------ verdict
  logic empty, misaligned, outside;

  assign empty      = wide_q.n == '0 || wide_q.rows == '0;
  assign nothing_o  = empty || (wide_q.is_vop && !op_q.write && op_q.red == RedNone);
  assign misaligned = wide_q.a[2:0] != '0 || op_q.astride[2:0] != '0 ||
                      (wide_q.is_vop && op_q.use_b &&
                       (wide_q.b[2:0] != '0 || op_q.bstride[2:0] != '0)) ||
                      (op_q.write && (wide_q.d[2:0] != '0 || op_q.dstride[2:0] != '0));
  assign outside    = a_bad || (op_q.use_b && b_bad) || (wide_q.is_quant && x_bad) ||
                      (op_q.write && d_bad) || (op_q.load_s1 && s1_bad) ||
                      (op_q.load_s2 && s2_bad) ||
                      ((op_q.red != RedNone || op_q.scale_out) && red_bad);

  always_comb begin
    err_code_o = 8'd0;
    if (wide_q.bad_code || !(wide_q.is_vop || wide_q.is_quant || wide_q.is_deq) ||
        (wide_q.is_deq && !known_bits)) begin
      err_code_o = lampyris_isa_pkg::ErrIllegal;
    end else if (wide_q.is_deq && wide_q.n[4:0] != '0) begin
      err_code_o = lampyris_isa_pkg::ErrOperand;
    end else if (!empty && (misaligned || outside)) begin
      err_code_o = lampyris_isa_pkg::ErrAddress;
    end
  end

  // ------------------------------------------------------------------ rows that overlap
  typedef struct packed {
    logic        used;
    logic [17:0] first;
    logic [18:0] stop;
  } range_t;

  // In place is harmless: a row then reads only what the same row writes, and reads it first.
  logic   in_place_a, in_place_b, apart;
  range_t a, b, d, s1, s2, red;

  function automatic logic meet(range_t p, range_t q);
    return p.used && q.used && {1'b0, p.first} < q.stop && {1'b0, q.first} < p.stop;
  endfunction

  always_comb begin
    // A swapped row of odd length reads one word more; vectors start at multiples of 8.
    a   = '{used: 1'b1, first: op_o.a, stop: a_end + 19'(op_o.swap)};
    b   = '{used: op_o.use_b, first: op_o.b, stop: b_end};
    d   = '{used: op_o.write, first: op_o.d, stop: d_end};
    s1  = '{used: op_o.load_s1, first: op_o.s1[17:0], stop: s1_end};
    s2  = '{used: op_o.load_s2, first: op_o.s2, stop: s2_end};
    red = '{used: op_o.red != RedNone, first: op_o.red_addr, stop: red_end};
  end

  assign apart      = 19'(op_o.dstride) >= op_o.n;
  assign in_place_a = apart && op_o.d == op_o.a && op_o.dstride == op_o.astride;
  assign in_place_b = apart && op_o.d == op_o.b && op_o.dstride == op_o.bstride;

  always_ff @(posedge clk_i) begin
    hazard_o <= (meet(d, a) && !in_place_a) || (meet(d, b) && !in_place_b) || meet(d, s1) ||
                meet(d, s2) || meet(d, red) || meet(red, a) || meet(red, b) || meet(red, s1) ||
                meet(red, s2);
  end
endmodule

`default_nettype wire
