// Purpose: cuts the weight stream into tile headers and steps of MacRows rows of 32 codes.
// Latency: one cycle from a step's last beat to the step register.
// Throughput: one beat per cycle; several steps in a beat leave at one step per cycle.
// Back-pressure: takes beats while load_i; a finished step waits until free_i.
// Notes: load_o marks the cycle in which a step enters the step register.

`default_nettype none

module mm_unpack #(
    parameter int unsigned AxiBits = 256,
    parameter int unsigned MacRows = 2
) (
    input  wire logic                           clk_i,
    input  wire logic                           start_i,   // new instruction: next beat starts a tile
    input  wire logic                           header_i,  // tiles have a header
    input  wire logic                           bits8_i,   // codes of 8 bits, else 4
    input  wire logic                           load_i,    // the next step is wanted
    input  wire logic                           free_i,    // the step register may be overwritten
    // Stream
    input  wire logic                           srd_valid_i,
    input  wire logic [AxiBits-1:0]             srd_data_i,
    output logic                                srd_ready_o,
    // Step
    output logic                                load_o,
    output logic                                last_o,    // with load_o: last step of the tile
    output logic [3:0]                          step_o,    // with load_o: index in the tile
    output logic [MacRows-1:0][255:0]           codes_o,
    output logic [MacRows-1:0][15:0]            scale_o,
    output logic [MacRows-1:0][15:0]            minimum_o
);
  localparam int unsigned Steps = 16 / MacRows;
  localparam int unsigned HeaderBeats = 512 / AxiBits;
  localparam int unsigned StepBits4 = MacRows * 128;
  localparam int unsigned StepBits8 = MacRows * 256;
  // A step is made of several beats, or a beat holds one step or several.
  localparam bit Join4 = StepBits4 > AxiBits;
  localparam bit Join8 = StepBits8 > AxiBits;
  localparam int unsigned Parts4 = Join4 ? StepBits4 / AxiBits : AxiBits / StepBits4;
  localparam int unsigned Parts8 = Join8 ? StepBits8 / AxiBits : AxiBits / StepBits8;
  localparam logic [15:0] F16One = 16'h3c00;

  logic in_header_q;
  logic [1:0] beat_q;   // beat of the header
  logic [4:0] part_q;   // beat of the step, or step of the beat
  logic [3:0] step_q;   // step of the tile
  logic [511:0] header_q;
  logic join_beats, part_last, step_end, take_header, take_code;

  assign join_beats  = bits8_i ? Join8 : Join4;
  assign part_last   = part_q == (bits8_i ? 5'(Parts8 - 1) : 5'(Parts4 - 1));
  assign step_end    = !join_beats || part_last;
  assign take_header = load_i && in_header_q && srd_valid_i;
  assign take_code   = load_i && !in_header_q && srd_valid_i && (free_i || !step_end);
  assign srd_ready_o = load_i && (in_header_q || ((free_i || !step_end) && (join_beats || part_last)));
  assign load_o      = take_code && step_end;
  assign step_o      = step_q;
  assign last_o      = step_q == 4'(Steps - 1);

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      in_header_q <= header_i;
      beat_q      <= '0;
      part_q      <= '0;
      step_q      <= '0;
    end else begin
      if (take_header) begin
        beat_q <= beat_q + 2'd1;
        if (beat_q == 2'(HeaderBeats - 1)) begin
          beat_q      <= '0;
          in_header_q <= 1'b0;
        end
      end
      if (take_code) part_q <= part_last ? '0 : part_q + 5'd1;
      if (load_o) begin
        step_q <= last_o ? '0 : step_q + 4'd1;
        if (last_o) in_header_q <= header_i;
      end
    end
  end

  if (HeaderBeats == 1) begin : gen_header_beat
    always_ff @(posedge clk_i) if (take_header) header_q <= srd_data_i;
  end else begin : gen_header_beats
    always_ff @(posedge clk_i) if (take_header) header_q[AxiBits*beat_q+:AxiBits] <= srd_data_i;
  end

  // ------------------------------------------------------------------ codes of the next step
  logic [StepBits4-1:0] raw4;
  logic [StepBits8-1:0] raw8;

  if (Join8) begin : gen_join
    localparam int unsigned HeldBeats = Parts8 - 1;
    logic [HeldBeats*AxiBits-1:0] held_q;
    always_ff @(posedge clk_i) begin
      for (int unsigned i = 0; i < HeldBeats; i++) begin
        if (take_code && part_q == 5'(i)) held_q[AxiBits*i+:AxiBits] <= srd_data_i;
      end
    end
    assign raw8 = {srd_data_i, held_q};
    if (Join4) begin : gen_narrow
      assign raw4 = {srd_data_i, held_q[StepBits4-AxiBits-1:0]};
    end else begin : gen_narrow_whole
      assign raw4 = srd_data_i;  // 8-bit steps take more than a beat, so 4-bit steps fill one
    end
  end else begin : gen_cut
    if (Parts8 == 1) begin : gen_one
      assign raw8 = srd_data_i;
    end else begin : gen_many
      assign raw8 = srd_data_i[StepBits8*part_q[$clog2(Parts8)-1:0]+:StepBits8];
    end
    assign raw4 = srd_data_i[StepBits4*part_q[$clog2(Parts4)-1:0]+:StepBits4];
  end

  always_ff @(posedge clk_i) begin
    if (load_o) begin
      if (bits8_i) begin
        codes_o <= raw8;
      end else begin
        for (int unsigned r = 0; r < MacRows; r++) begin
          for (int unsigned j = 0; j < 32; j++) codes_o[r][8*j+:8] <= {4'b0, raw4[128*r+4*j+:4]};
        end
      end
    end
  end

  // ------------------------------------------------------------------ scales of the next step
  logic [MacRows*32-1:0] scales;
  if (Steps == 1) begin : gen_all_scales
    assign scales = header_q;
  end else begin : gen_scales
    assign scales = header_q[MacRows*32*step_q[$clog2(Steps)-1:0]+:MacRows*32];
  end

  always_ff @(posedge clk_i) begin
    if (load_o) begin
      for (int unsigned r = 0; r < MacRows; r++) begin
        scale_o[r]   <= header_i ? scales[32*r+:16] : F16One;
        minimum_o[r] <= header_i ? scales[32*r+16+:16] : 16'h0;
      end
    end
  end
endmodule

`default_nettype wire
