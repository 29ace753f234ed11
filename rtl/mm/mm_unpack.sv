// Purpose: cuts the weight stream into tile headers and steps of MacRows rows of 32 fields, and
//          unpacks the fields to INT8 codes (and indices, if the tile is sparse).
// Latency: one cycle from a step's last beat to the step register.
// Throughput: a gearbox: one step per cycle while beats suffice, one beat per cycle while steps do.
// Back-pressure: takes beats while load_i; a finished step waits until free_i.
// Notes: load_o marks the cycle in which a step enters the step register. A beat stays where it is
//        until what is left of it is shorter than a step; then it moves to the held beats. Tiles are
//        whole beats, so every tile starts with a fresh one. Where a beat can hold more than a step,
//        mm_intake takes headers during the steps; otherwise no beat is to be gained.

`default_nettype none

module mm_unpack #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned MacRows    = 2,
    parameter int unsigned WeightBits = 380,
    parameter int unsigned Sparsity   = 2,
    parameter int unsigned KblocksW   = 13,
    parameter int unsigned GroupsW    = 14
) (
    input  wire logic                           clk_i,
    input  wire logic                           rst_ni,
    input  wire logic                           start_i,     // new instruction: next beat starts a tile
    input  wire logic                           run_i,       // an instruction executes
    input  wire logic                           header_i,    // tiles have a header
    input  wire logic                           paired_i,    // two rows share bytes (4-bit codes)
    input  wire logic [3:0]                     width_i,     // bits of a field
    input  wire logic [1:0]                     sparsity_i,
    input  wire logic [KblocksW-1:0]            kblocks_i,
    input  wire logic [2:0]                     span_i,      // blocks of a tile
    input  wire logic [GroupsW-1:0]             groups_i,
    input  wire logic                           load_i,      // the next step is wanted
    input  wire logic                           free_i,      // the step register may be overwritten
    // Stream
    input  wire logic                           srd_valid_i,
    input  wire logic [AxiBits-1:0]             srd_data_i,
    output logic                                srd_ready_o,
    // Step
    output logic                                load_o,
    output logic                                last_o,      // with load_o: last step of the tile
    output logic [3:0]                          step_o,      // with load_o: index in the tile
    output logic [MacRows-1:0][31:0][7:0]       codes_o,
    output logic [MacRows-1:0][31:0][3:0]       index_o,     // zero if dense
    output logic [MacRows-1:0][15:0]            scale_o,
    output logic [MacRows-1:0][15:0]            minimum_o
);
  localparam int unsigned Steps = 16 / MacRows;
  localparam int unsigned HeaderBeats = 512 / AxiBits;
  localparam logic [15:0] F16One = 16'h3c00;

  function automatic int unsigned smaller(int unsigned p, int unsigned q);
    return p < q ? p : q;
  endfunction

  // ------------------------------------------------------------------ units
  // Beats and steps are multiples of a unit; a step of fields of b bits is b planes.
  localparam int unsigned Plane = 32 * MacRows;
  localparam int unsigned Common = WeightBits[3] || WeightBits[5] ? 1 : WeightBits[2] || WeightBits[6] ? 2 : 4;
  localparam int unsigned Unit = smaller(AxiBits, Common * Plane);
  localparam int unsigned Beat = AxiBits / Unit;

  function automatic int unsigned step_units(int unsigned b);
    return b * Plane / Unit;
  endfunction

  // Greatest common divisor of a step and a beat; the latter is a power of two.
  function automatic int unsigned grid(int unsigned b);
    int unsigned g;
    g = Beat;
    while (step_units(b) % g != 0) g = g / 2;
    return g;
  endfunction

  // A step waits for its last beat in so many others.
  function automatic int unsigned held_beats();
    int unsigned most;
    most = 0;
    for (int unsigned b = 2; b <= 8; b++) begin
      if (WeightBits[b]) begin
        if ((step_units(b) - grid(b) + Beat - 1) / Beat > most) begin
          most = (step_units(b) - grid(b) + Beat - 1) / Beat;
        end
      end
    end
    return most;
  endfunction

  function automatic bit narrow_steps();
    bit found;
    found = 1'b0;
    for (int unsigned b = 2; b <= 8; b++) begin
      if (WeightBits[b] && step_units(b) < Beat) found = 1'b1;
    end
    return found;
  endfunction

  localparam bit Ahead = narrow_steps();
  localparam int unsigned HeldBeats = held_beats();
  localparam int unsigned HeldUnits = HeldBeats * Beat;
  localparam int unsigned Window = HeldUnits + Beat;
  localparam int unsigned OffsetW = $clog2(Window + step_units(8) + 1);

  typedef logic [OffsetW-1:0] offset_t;

  // ------------------------------------------------------------------ control
  logic [3:0] step_q;   // step of the tile
  offset_t offset_q;    // where the next step starts, in units from the oldest held bit
  offset_t step, after;
  logic fits, spent, go, take_code;
  logic [511:0] header_q;
  // Beats of codes, and whether the tile's header is there.
  logic beat_valid, beat_ready, header_there;
  logic [AxiBits-1:0] beat;

  always_comb begin
    step = offset_t'(step_units(4));
    for (int unsigned b = 2; b <= 8; b++) begin
      if (WeightBits[b] && width_i == 4'(b)) step = offset_t'(step_units(b));
    end
  end

  assign fits       = offset_q + step <= offset_t'(Window);
  assign after      = fits ? offset_q + step : offset_q;
  assign spent      = after + step > offset_t'(Window);
  assign go         = load_i && header_there && (free_i || !fits);
  assign take_code  = go && beat_valid;
  assign beat_ready = go && spent;
  assign load_o     = take_code && fits;
  assign step_o     = step_q;
  assign last_o     = step_q == 4'(Steps - 1);

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      offset_q <= offset_t'(HeldUnits);
      step_q   <= '0;
    end else begin
      if (take_code) offset_q <= spent ? after - offset_t'(Beat) : after;
      if (load_o) step_q <= last_o ? '0 : step_q + 4'd1;
    end
  end

  // ------------------------------------------------------------------ headers
  if (Ahead) begin : gen_intake
    logic header_valid, header_ready, header_there_q;
    logic [511:0] header;

    // The header of the next tile replaces this one's with the last step, or when it comes.
    assign header_there = !header_i || header_there_q;
    assign header_ready = header_valid && (!header_there_q || (load_o && last_o));
    always_ff @(posedge clk_i) begin
      if (start_i) header_there_q <= 1'b0;
      else if (header_ready) header_there_q <= 1'b1;
      else if (load_o && last_o) header_there_q <= 1'b0;
      if (header_ready) header_q <= header;
    end

    mm_intake #(
        .AxiBits(AxiBits),
        .KblocksW(KblocksW),
        .GroupsW(GroupsW)
    ) u_intake (
        .clk_i,
        .rst_ni,
        .start_i,
        .run_i,
        .header_i,
        .width_i,
        .kblocks_i,
        .span_i,
        .groups_i,
        .srd_valid_i,
        .srd_data_i,
        .srd_ready_o,
        .header_valid_o(header_valid),
        .header_ready_i(header_ready),
        .header_o(header),
        .beat_valid_o(beat_valid),
        .beat_ready_i(beat_ready),
        .beat_o(beat)
    );
  end else begin : gen_in_turn
    logic in_header_q, take_header, unused_counts;
    logic [1:0] beat_q;  // beat of the header

    assign unused_counts = ^{rst_ni, run_i, kblocks_i, span_i, groups_i};
    assign header_there  = !in_header_q;
    assign beat_valid    = srd_valid_i;
    assign beat          = srd_data_i;
    assign take_header   = load_i && in_header_q && srd_valid_i;
    assign srd_ready_o   = (load_i && in_header_q) || beat_ready;

    always_ff @(posedge clk_i) begin
      if (start_i) begin
        in_header_q <= header_i;
        beat_q      <= '0;
      end else begin
        if (take_header) begin
          beat_q <= beat_q + 2'd1;
          if (beat_q == 2'(HeaderBeats - 1)) begin
            beat_q      <= '0;
            in_header_q <= 1'b0;
          end
        end
        if (load_o && last_o) in_header_q <= header_i;
      end
    end

    if (HeaderBeats == 1) begin : gen_header_beat
      always_ff @(posedge clk_i) if (take_header) header_q <= srd_data_i;
    end else begin : gen_header_beats
      always_ff @(posedge clk_i) if (take_header) header_q[AxiBits*beat_q+:AxiBits] <= srd_data_i;
    end
  end

  // ------------------------------------------------------------------ held beats
  logic [Window*Unit-1:0] window;  // held beats, oldest lowest, below the new one

  if (HeldBeats == 0) begin : gen_no_held
    assign window = beat;
  end else begin : gen_held
    logic [HeldBeats*AxiBits-1:0] held_q;
    always_ff @(posedge clk_i) begin
      if (take_code && spent) held_q <= window[Window*Unit-1-:HeldBeats*AxiBits];
    end
    assign window = {beat, held_q};
  end

  // ------------------------------------------------------------------ fields of the next step
  if (MacRows < 2) begin : gen_no_pairs_of_rows
    logic unused_paired;
    assign unused_paired = paired_i;
  end

  logic [8:2][MacRows-1:0][31:0][7:0] codes;
  logic [8:2][MacRows-1:0][31:0][3:0] indices;

  for (genvar b = 2; b <= 8; b++) begin : gen_width
    if (WeightBits[b]) begin : gen_there
      // Where a step can lie: the last place is the end of the window.
      localparam int unsigned Grid = grid(b);
      localparam int unsigned Places = Beat / Grid;
      localparam int unsigned Last = Window - step_units(b);
      logic [b*Plane-1:0] raw;
      if (Places == 1) begin : gen_one
        assign raw = window[Last*Unit+:b*Plane];
      end else begin : gen_many
        always_comb begin
          raw = '0;
          for (int unsigned p = 0; p < Places; p++) begin
            if (offset_q == offset_t'(Last - p * Grid)) begin
              raw = window[(Last-p*Grid)*Unit+:b*Plane];
            end
          end
        end
      end
      for (genvar r = 0; r < MacRows; r++) begin : gen_rows
        for (genvar j = 0; j < 32; j++) begin : gen_fields
          logic [b-1:0] field;
          logic [7:0] code2, code4;
          logic [3:0] index2, index4;
          assign field = raw[32*b*r+b*j+:b];
          if (b > 3 && Sparsity >= 1) begin : gen_pairs
            assign code2  = 8'(signed'(field[b-3:0]));
            assign index2 = 4'(field[b-1:b-2]);
          end else begin : gen_no_pairs
            assign code2  = '0;
            assign index2 = '0;
          end
          if (b > 5 && Sparsity >= 2) begin : gen_fours
            assign code4  = 8'(signed'(field[b-5:0]));
            assign index4 = field[b-1:b-4];
          end else begin : gen_no_fours
            assign code4  = '0;
            assign index4 = '0;
          end
          logic [7:0] dense;
          if (b == 4 && MacRows >= 2) begin : gen_paired
            // A byte holds column j of an even row and of the row after it, each plus 8.
            logic [3:0] half;
            assign half  = raw[256*(r/2)+8*j+4*(r%2)+:4];
            assign dense = paired_i ? {{5{!half[3]}}, half[2:0]} : 8'(field);
          end else begin : gen_not_paired
            assign dense = 8'(field);
          end
          assign codes[b][r][j] = Sparsity >= 2 && sparsity_i == 2'd2 ? code4 :
              Sparsity >= 1 && sparsity_i == 2'd1 ? code2 : dense;
          assign indices[b][r][j] = Sparsity >= 2 && sparsity_i == 2'd2 ? index4 :
              Sparsity >= 1 && sparsity_i == 2'd1 ? index2 : 4'd0;
        end
      end
    end else begin : gen_absent
      assign codes[b]   = '0;
      assign indices[b] = '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_o) begin
      codes_o <= codes[4];
      index_o <= indices[4];
      for (int unsigned b = 2; b <= 8; b++) begin
        if (WeightBits[b] && b != 4 && width_i == 4'(b)) begin
          codes_o <= codes[b];
          index_o <= indices[b];
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
        minimum_o[r] <= header_i && sparsity_i == 2'd0 ? scales[32*r+16+:16] : 16'h0;
      end
    end
  end
endmodule

`default_nettype wire
