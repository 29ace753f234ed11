// Purpose: takes beats of the weight stream ahead of the steps and parts headers from codes, so that
//          narrow codes, of which a beat holds more than a step, hide the headers' beats.
// Latency: one cycle from a beat to header_valid_o or beat_valid_o.
// Throughput: one beat per cycle.
// Back-pressure: waits while four beats of codes, or a header and then another, are not taken.
// Notes: counts the instruction's tiles and takes no beat beyond them. start_i clears what an
//        interrupted instruction left.

`default_nettype none

module mm_intake #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned KblocksW   = 13,
    parameter int unsigned GroupsW    = 14
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    input  wire logic                 start_i,
    input  wire logic                 run_i,      // an instruction executes
    input  wire logic                 header_i,   // tiles have a header
    input  wire logic [3:0]           width_i,    // bits of a field
    input  wire logic [KblocksW-1:0]  kblocks_i,
    input  wire logic [2:0]           span_i,     // blocks of a tile
    input  wire logic [GroupsW-1:0]   groups_i,
    // Stream
    input  wire logic                 srd_valid_i,
    input  wire logic [AxiBits-1:0]   srd_data_i,
    output logic                      srd_ready_o,
    // Header of the next tile
    output logic                      header_valid_o,
    input  wire logic                 header_ready_i,
    output logic [511:0]              header_o,
    // Codes
    output logic                      beat_valid_o,
    input  wire logic                 beat_ready_i,
    output logic [AxiBits-1:0]        beat_o
);
  localparam int unsigned HeaderBeats = 512 / AxiBits;
  // Beats of a tile's codes for each bit of a field, and those of the widest field.
  localparam int unsigned BitBeats = 512 / AxiBits;
  localparam int unsigned BeatW = $clog2(8 * BitBeats + 1);

  logic in_header_q, header_valid_q, fifo_ready, take, take_header, take_code, part_end, tile_end;
  logic [BeatW-1:0] beat_q, code_beats;
  logic [KblocksW-1:0] kleft_q;
  logic [GroupsW-1:0] groups_q;
  logic [511:0] header_q;
  logic [2:0] unused_usage;

  assign code_beats     = BeatW'(width_i) * BeatW'(BitBeats);
  assign srd_ready_o    = run_i && groups_q != 0 &&
                          (in_header_q ? !header_valid_q || header_ready_i : fifo_ready);
  assign take           = srd_ready_o && srd_valid_i;
  assign take_header    = take && in_header_q;
  assign take_code      = take && !in_header_q;
  assign part_end       = beat_q == (in_header_q ? BeatW'(HeaderBeats) : code_beats) - 1'b1;
  assign tile_end       = take_code && part_end;
  assign header_valid_o = header_valid_q;
  assign header_o       = header_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      in_header_q    <= header_i;
      header_valid_q <= 1'b0;
      beat_q         <= '0;
      kleft_q        <= kblocks_i;
      groups_q       <= groups_i;
    end else begin
      if (header_ready_i) header_valid_q <= 1'b0;
      if (take) begin
        beat_q <= part_end ? '0 : beat_q + 1'b1;
        if (part_end) in_header_q <= !in_header_q && header_i;
      end
      if (take_header && part_end) header_valid_q <= 1'b1;
      if (tile_end) begin
        kleft_q <= kleft_q == KblocksW'(span_i) ? kblocks_i : kleft_q - KblocksW'(span_i);
        if (kleft_q == KblocksW'(span_i)) groups_q <= groups_q - 1'b1;
      end
    end
  end

  if (HeaderBeats == 1) begin : gen_header_beat
    always_ff @(posedge clk_i) if (take_header) header_q <= srd_data_i;
  end else begin : gen_header_beats
    always_ff @(posedge clk_i) begin
      if (take_header) header_q[AxiBits*beat_q[$clog2(HeaderBeats)-1:0]+:AxiBits] <= srd_data_i;
    end
  end

  prim_fifo #(
      .Width(AxiBits),
      .Depth(4)
  ) u_codes (
      .clk_i,
      .rst_ni,
      .clr_i   (start_i),
      .wvalid_i(srd_valid_i && run_i && groups_q != 0 && !in_header_q),
      .wready_o(fifo_ready),
      .wdata_i (srd_data_i),
      .rvalid_o(beat_valid_o),
      .rready_i(beat_ready_i),
      .rdata_o (beat_o),
      .usage_o (unused_usage)
  );
endmodule

`default_nettype wire
