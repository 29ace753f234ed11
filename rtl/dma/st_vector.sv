// Purpose: reads words from vector memory and packs them into write beats for st.v.
// Latency: three cycles from start_i to the first line.
// Throughput: one word per cycle.
// Back-pressure: up to four lines are read ahead; a finished beat waits for beat_ready_i.
// Notes: one burst at a time; burst_i comes after start_i and gives the burst's place and length.

`default_nettype none

module st_vector #(
    parameter int unsigned AxiBits   = 256,
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072
) (
    input  wire logic                                   clk_i,
    input  wire logic                                   rst_ni,
    input  wire logic                                   clr_i,
    input  wire logic                                   start_i,
    input  wire logic [$clog2(VmemWords)-1:0]           src_i,
    input  wire logic [$clog2(VmemWords):0]             count_i,
    input  wire logic                                   burst_i,
    input  wire logic [$clog2(AxiBits/32)-1:0]          offset_i,
    input  wire logic [10:0]                            words_i,
    output logic                                        vrd_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       vrd_line_o,
    input  wire logic                                   vrd_ready_i,
    input  wire logic [32*SfuLanes-1:0]                 vrd_data_i,
    output logic                                        beat_valid_o,
    input  wire logic                                   beat_ready_i,
    output logic [AxiBits-1:0]                          beat_data_o,
    output logic [AxiBits/8-1:0]                        beat_strb_o,
    output logic                                        burst_done_o
);
  localparam int unsigned Words = AxiBits / 32;
  localparam int unsigned WordsLog2 = $clog2(Words);
  localparam int unsigned VaW = $clog2(VmemWords);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned LineW = VaW - LaneW;

  // ------------------------------------------------------------------ line reader
  logic [LineW-1:0] line_q;
  logic [LineW:0] lines_q;  // still to be asked for
  logic flight_q, granted, line_valid, line_pop, unused_ready;
  logic [2:0] stored;
  logic [32*SfuLanes-1:0] line;
  logic [VaW+1:0] span;

  assign span        = (VaW + 2)'(count_i) + (VaW + 2)'(src_i[LaneW-1:0]) + (VaW + 2)'(SfuLanes - 1);
  assign vrd_valid_o = lines_q != 0 && 3'(stored + 3'(flight_q)) < 3'd4;
  assign vrd_line_o  = line_q;
  assign granted     = vrd_valid_o && vrd_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      lines_q  <= '0;
      flight_q <= 1'b0;
    end else begin
      flight_q <= granted;
      if (start_i) lines_q <= (LineW + 1)'(span >> LaneW);
      else if (granted) lines_q <= lines_q - 1'b1;
    end
    if (start_i) line_q <= src_i[VaW-1:LaneW];
    else if (granted) line_q <= line_q + 1'b1;
  end

  prim_fifo #(
      .Width(32 * SfuLanes),
      .Depth(4)
  ) u_lines (
      .clk_i,
      .rst_ni,
      .clr_i,
      .wvalid_i(flight_q),
      .wready_o(unused_ready),
      .wdata_i (vrd_data_i),
      .rvalid_o(line_valid),
      .rready_i(line_pop),
      .rdata_o (line),
      .usage_o (stored)
  );

  // ------------------------------------------------------------------ packer
  logic [LaneW-1:0] lane_q;
  logic [VaW:0] left_q;      // words of the instruction
  logic [10:0] words_q;      // words of the burst
  logic [WordsLog2-1:0] place_q;
  logic [AxiBits-1:0] data_q;
  logic [Words-1:0] mask_q, mask;
  logic take, burst_end, beat_end;

  assign burst_end    = words_q == 11'd1;
  assign beat_end     = burst_end || &place_q;
  assign beat_valid_o = line_valid && words_q != 0 && beat_end;
  assign take         = line_valid && words_q != 0 && (!beat_end || beat_ready_i);
  assign line_pop     = take && (&lane_q || left_q == 1);
  assign burst_done_o = take && burst_end;
  assign mask         = mask_q | (Words'(1) << place_q);

  always_comb begin
    beat_data_o = data_q;
    beat_data_o[32*place_q+:32] = line[32*lane_q+:32];
    for (int unsigned i = 0; i < Words; i++) beat_strb_o[4*i+:4] = {4{mask[i]}};
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      words_q <= '0;
    end else if (burst_i) begin
      words_q <= words_i;
    end else if (take) begin
      words_q <= words_q - 11'd1;
    end
    if (start_i) begin
      lane_q <= src_i[LaneW-1:0];
      left_q <= count_i;
    end else if (take) begin
      lane_q <= lane_q + 1'b1;
      left_q <= left_q - 1'b1;
    end
    if (burst_i) begin
      place_q <= offset_i;
      mask_q  <= '0;
    end else if (take) begin
      place_q <= place_q + 1'b1;
      mask_q  <= beat_end ? '0 : mask;
      data_q  <= beat_data_o;
    end
  end
endmodule

`default_nettype wire
