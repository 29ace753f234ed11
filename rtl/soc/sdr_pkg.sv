// Purpose: commands and sizes that the parts of the SDR SDRAM controller share.
// Latency, throughput, back-pressure: none (types).

`default_nettype none

// A module uses some of the constants.
/* verilator lint_off UNUSEDPARAM */
package sdr_pkg;
  // The pins {ras_n, cas_n, we_n}.
  typedef enum logic [2:0] {
    CmdMode      = 3'b000,
    CmdRefresh   = 3'b001,
    CmdPrecharge = 3'b010,
    CmdActivate  = 3'b011,
    CmdWrite     = 3'b100,
    CmdRead      = 3'b101,
    CmdNop       = 3'b111
  } cmd_e;

  // Most CAS bursts of a chunk. A power of two, so that an aligned chunk never leaves its row.
  localparam int unsigned ChunkBursts = 8;
  localparam int unsigned CountW = $clog2(ChunkBursts + 1);
  // Beats in each of the data FIFOs: four chunks of the shortest kind of beat.
  localparam int unsigned FifoBeats = 64;
  // Transactions that each channel takes before it answers the first.
  localparam int unsigned Outstanding = 8;
  // Widest timing between two commands, in bits.
  localparam int unsigned TimerW = 5;

  // Words of a CAS burst: 8, or a whole beat where that is shorter.
  function automatic int unsigned burst_words(int unsigned axi_bits, int unsigned dq_bits);
    return axi_bits / dq_bits < 8 ? axi_bits / dq_bits : 8;
  endfunction
endpackage
/* verilator lint_on UNUSEDPARAM */

`default_nettype wire
