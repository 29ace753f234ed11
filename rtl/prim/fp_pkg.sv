// Purpose: binary32 fields, constants and small functions of the arithmetic (rtl/isa/src/num.rs).
// Latency, throughput, back-pressure: none (types and functions).

`default_nettype none

// A module uses some of the constants, a function some of its argument's bits.
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off UNUSEDSIGNAL */
package fp_pkg;
  typedef struct packed {
    logic        sign;
    logic [7:0]  exponent;
    logic [22:0] fraction;
  } fp32_t;

  // The only NaN.
  localparam logic [31:0] Nan = 32'h7fc0_0000;
  localparam logic [30:0] Infinity = 31'h7f80_0000;

  // Clock cycles from operands to result.
  localparam int unsigned FpMulLatency = 3;
  localparam int unsigned FpAddLatency = 5;
  localparam int unsigned FpFuncLatency = 6;
  localparam int unsigned FixToFpLatency = 3;

  function automatic logic is_nan(fp32_t x);
    return x.exponent == 8'hff && x.fraction != '0;
  endfunction

  function automatic logic is_inf(fp32_t x);
    return x.exponent == 8'hff && x.fraction == '0;
  endfunction

  // Subnormal numbers count as zero.
  function automatic logic is_zero(fp32_t x);
    return x.exponent == '0;
  endfunction

  // num::canonical
  function automatic logic [31:0] canonical(fp32_t x);
    if (is_zero(x)) return {x.sign, 31'd0};
    if (is_nan(x)) return Nan;
    return x;
  endfunction

  // num::relu
  function automatic logic [31:0] relu(fp32_t x);
    if (x.sign && !is_nan(x)) return '0;
    return canonical(x);
  endfunction
endpackage
/* verilator lint_on UNUSEDPARAM */
/* verilator lint_on UNUSEDSIGNAL */

`default_nettype wire
