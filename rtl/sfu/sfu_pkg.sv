// Purpose: types inside the special-function unit.
// Latency, throughput, back-pressure: none (types).

`default_nettype none

// A module uses some of the constants.
/* verilator lint_off UNUSEDPARAM */
package sfu_pkg;
  typedef enum logic [1:0] {
    KindVop,
    KindQuant,
    KindDeq
  } kind_e;

  // Values of a vop's fields.
  localparam logic [1:0] MulNone = 2'd0, MulB = 2'd1, MulS1 = 2'd2, MulSelf = 2'd3;
  localparam logic [1:0] AddNone = 2'd0, AddB = 2'd1, AddS1 = 2'd2, AddS2 = 2'd3;
  localparam logic [2:0] FuncNone = 3'd0, FuncExp2 = 3'd1, FuncRsqrt = 3'd3, FuncRelu = 3'd4;
  localparam logic [1:0] RedNone = 2'd0, RedSum = 2'd1, RedMax = 2'd2, RedArgmax = 2'd3;

  // What shares a scale in a quant.
  localparam logic [1:0] GroupRow = 2'd1, GroupTwo = 2'd2, GroupFour = 2'd3;

  // An instruction with absolute operands. quant: b is x, bstride xstride, red_addr scale_addr.
  // deq: b is scales.
  typedef struct packed {
    kind_e       kind;
    logic [1:0]  mul;
    logic [1:0]  add;
    logic [2:0]  func;
    logic [1:0]  red;
    logic        swap;
    logic        write;
    logic        use_b;
    logic        load_s1;
    logic        load_s2;
    logic        s1_row;
    logic        s2_row;
    logic [1:0]  group;
    logic        f16_range;
    logic        scale_out;
    logic        nibbles;
    logic [3:0]  bits;
    logic [31:0] s1;
    logic [17:0] s2;
    logic [17:0] red_addr;
    logic [17:0] a;
    logic [17:0] b;
    logic [17:0] d;
    logic [18:0] n;
    logic [39:0] rows;
    logic [15:0] astride;
    logic [15:0] bstride;
    logic [15:0] dstride;
  } op_t;

  // Scale of an activation block (num::ActScale).
  typedef struct packed {
    logic [5:0] exponent;
    logic [6:0] significand;
  } scale_t;

  // What travels beside a line through the lanes.
  typedef struct packed {
    logic        last;   // of the row (vop) or of the block (quant)
    logic [7:0]  mask;   // lanes that hold elements
    logic [17:0] addr;   // line to write (vop, deq) or block to write (quant)
    scale_t      scale;  // of the block (quant)
  } meta_t;
endpackage
/* verilator lint_on UNUSEDPARAM */

`default_nettype wire
