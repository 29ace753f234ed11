// Purpose: takes AXI addresses of one direction, checks them and cuts them into chunks of one row.
// Latency: three cycles from the address to its first chunk.
// Throughput: one address every two cycles, one chunk a cycle.
// Back-pressure: ready/valid; an address waits for room in the order queue and for its predecessor's
//        chunks.
// Notes: a chunk ends at a multiple of ChunkBursts, so it stays in its row. A wrong request has no
//        chunk; its entry in the order queue says so.

`default_nettype none

module sdr_front #(
    parameter int unsigned AxiBits  = 128,
    parameter int unsigned DqBits   = 16,
    parameter int unsigned RowBits  = 13,
    parameter int unsigned ColBits  = 9,
    parameter int unsigned BankBits = 2,
    localparam int unsigned Burst   = sdr_pkg::burst_words(AxiBits, DqBits),
    localparam int unsigned AddrW   = RowBits + BankBits + ColBits - $clog2(Burst)
) (
    input  wire logic                           clk_i,
    input  wire logic                           rst_ni,
    // AXI AR or AW
    input  wire logic                           avalid_i,
    output logic                                aready_o,
    input  wire logic [39:0]                    aaddr_i,
    input  wire logic [1:0]                     aid_i,
    input  wire logic [7:0]                     alen_i,
    input  wire logic [2:0]                     asize_i,
    input  wire logic [1:0]                     aburst_i,
    // Transactions in order, for the data and response channels
    output logic                                order_valid_o,
    input  wire logic                           order_ready_i,
    output logic [1:0]                          order_id_o,
    output logic [7:0]                          order_len_o,
    output logic                                order_err_o,
    // Chunks: address and count in CAS bursts
    output logic                                chunk_valid_o,
    input  wire logic                           chunk_ready_i,
    output logic [AddrW-1:0]                    chunk_addr_o,
    output logic [sdr_pkg::CountW-1:0]          chunk_count_o,
    output logic                                chunk_last_o
);
  localparam int unsigned BeatLog = $clog2(AxiBits / 8);
  localparam int unsigned BurstLog = $clog2(Burst * DqBits / 8);  // bytes of a burst
  localparam int unsigned SizeLog = AddrW + BurstLog;  // bytes of the chip
  localparam int unsigned BeatW = SizeLog - BeatLog;
  localparam int unsigned LeftW = 9 + BeatLog - BurstLog;
  localparam int unsigned CountW = sdr_pkg::CountW;
  localparam logic [1:0] Incr = 2'b01;

  // ------------------------------------------------------------------ check
  logic held_q, pass, begin_job, wrong, job_q;
  logic [39:0] addr_q;
  logic [1:0] id_q, kind_q;
  logic [7:0] len_q;
  logic [2:0] size_q;
  logic [BeatW:0] last_beat;

  // One bit more than an index of a beat, so that the end of the chip is seen.
  assign last_beat = {1'b0, addr_q[SizeLog-1:BeatLog]} + (BeatW + 1)'(len_q);
  assign wrong     = kind_q != Incr || size_q != 3'(BeatLog) || addr_q[39:SizeLog] != '0
      || addr_q[BeatLog-1:0] != '0 || last_beat[BeatW];
  assign pass      = held_q && order_ready_i && (wrong || !job_q);
  assign begin_job = pass && !wrong;
  assign aready_o  = !held_q || pass;

  assign order_valid_o = held_q && (wrong || !job_q);
  assign order_id_o    = id_q;
  assign order_len_o   = len_q;
  assign order_err_o   = wrong;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) held_q <= 1'b0;
    else if (aready_o) held_q <= avalid_i;
    if (aready_o) begin
      addr_q <= aaddr_i;
      id_q   <= aid_i;
      len_q  <= alen_i;
      size_q <= asize_i;
      kind_q <= aburst_i;
    end
  end

  // ------------------------------------------------------------------ chunks
  logic chunk_valid_q, chunk_last_q, cut, last;
  logic [AddrW-1:0] at_q, chunk_addr_q;
  logic [LeftW-1:0] left_q;
  logic [CountW-1:0] room, count, chunk_count_q;

  assign room  = CountW'(sdr_pkg::ChunkBursts) - CountW'(at_q[CountW-2:0]);
  assign last  = left_q <= LeftW'(room);
  assign count = last ? CountW'(left_q) : room;
  assign cut   = job_q && (!chunk_valid_q || chunk_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      job_q         <= 1'b0;
      chunk_valid_q <= 1'b0;
    end else begin
      if (begin_job) job_q <= 1'b1;
      else if (cut && last) job_q <= 1'b0;
      if (!chunk_valid_q || chunk_ready_i) chunk_valid_q <= job_q;
    end
    if (begin_job) begin
      at_q   <= addr_q[SizeLog-1:BurstLog];
      left_q <= (LeftW'(len_q) + 1'b1) << (BeatLog - BurstLog);
    end else if (cut) begin
      // Not the last one, so it ended at a multiple of a chunk.
      at_q   <= {at_q[AddrW-1:CountW-1] + 1'b1, (CountW - 1)'(0)};
      left_q <= left_q - LeftW'(room);
    end
    if (cut) begin
      chunk_addr_q  <= at_q;
      chunk_count_q <= count;
      chunk_last_q  <= last;
    end
  end

  assign chunk_valid_o = chunk_valid_q;
  assign chunk_addr_o  = chunk_addr_q;
  assign chunk_count_o = chunk_count_q;
  assign chunk_last_o  = chunk_last_q;
endmodule

`default_nettype wire
