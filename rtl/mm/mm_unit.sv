// Purpose: executes mm and mv: weight tiles from the stream times activation blocks.
// Latency: 16 cycles from a group's last step to its first line; an instruction starts in three.
// Throughput: one step of MacRows x 32 products per cycle; one output per cycle while draining.
// Back-pressure: waits for the stream, and for a bank of accumulators that is still draining.
// Notes: a step is held for all tokens; groups alternate between two banks of accumulators.

`default_nettype none

module mm_unit #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned MacRows    = 2,
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned MaxTokens  = 16,
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096
) (
    input  wire logic                                   clk_i,
    input  wire logic                                   rst_ni,
    input  wire logic                                   clr_i,
    input  wire logic                                   desc_valid_i,
    output logic                                        desc_ready_o,
    input  wire lampyris_pkg::desc_t                    desc_i,
    output logic                                        done_o,
    output logic [31:0]                                 done_seq_o,
    output logic                                        busy_o,
    output logic                                        err_valid_o,
    output logic [7:0]                                  err_code_o,
    // Weight stream
    input  wire logic                                   srd_valid_i,
    input  wire logic [AxiBits-1:0]                     srd_data_i,
    output logic                                        srd_ready_o,
    // Activation buffer
    output logic                                        xrd_valid_o,
    output logic [$clog2(XbufBlocks)-1:0]               xrd_addr_o,
    input  wire logic                                   xrd_ready_i,
    input  wire lampyris_pkg::act_block_t               xrd_data_i,
    // Vector memory
    output logic                                        vwr_valid_o,
    output logic [$clog2(VmemWords/SfuLanes)-1:0]       vwr_line_o,
    output logic [SfuLanes-1:0]                         vwr_mask_o,
    output logic [32*SfuLanes-1:0]                      vwr_data_o,
    input  wire logic                                   vwr_ready_i,
    // Counters
    output logic                                        starved_o,
    output logic                                        drain_wait_o,
    output logic                                        step_o
);
  localparam int unsigned XaW = $clog2(XbufBlocks);
  localparam int unsigned LineW = $clog2(VmemWords / SfuLanes);
  localparam int unsigned GroupW = $clog2(VmemWords / 16) + 1;
  localparam int unsigned Steps = 16 / MacRows;
  localparam int unsigned AccDepth = MaxTokens * Steps < 2 ? 2 : MaxTokens * Steps;
  localparam int unsigned AccW = $clog2(AccDepth);
  // Pipeline stages from the step register (0) to the term (9).
  localparam int unsigned TermStage = 9;

  typedef enum logic [2:0] {StIdle, StProduct, StCheck, StRun, StError} state_e;
  typedef struct packed {
    logic            first;  // first block of a group
    logic            last;   // last term of a group
    logic            bank;
    logic [AccW-1:0] addr;
  } place_t;

  state_e state_q;
  logic accept, start, fail, empty, finished;
  logic [7:0] err_code;

  // ------------------------------------------------------------------ instruction
  logic bits8, header;
  logic [XaW-1:0] x, xstride;
  logic [XaW:0] kblocks;
  logic [GroupW-1:0] groups;
  logic [4:0] token_last;
  logic [LineW-1:0] line, line_stride;

  mm_check #(
      .SfuLanes(SfuLanes),
      .MaxTokens(MaxTokens),
      .VmemWords(VmemWords),
      .XbufBlocks(XbufBlocks)
  ) u_check (
      .clk_i,
      .accept_i(accept),
      .desc_i,
      .seq_o(done_seq_o),
      .bits8_o(bits8),
      .header_o(header),
      .x_o(x),
      .xstride_o(xstride),
      .kblocks_o(kblocks),
      .groups_o(groups),
      .token_last_o(token_last),
      .line_o(line),
      .line_stride_o(line_stride),
      .empty_o(empty),
      .err_code_o(err_code)
  );

  assign desc_ready_o = state_q == StIdle && !clr_i;
  assign accept       = desc_valid_i && desc_ready_o;
  assign fail         = state_q == StCheck && err_code != 0;
  assign start        = state_q == StCheck && err_code == 0 && !empty;
  assign done_o       = finished || (state_q == StCheck && err_code == 0 && empty);
  assign err_valid_o  = fail;
  assign err_code_o   = err_code;
  assign busy_o       = state_q != StIdle && state_q != StError;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:    if (accept) state_q <= StProduct;
        StProduct: state_q <= StCheck;
        StCheck:   state_q <= fail ? StError : empty ? StIdle : StRun;
        StRun:     if (finished) state_q <= StIdle;
        default:   ;
      endcase
    end
  end

  // ------------------------------------------------------------------ tiles to the step register
  logic load_wanted, load_blocked, load, tile_end, step_free, first_q;
  logic [3:0] load_step;
  logic [1:0] bank_busy_q;
  logic bank_q, freed, freed_bank;
  logic [XaW:0] kleft_q;
  logic [XaW-1:0] kaddr_q;
  logic [GroupW-1:0] groups_q;
  logic [MacRows-1:0][255:0] weights;
  logic [MacRows-1:0][15:0] scale, minimum;
  logic kend;

  assign kend         = kleft_q == 1;
  assign load_wanted  = state_q == StRun && groups_q != 0;
  // A group may start when the bank's group before last has been read out.
  assign load_blocked = first_q && load_step == 0 && bank_busy_q[bank_q];

  mm_unpack #(
      .AxiBits(AxiBits),
      .MacRows(MacRows)
  ) u_unpack (
      .clk_i,
      .start_i(start),
      .header_i(header),
      .bits8_i(bits8),
      .load_i(load_wanted && !load_blocked),
      .free_i(step_free),
      .srd_valid_i,
      .srd_data_i,
      .srd_ready_o,
      .load_o(load),
      .last_o(tile_end),
      .step_o(load_step),
      .codes_o(weights),
      .scale_o(scale),
      .minimum_o(minimum)
  );

  always_ff @(posedge clk_i) begin
    if (start) begin
      groups_q <= groups;
      kleft_q  <= kblocks;
      kaddr_q  <= x;
      first_q  <= 1'b1;
      bank_q   <= 1'b0;
    end else if (load && tile_end) begin
      first_q <= kend;
      kleft_q <= kend ? kblocks : kleft_q - 1'b1;
      kaddr_q <= kend ? x : kaddr_q + 1'b1;
      if (kend) begin
        groups_q <= groups_q - 1'b1;
        bank_q   <= !bank_q;
      end
    end
    if (!rst_ni || clr_i || start) begin
      bank_busy_q <= '0;
    end else begin
      if (load && first_q) bank_busy_q[bank_q] <= 1'b1;
      if (freed) bank_busy_q[freed_bank] <= 1'b0;
    end
  end

  // ------------------------------------------------------------------ tokens of the step
  logic step_valid_q, step_first_q, step_last_q, step_bank_q, issue, token_end;
  logic [3:0] step_q;
  logic [4:0] token_q;
  logic [XaW-1:0] xaddr_q;

  assign issue     = step_valid_q && xrd_ready_i;
  assign token_end = token_q == token_last;
  assign step_free = !step_valid_q || (issue && token_end);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) step_valid_q <= 1'b0;
    else if (load || step_free) step_valid_q <= load;
    if (load) begin
      step_q       <= load_step;
      step_first_q <= first_q;
      step_last_q  <= kend && tile_end;
      step_bank_q  <= bank_q;
      token_q      <= '0;
      xaddr_q      <= kaddr_q;
    end else if (issue) begin
      token_q <= token_q + 5'd1;
      xaddr_q <= xaddr_q + xstride;
    end
  end

  assign xrd_valid_o  = step_valid_q;
  assign xrd_addr_o   = xaddr_q;
  assign step_o       = issue;
  assign starved_o    = load_wanted && !load_blocked && step_free && !srd_valid_i;
  assign drain_wait_o = state_q == StRun && step_free && (load_blocked || groups_q == 0);

  // ------------------------------------------------------------------ multiplier array
  logic [TermStage:0] valid;
  logic [TermStage:1] valid_q;
  place_t place, place_q[1:TermStage];
  lampyris_pkg::act_block_t act2_q;
  logic signed [12:0] sum_q[3:5];
  logic [6:0] significand_q[3:6];
  logic [5:0] exponent_q[3:8];

  assign valid       = {valid_q, issue};
  assign place.first = step_first_q;
  assign place.last  = step_last_q && token_end;
  assign place.bank  = step_bank_q;
  if (Steps == 1) begin : gen_token_addr
    assign place.addr = token_q[AccW-1:0];
  end else begin : gen_step_addr
    assign place.addr = AccW'({token_q, step_q[$clog2(Steps)-1:0]});
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) valid_q <= '0;
    else valid_q <= valid[TermStage-1:0];
    if (issue) place_q[1] <= place;
    for (int unsigned s = 1; s < TermStage; s++) begin
      if (valid[s]) place_q[s+1] <= place_q[s];
    end
    if (valid[1]) act2_q <= xrd_data_i;
    if (valid[2]) begin
      sum_q[3]         <= act2_q.sum;
      significand_q[3] <= act2_q.significand;
      exponent_q[3]    <= act2_q.exponent;
    end
    for (int unsigned s = 3; s < 5; s++) if (valid[s]) sum_q[s+1] <= sum_q[s];
    for (int unsigned s = 3; s < 6; s++) if (valid[s]) significand_q[s+1] <= significand_q[s];
    for (int unsigned s = 3; s < 8; s++) if (valid[s]) exponent_q[s+1] <= exponent_q[s];
  end

  logic [MacRows-1:0][127:0] sums;
  logic [4:0] drain_token;
  logic [3:0] drain_step;
  logic [AccW-1:0] drain_addr;
  logic unused_index;

  assign unused_index = ^{drain_step, drain_token, step_q};
  if (Steps == 1) begin : gen_drain_token
    assign drain_addr  = drain_token[AccW-1:0];
  end else begin : gen_drain_step
    assign drain_addr = AccW'({drain_token, drain_step[$clog2(Steps)-1:0]});
  end

  for (genvar r = 0; r < MacRows; r++) begin : gen_rows
    logic [127:0] term;
    mm_row u_row (
        .clk_i,
        .valid_i(valid[8:0]),
        .weights_i(weights[r]),
        .scale_i(scale[r]),
        .minimum_i(minimum[r]),
        .codes_i(act2_q.codes),
        .sum_i(sum_q[5]),
        .significand_i(significand_q[6]),
        .exponent_i(exponent_q[8]),
        .term_o(term)
    );
    mm_acc #(
        .Depth(AccDepth)
    ) u_acc (
        .clk_i,
        .valid_i(valid[TermStage]),
        .bank_i(place_q[TermStage].bank),
        .first_i(place_q[TermStage].first),
        .addr_i(place_q[TermStage].addr),
        .term_i(term),
        .rd_bank_i(freed_bank),
        .rd_addr_i(drain_addr),
        .rd_data_o(sums[r])
    );
  end

  // ------------------------------------------------------------------ outputs
  mm_drain #(
      .MacRows(MacRows),
      .SfuLanes(SfuLanes),
      .VmemWords(VmemWords)
  ) u_drain (
      .clk_i,
      .rst_ni,
      .clr_i,
      .start_i(start),
      .line_i(line),
      .stride_i(line_stride),
      .groups_i(groups),
      .token_last_i(token_last),
      .group_i(valid[TermStage] && place_q[TermStage].last),
      .bank_o(freed_bank),
      .token_o(drain_token),
      .step_o(drain_step),
      .data_i(sums),
      .freed_o(freed),
      .vwr_valid_o,
      .vwr_line_o,
      .vwr_data_o,
      .done_o(finished)
  );
  assign vwr_mask_o = '1;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && vwr_valid_o && !vwr_ready_i) $fatal(1, "mm_unit: a write was not granted");
  end
`endif
endmodule

`default_nettype wire
