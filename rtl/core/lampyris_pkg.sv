// Purpose: types shared by the units of the accelerator that are not part of the instruction set.
// Latency, throughput, back-pressure: none (types).

`default_nettype none

package lampyris_pkg;
  // What the sequencer hands to a unit: see docs/microarchitecture.md.
  typedef struct packed {
    logic [31:0]      seq;
    logic [4:0][39:0] rval;
    logic [255:0]     insn;
  } desc_t;

  // One block of 32 quantized activations.
  typedef struct packed {
    logic signed [12:0] sum;
    logic [5:0]         exponent;
    logic [6:0]         significand;
    logic [31:0][7:0]   codes;
  } act_block_t;
endpackage

`default_nettype wire
