// Purpose: executes mm and mv: weight tiles from the stream times activation blocks.
// Latency: 16 cycles (17 with Sparsity) from a group's last step to its first line; an instruction
//          starts in three.
// Throughput: one step of Channels x MacRows x 32 products per cycle; MacRows outputs while draining.
// Back-pressure: waits for the stream, and for a bank of accumulators that is still draining.
// Notes: a step is held for all tokens; groups alternate between two banks of accumulators. A read
//        of the activation buffer brings the block of the address and, if that is a multiple of 2
//        or 4, those that follow it. Channels are copies of unpacking and rows in lockstep: the first
//        one's control is that of all. With MulPack two rows share their multipliers; what these
//        cannot do at once takes two cycles, first the even rows, then the odd ones.

`default_nettype none

module mm_unit #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned Channels   = 1,
    parameter int unsigned MacRows    = 2,
    parameter int unsigned SfuLanes   = 8,
    parameter int unsigned MaxTokens  = 16,
    parameter int unsigned VmemWords  = 131072,
    parameter int unsigned XbufBlocks = 4096,
    parameter int unsigned WeightBits = 380,
    parameter int unsigned Sparsity   = 2,
    parameter int unsigned MulPack    = 0,
    localparam int unsigned Banks     = Sparsity == 0 ? 1 : 4
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
    input  wire logic [Channels*AxiBits-1:0]            srd_data_i,
    output logic                                        srd_ready_o,
    // Activation buffer
    output logic                                        xrd_valid_o,
    output logic [$clog2(XbufBlocks)-1:0]               xrd_addr_o,
    input  wire logic                                   xrd_ready_i,
    input  wire lampyris_pkg::act_block_t [Banks-1:0]   xrd_data_i,
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
  localparam int unsigned Rows = Channels * MacRows;
  localparam int unsigned AccDepth = MaxTokens * Steps < 2 ? 2 : MaxTokens * Steps;
  localparam int unsigned AccW = $clog2(AccDepth);
  // Pipeline stages from the step register (0) to the term: those of mm_row and the multiplexer.
  localparam int unsigned RowStage = Sparsity == 0 ? 0 : 1;
  localparam int unsigned TermStage = RowStage + 9;
  // Even and odd rows have stages of their own if they share multipliers.
  localparam int unsigned Parities = MulPack == 0 ? 1 : 2;

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
  logic [3:0] width;
  logic [1:0] sparsity;
  logic header, paired;
  logic [XaW-1:0] x, xstride;
  logic [XaW:0] kblocks;
  logic [GroupW-1:0] groups;
  logic [4:0] token_last;
  logic [LineW-1:0] line, line_stride;

  mm_check #(
      .Channels(Channels),
      .SfuLanes(SfuLanes),
      .MaxTokens(MaxTokens),
      .VmemWords(VmemWords),
      .XbufBlocks(XbufBlocks),
      .WeightBits(WeightBits),
      .Sparsity(Sparsity),
      .Kv4(MacRows >= 2)
  ) u_check (
      .clk_i,
      .accept_i(accept),
      .desc_i,
      .seq_o(done_seq_o),
      .width_o(width),
      .sparsity_o(sparsity),
      .header_o(header),
      .paired_o(paired),
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
  logic [Channels-1:0] all_ready, all_load, all_last;
  logic [Channels-1:0][3:0] all_step;
  logic [3:0] load_step;
  logic [1:0] bank_busy_q;
  logic bank_q, freed, freed_bank;
  logic [XaW:0] kleft_q;
  logic [XaW-1:0] kaddr_q;
  logic [GroupW-1:0] groups_q;
  logic [Rows-1:0][255:0] weights;
  logic [Rows-1:0][31:0][3:0] indices;
  logic [2:0] span;  // blocks of a tile
  logic [Rows-1:0][15:0] scale, minimum;
  logic kend;

  assign span         = 3'd1 << sparsity;
  assign kend         = kleft_q == (XaW + 1)'(span);
  assign load_wanted  = state_q == StRun && groups_q != 0;
  // A group may start when the bank's group before last has been read out.
  assign load_blocked = first_q && load_step == 0 && bank_busy_q[bank_q];

  logic unused_lockstep;
  assign unused_lockstep = ^{all_ready, all_load, all_last, all_step};
  assign srd_ready_o     = all_ready[0];
  assign load            = all_load[0];
  assign tile_end        = all_last[0];
  assign load_step       = all_step[0];

  for (genvar c = 0; c < Channels; c++) begin : gen_channels
    mm_unpack #(
        .AxiBits(AxiBits),
        .MacRows(MacRows),
        .WeightBits(WeightBits),
        .Sparsity(Sparsity),
        .KblocksW(XaW + 1),
        .GroupsW(GroupW)
    ) u_unpack (
        .clk_i,
        .rst_ni,
        .start_i(start),
        .run_i(state_q == StRun),
        .header_i(header),
        .paired_i(paired),
        .width_i(width),
        .sparsity_i(sparsity),
        .kblocks_i(kblocks),
        .span_i(span),
        .groups_i(groups),
        .load_i(load_wanted && !load_blocked),
        .free_i(step_free),
        .srd_valid_i,
        .srd_data_i(srd_data_i[c*AxiBits+:AxiBits]),
        .srd_ready_o(all_ready[c]),
        .load_o(all_load[c]),
        .last_o(all_last[c]),
        .step_o(all_step[c]),
        .codes_o(weights[c*MacRows+:MacRows]),
        .index_o(indices[c*MacRows+:MacRows]),
        .scale_o(scale[c*MacRows+:MacRows]),
        .minimum_o(minimum[c*MacRows+:MacRows])
    );
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      groups_q <= groups;
      kleft_q  <= kblocks;
      kaddr_q  <= x;
      first_q  <= 1'b1;
      bank_q   <= 1'b0;
    end else if (load && tile_end) begin
      first_q <= kend;
      kleft_q <= kend ? kblocks : kleft_q - (XaW + 1)'(span);
      kaddr_q <= kend ? x : kaddr_q + XaW'(span);
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
  logic together, odd_q, rows_end;  // all rows at once; now the odd ones; no row is left
  logic [3:0] step_q;
  logic [4:0] token_q;
  logic [XaW-1:0] xaddr_q;

  assign issue     = step_valid_q && xrd_ready_i;
  assign token_end = token_q == token_last;
  assign step_free = !step_valid_q || (issue && rows_end && token_end);
  if (MulPack == 0) begin : gen_together
    assign together = 1'b1;
  end else begin : gen_apart
    assign together = sparsity == 0 && (MulPack == 2 || width <= 4);
  end
  assign rows_end = together || odd_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) step_valid_q <= 1'b0;
    else if (load || step_free) step_valid_q <= load;
    if (!rst_ni || clr_i) odd_q <= 1'b0;
    else if (issue) odd_q <= !rows_end;
    if (load) begin
      step_q       <= load_step;
      step_first_q <= first_q;
      step_last_q  <= kend && tile_end;
      step_bank_q  <= bank_q;
      token_q      <= '0;
      xaddr_q      <= kaddr_q;
    end else if (issue && rows_end) begin
      token_q <= token_q + 5'd1;
      xaddr_q <= xaddr_q + xstride;
    end
  end

  assign xrd_valid_o  = step_valid_q;
  assign xrd_addr_o   = xaddr_q;
  assign step_o       = issue && rows_end;
  assign starved_o    = load_wanted && !load_blocked && step_free && !load && !srd_valid_i;
  assign drain_wait_o = state_q == StRun && step_free && (load_blocked || groups_q == 0);

  // ------------------------------------------------------------------ multiplier array
  logic [TermStage:0] valid;
  logic [TermStage:1] valid_q;
  logic [9:0] row_valid;  // stages of mm_row
  logic [Parities-1:0][TermStage:0] valid_of;  // of all rows, or of even and of odd ones
  place_t place, place_q[1:TermStage];
  lampyris_pkg::act_block_t row_act;
  logic signed [12:0] sum_q[3:5];
  logic [6:0] significand_q[3:6];
  logic [5:0] exponent_q[3:8];

  assign valid       = {valid_q, issue};
  assign row_valid   = valid[TermStage:RowStage];
  assign place.first = step_first_q;
  assign place.last  = step_last_q && token_end && rows_end;
  assign place.bank  = step_bank_q;
  if (Steps == 1) begin : gen_token_addr
    assign place.addr = token_q[AccW-1:0];
  end else begin : gen_step_addr
    assign place.addr = AccW'({token_q, step_q[$clog2(Steps)-1:0]});
  end

  if (MulPack == 0) begin : gen_valid_of_all
    assign valid_of[0] = valid;
  end else begin : gen_valid_of
    for (genvar p = 0; p < 2; p++) begin : gen_parity
      logic [TermStage:1] parity_q;
      assign valid_of[p] = {parity_q, issue && (together || odd_q == 1'(p))};
      always_ff @(posedge clk_i) begin
        if (!rst_ni || clr_i) parity_q <= '0;
        else parity_q <= valid_of[p][TermStage-1:0];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) valid_q <= '0;
    else valid_q <= valid[TermStage-1:0];
    if (issue) place_q[1] <= place;
    for (int unsigned s = 1; s < TermStage; s++) begin
      if (valid[s]) place_q[s+1] <= place_q[s];
    end
    if (row_valid[2]) begin
      sum_q[3]         <= row_act.sum;
      significand_q[3] <= row_act.significand;
      exponent_q[3]    <= row_act.exponent;
    end
    for (int unsigned s = 3; s < 5; s++) if (row_valid[s]) sum_q[s+1] <= sum_q[s];
    for (int unsigned s = 3; s < 6; s++) begin
      if (row_valid[s]) significand_q[s+1] <= significand_q[s];
    end
    for (int unsigned s = 3; s < 8; s++) if (row_valid[s]) exponent_q[s+1] <= exponent_q[s];
  end

  // The activations of each row in its stage 2.
  logic [Rows-1:0][255:0] row_weights, row_codes;
  logic [Rows-1:0][15:0] row_scale, row_minimum;

  if (Sparsity == 0) begin : gen_dense
    logic unused_indices;
    assign unused_indices = ^{indices, sparsity};
    always_ff @(posedge clk_i) if (valid[1]) row_act <= xrd_data_i;
    assign row_weights = weights;
    assign row_scale   = scale;
    assign row_minimum = minimum;
    assign row_codes   = {Rows{row_act.codes}};
  end else begin : gen_sparse
    localparam int unsigned Choices = Sparsity == 2 ? 16 : 4;
    logic [3:0][255:0] codes1;
    logic [31:0][Choices-1:0][7:0] candidates;
    // What the rows share: the first block's scale serves all, and only dense tiles need its sum.
    lampyris_pkg::act_block_t act2_q;
    logic unused_fields;

    assign unused_fields = ^{act2_q.codes, row_act.codes};
    always_ff @(posedge clk_i) begin
      if (valid[1]) act2_q <= xrd_data_i[0];
      if (valid[2]) row_act <= act2_q;
    end
    for (genvar k = 0; k < 4; k++) begin : gen_blocks
      assign codes1[k] = xrd_data_i[k].codes;
    end
    mm_candidates #(
        .Sparsity(Sparsity)
    ) u_candidates (
        .clk_i,
        .valid_i(valid[1]),
        .sparsity_i(sparsity),
        .codes_i(codes1),
        .candidates_o(candidates)
    );
    for (genvar r = 0; r < Rows; r++) begin : gen_muxes
      mm_sparse_mux #(
          .Choices(Choices)
      ) u_mux (
          .clk_i,
          .valid_i(valid_of[r%Parities][2:0]),
          .weights_i(weights[r]),
          .index_i(indices[r]),
          .scale_i(scale[r]),
          .minimum_i(minimum[r]),
          .candidates_i(candidates),
          .weights_o(row_weights[r]),
          .scale_o(row_scale[r]),
          .minimum_o(row_minimum[r]),
          .codes_o(row_codes[r])
      );
    end
  end

  logic [Rows-1:0][127:0] sums;
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

  logic signed [Rows-1:0][31:0][15:0] products;

  if (MulPack == 0) begin : gen_single
    for (genvar r = 0; r < Rows; r++) begin : gen_products
      mm_products u_products (
          .clk_i,
          .valid_i(row_valid[2:0]),
          .weights_i(row_weights[r]),
          .codes_i(row_codes[r]),
          .products_o(products[r])
      );
    end
  end else begin : gen_pairs
    for (genvar r = 0; r < Rows; r += 2) begin : gen_products
      mm_products_pair #(
          .Wide(MulPack == 2 ? 8 : 4)
      ) u_products (
          .clk_i,
          .both_i(together),
          .valid_i({valid_of[1][RowStage+2:RowStage], valid_of[0][RowStage+2:RowStage]}),
          .weights_i(row_weights[r+1:r]),
          .codes_i(row_codes[r+1:r]),
          .products_o(products[r+1:r])
      );
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_rows
    logic [127:0] term;
    mm_row u_row (
        .clk_i,
        .valid_i(valid_of[r%Parities][RowStage+8:RowStage]),
        .scale_i(row_scale[r]),
        .minimum_i(row_minimum[r]),
        .products_i(products[r]),
        .sum_i(sum_q[5]),
        .significand_i(significand_q[6]),
        .exponent_i(exponent_q[8]),
        .term_o(term)
    );
    mm_acc #(
        .Depth(AccDepth)
    ) u_acc (
        .clk_i,
        .valid_i(valid_of[r%Parities][TermStage]),
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
      .Channels(Channels),
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
    if (rst_ni && all_load != {Channels{load}}) $fatal(1, "mm_unit: channels out of step");
  end
`endif
endmodule

`default_nettype wire
