// Purpose: takes LD's read beats: weights to the stream, vectors word by word to vector memory.
// Latency: none to the stream; vector beats wait in a block-RAM FIFO of VecBeats.
// Throughput: one beat per cycle in, one vector word per cycle out.
// Back-pressure: none on R (room was reserved); vector writes wait for their grant.
// Notes: instructions retire in order; while drain_i is set beats are thrown away.

`default_nettype none

module ld_recv #(
    parameter int unsigned AxiBits   = 256,
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072,
    parameter int unsigned VecBeats  = 128,
    parameter int unsigned WordsW    = 11   // of the words of a burst
) (
    input  wire logic                               clk_i,
    input  wire logic                               rst_ni,
    input  wire logic                               clr_i,
    input  wire logic                               drain_i,
    // Instructions, in order
    input  wire logic                               instr_valid_i,
    output logic                                    instr_ready_o,
    input  wire logic [31:0]                        instr_seq_i,
    input  wire logic                               instr_empty_i,
    input  wire logic                               instr_vector_i,
    input  wire logic [$clog2(VmemWords)-1:0]       instr_dst_i,
    // Bursts, in order
    input  wire logic                               burst_valid_i,
    output logic                                    burst_ready_o,
    input  wire logic                               burst_vector_i,
    input  wire logic                               burst_last_i,
    input  wire logic [$clog2(AxiBits/32)-1:0]      burst_offset_i,
    input  wire logic [WordsW-1:0]                  burst_words_i,
    // AXI R
    input  wire logic                               rvalid_i,
    output logic                                    rready_o,
    input  wire logic [AxiBits-1:0]                 rdata_i,
    input  wire logic [1:0]                         rresp_i,
    input  wire logic                               rlast_i,
    // Destinations
    output logic                                    swr_valid_o,
    output logic [AxiBits-1:0]                      swr_data_o,
    output logic                                    vec_beat_o,
    output logic                                    vec_pop_o,
    output logic                                    vwr_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]   vwr_line_o,
    output logic [SfuLanes-1:0]                     vwr_mask_o,
    output logic [32*SfuLanes-1:0]                  vwr_data_o,
    input  wire logic                               vwr_ready_i,
    output logic                                    done_o,
    output logic [31:0]                             done_seq_o,
    output logic                                    err_o,
    output logic                                    busy_o,
    output logic                                    idle_o
);
  localparam int unsigned WordsLog2 = $clog2(AxiBits / 32);
  localparam int unsigned VaW = $clog2(VmemWords);
  localparam int unsigned LaneW = $clog2(SfuLanes);

  typedef struct packed {
    logic [31:0]    seq;
    logic           empty;
    logic           vector;
    logic [VaW-1:0] dst;
  } instr_t;

  typedef struct packed {
    logic                 vector;
    logic                 last;    // last burst of its instruction
    logic [WordsLog2-1:0] offset;  // first word used in the first beat
    logic [WordsW-1:0]    words;
  } burst_t;

  typedef struct packed {
    logic                 last;  // last beat of its instruction
    logic [WordsLog2-1:0] from;
    logic [WordsLog2-1:0] to;
    logic [AxiBits-1:0]   data;
  } vec_t;

  instr_t instr_in, instr;
  burst_t burst_in, burst;
  logic instr_valid, instr_pop, burst_valid, burst_pop, beat, fail_q, unused_resp;
  logic [1:0][4:0] unused_usage;
  logic [$clog2(VecBeats + 1)-1:0] unused_free;

  assign instr_in = '{seq: instr_seq_i, empty: instr_empty_i, vector: instr_vector_i, dst: instr_dst_i};
  assign burst_in = '{vector: burst_vector_i, last: burst_last_i, offset: burst_offset_i, words: burst_words_i};

  prim_fifo #(
      .Width($bits(instr_t)),
      .Depth(16)
  ) u_instr (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(instr_valid_i),
      .wready_o(instr_ready_o),
      .wdata_i (instr_in),
      .rvalid_o(instr_valid),
      .rready_i(instr_pop),
      .rdata_o (instr),
      .usage_o (unused_usage[0])
  );

  // Outlives the soft reset: it says how many bursts are still to be thrown away.
  prim_fifo #(
      .Width($bits(burst_t)),
      .Depth(16)
  ) u_burst (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(burst_valid_i),
      .wready_o(burst_ready_o),
      .wdata_i (burst_in),
      .rvalid_o(burst_valid),
      .rready_i(burst_pop),
      .rdata_o (burst),
      .usage_o (unused_usage[1])
  );

  assign unused_resp = rresp_i[0];
  assign rready_o  = burst_valid;
  assign beat      = rvalid_i && burst_valid;
  assign burst_pop = beat && rlast_i;
  assign idle_o    = !burst_valid;
  assign err_o     = beat && rresp_i[1] && !drain_i && !fail_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) fail_q <= 1'b0;
    else if (err_o) fail_q <= 1'b1;
  end

  // ------------------------------------------------------------------ weights
  logic [4:0] stream_done_q;  // ld.w instructions that are complete and not yet retired
  logic stream_end;

  assign swr_valid_o = beat && !burst.vector && !drain_i;
  assign swr_data_o  = rdata_i;
  assign stream_end  = swr_valid_o && rlast_i && burst.last;

  // ------------------------------------------------------------------ vectors
  vec_t vec_in, vec;
  logic vec_valid, first_q;
  logic [WordsW-1:0] words_q, words;
  logic [WordsLog2-1:0] from, to;

  assign from       = first_q ? burst.offset : '0;
  assign words      = first_q ? burst.words : words_q;
  assign to         = (WordsW'(from) + words > WordsW'(AxiBits / 32)) ? '1 : from + WordsLog2'(words - 1'b1);
  assign vec_beat_o = beat && burst.vector && !drain_i;
  assign vec_in     = '{last: rlast_i && burst.last, from: from, to: to, data: rdata_i};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) first_q <= 1'b1;
    else if (beat) first_q <= rlast_i;
    if (beat) words_q <= words - (WordsW'(to) - WordsW'(from) + 1'b1);
  end

  ram_fifo #(
      .Width($bits(vec_t)),
      .Depth(VecBeats)
  ) u_vec (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(vec_beat_o),
      .wdata_i (vec_in),
      .free_o  (unused_free),
      .rvalid_o(vec_valid),
      .rready_i(vec_pop_o),
      .rdata_o (vec)
  );

  // Serialiser: the words of the beat at the head, one a cycle.
  logic [WordsLog2-1:0] index_q, index;
  logic [VaW-1:0] address_q, address;
  logic part_q, started_q, write;

  assign index       = part_q ? index_q : vec.from;
  assign address     = started_q ? address_q : instr.dst;
  assign vwr_valid_o = vec_valid && instr_valid && instr.vector && !instr.empty && !fail_q && !drain_i;
  assign vwr_line_o  = address[VaW-1:LaneW];
  assign vwr_mask_o  = SfuLanes'(1) << address[LaneW-1:0];
  assign vwr_data_o  = {SfuLanes{vec.data[32*index+:32]}};
  assign write       = vwr_valid_o && vwr_ready_i;
  assign vec_pop_o   = write && index == vec.to;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      part_q    <= 1'b0;
      started_q <= 1'b0;
    end else if (write) begin
      part_q    <= !vec_pop_o;
      started_q <= !(vec_pop_o && vec.last);
    end
    if (write) begin
      index_q   <= index + 1'b1;
      address_q <= address + 1'b1;
    end
  end

  // ------------------------------------------------------------------ retirement
  assign instr_pop = instr_valid && !fail_q && !drain_i
      && (instr.empty || (instr.vector ? vec_pop_o && vec.last : stream_done_q != 0));
  assign done_o     = instr_pop;
  assign done_seq_o = instr.seq;
  assign busy_o     = instr_valid && !fail_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) stream_done_q <= '0;
    else stream_done_q <= stream_done_q + 5'(stream_end) - 5'(instr_pop && !instr.empty && !instr.vector);
  end
endmodule

`default_nettype wire
