// Purpose: rounds the finished accumulators of a row group to f32 and writes them as lines.
// Latency: six cycles from the read of a line's last accumulator to the write of the line.
// Throughput: MacRows values per cycle, at most a line; one idle cycle between groups. Channels are
//             read one after the other.
// Back-pressure: none; the matrix unit's writes are always granted.
// Notes: done_o comes with the last line of the last group.

`default_nettype none

module mm_drain #(
    parameter int unsigned Channels  = 1,
    parameter int unsigned MacRows   = 2,
    parameter int unsigned SfuLanes  = 8,
    parameter int unsigned VmemWords = 131072
) (
    input  wire logic                                   clk_i,
    input  wire logic                                   rst_ni,
    input  wire logic                                   clr_i,
    // Instruction
    input  wire logic                                   start_i,
    input  wire logic [$clog2(VmemWords/SfuLanes)-1:0]  line_i,
    input  wire logic [$clog2(VmemWords/SfuLanes)-1:0]  stride_i,
    input  wire logic [$clog2(VmemWords/16):0]          groups_i,
    input  wire logic [4:0]                             token_last_i,
    // Accumulators
    input  wire logic                                   group_i,  // a group is complete
    output logic                                        bank_o,
    output logic [4:0]                                  token_o,
    output logic [3:0]                                  step_o,
    input  wire logic [Channels-1:0][MacRows-1:0][127:0] data_i,
    output logic                                        freed_o,  // bank_o has been read
    // Vector memory
    output logic                                        vwr_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       vwr_line_o,
    output logic [32*SfuLanes-1:0]                      vwr_data_o,
    output logic                                        done_o
);
  localparam int unsigned LineW = $clog2(VmemWords / SfuLanes);
  localparam int unsigned LaneW = $clog2(SfuLanes);
  localparam int unsigned RowW = $clog2(MacRows);
  localparam int unsigned GroupRows = 16 * Channels;
  localparam int unsigned GroupLines = GroupRows / SfuLanes;
  localparam int unsigned GroupW = $clog2(GroupRows);
  // Values converted at once: those of one read, or a line's.
  localparam int unsigned Values = MacRows < SfuLanes ? MacRows : SfuLanes;

  typedef struct packed {
    logic             line_end;
    logic             last;  // last value of the instruction
    logic [LaneW-1:0] lane;
    logic [LineW-1:0] line;
  } place_t;

  // ------------------------------------------------------------------ reading
  logic active_q, bank_q, row_end, group_end;
  logic [1:0] pending_q;
  logic [4:0] token_q;
  logic [GroupW-1:0] row_q;
  logic [LineW-1:0] group_line_q, token_line_q;
  logic [$clog2(VmemWords/16):0] groups_q;

  assign row_end   = row_q == GroupW'(GroupRows - Values);
  assign group_end = active_q && row_end && token_q == token_last_i;
  assign bank_o    = bank_q;
  assign token_o   = token_q;
  assign step_o    = row_q[3:0] >> RowW;
  assign freed_o   = group_end;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i || start_i) begin
      active_q  <= 1'b0;
      pending_q <= '0;
      bank_q    <= 1'b0;
    end else begin
      pending_q <= pending_q + 2'(group_i) - 2'(group_end);
      if (group_end) bank_q <= !bank_q;
      active_q <= active_q ? !group_end : pending_q != 0;
    end
    if (start_i) begin
      group_line_q <= line_i;
      token_line_q <= line_i;
      groups_q     <= groups_i;
      token_q      <= '0;
      row_q        <= '0;
    end else if (active_q) begin
      row_q <= row_q + GroupW'(Values);
      if (group_end) begin
        token_q      <= '0;
        groups_q     <= groups_q - 1'b1;
        group_line_q <= group_line_q + LineW'(GroupLines);
        token_line_q <= group_line_q + LineW'(GroupLines);
      end else if (row_end) begin
        token_q      <= token_q + 5'd1;
        token_line_q <= token_line_q + stride_i;
      end
    end
  end

  // ------------------------------------------------------------------ rounding
  // Stage 1 holds the accumulators, stage 4 the rounded values.
  logic [Values-1:0][127:0] value1_q;
  logic [Values-1:0][31:0] value4;
  logic [4:1] valid_q;
  place_t place, place_q[1:4];

  assign place.line_end = row_q[LaneW-1:0] == LaneW'(SfuLanes - Values);
  assign place.last     = group_end && groups_q == 1;
  assign place.lane     = row_q[LaneW-1:0];
  assign place.line     = token_line_q + LineW'(row_q >> LaneW);

  logic [MacRows-1:0][127:0] rows;
  if (Channels == 1) begin : gen_channel
    assign rows = data_i;
  end else begin : gen_channels
    assign rows = data_i[row_q[GroupW-1:4]];
  end
  if (MacRows == Values) begin : gen_all_rows
    always_ff @(posedge clk_i) if (active_q) value1_q <= rows;
  end else begin : gen_some_rows
    always_ff @(posedge clk_i) if (active_q) value1_q <= rows[row_q[RowW-1:0]+:Values];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) valid_q <= '0;
    else valid_q <= {valid_q[3:1], active_q};
    if (active_q) place_q[1] <= place;
    for (int unsigned s = 1; s < 4; s++) begin
      if (valid_q[s]) place_q[s+1] <= place_q[s];
    end
  end

  for (genvar i = 0; i < int'(Values); i++) begin : gen_values
    fix_to_fp #(
        .Width  (128),
        .LsbLog2(-62)
    ) u_round (
        .clk_i,
        .value_i (value1_q[i]),
        .result_o(value4[i])
    );
  end

  // ------------------------------------------------------------------ lines
  logic [SfuLanes-1:0][31:0] words_q;
  logic [LineW-1:0] line_q;
  logic valid5_q, last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) valid5_q <= 1'b0;
    else valid5_q <= valid_q[4] && place_q[4].line_end;
    if (valid_q[4]) begin
      words_q[place_q[4].lane+:Values] <= value4;
      line_q <= place_q[4].line;
      last_q <= place_q[4].last;
    end
  end

  assign vwr_valid_o = valid5_q;
  assign vwr_line_o  = line_q;
  assign vwr_data_o  = words_q;
  assign done_o      = valid5_q && last_q;
endmodule

`default_nettype wire
