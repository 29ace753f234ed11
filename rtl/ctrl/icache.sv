// Purpose: direct-mapped instruction cache, IcacheLines lines of 4 instructions (128 bytes).
// Latency: 1 cycle on a hit; a miss costs the burst of one line and 2 cycles.
// Throughput: one instruction every 2 cycles.
// Back-pressure: req_i is taken when ready_o; the answer (valid_o or err_o) is a pulse.
// Notes: lines are numbered relative to base_i; flush_i forgets all lines. After a hit the next
//        line is fetched if it is absent; hits go on meanwhile. An error response to such a fetch
//        is forgotten; the lookup that needs the line asks again. clr_i and flush_i discard a
//        burst under way.

`default_nettype none

module icache #(
    parameter int unsigned AxiBits     = 256,
    parameter int unsigned IcacheLines = 256
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    input  wire logic               clr_i,
    input  wire logic               flush_i,
    input  wire logic [39:0]        base_i,
    input  wire logic               req_i,
    output logic                    ready_o,
    input  wire logic [23:0]        pc_i,
    output logic                    valid_o,
    output logic                    err_o,
    output logic [255:0]            insn_o,
    // AXI read channel, through the arbiter.
    output logic                    arvalid_o,
    input  wire logic               arready_i,
    output logic [39:0]             araddr_o,
    output logic [7:0]              arlen_o,
    input  wire logic               rvalid_i,
    output logic                    rready_o,
    input  wire logic [AxiBits-1:0] rdata_i,
    input  wire logic [1:0]         rresp_i,
    input  wire logic               rlast_i,
    output logic                    beat_o
);
  localparam int unsigned LineBits = 1024;
  localparam int unsigned Beats    = LineBits / AxiBits;
  // A RAM row holds at least one instruction and at least one beat.
  localparam int unsigned RowBits  = AxiBits > 256 ? AxiBits : 256;
  localparam int unsigned Rows     = LineBits / RowBits;
  localparam int unsigned RowIdxW  = $clog2(Rows);
  localparam int unsigned RowBeats = RowBits / AxiBits;
  localparam int unsigned RowInsns = RowBits / 256;
  localparam int unsigned BeatW    = $clog2(Beats);
  localparam int unsigned IdxW     = $clog2(IcacheLines);
  localparam int unsigned TagW     = 22 - IdxW;

  // Lookups and the fill of a line run side by side, so that a prefetch does not delay hits.
  typedef enum logic [1:0] {
    StIdle,
    StLookup,
    StMiss
  } state_e;

  typedef enum logic [1:0] {
    FillIdle,
    FillAddress,
    FillBeats,
    FillDiscard
  } fill_e;

  state_e                 state_q;
  fill_e                  fill_q;
  logic [IcacheLines-1:0] present_q;
  logic [TagW-1:0]        tags[IcacheLines];
  logic [23:0]            pc_q;
  logic [21:0]            next_q, fill_line_q, look_line;
  logic [BeatW-1:0]       beat_q;
  logic                   prefetch_q, demand_q, bad_q, failed_q;
  logic                   beat, last, good, present, hit, demand, prefetch, start;
  logic [IdxW-1:0]        fill_index;

  // Between lookups the tags tell whether the line after the last hit is there.
  assign look_line  = state_q == StIdle ? next_q : pc_q[23:2];
  assign present    = present_q[look_line[IdxW-1:0]] && tags[look_line[IdxW-1:0]] == look_line[21:IdxW];
  assign hit        = state_q != StIdle && present;
  assign demand     = state_q != StIdle && !present && !failed_q;
  assign prefetch   = state_q == StIdle && prefetch_q && !present;
  assign start      = fill_q == FillIdle && (demand || prefetch) && !flush_i;
  assign fill_index = fill_line_q[IdxW-1:0];
  assign beat       = rvalid_i && rready_o;
  assign last       = beat && rlast_i;
  assign good       = !bad_q && rresp_i == 2'b00;

  assign ready_o   = state_q == StIdle && !flush_i;
  assign valid_o   = state_q == StLookup && hit;
  assign err_o     = state_q == StMiss && failed_q;
  assign arvalid_o = fill_q == FillAddress;
  assign araddr_o  = base_i + {11'd0, fill_line_q, 7'd0};
  assign arlen_o   = 8'(Beats - 1);
  assign rready_o  = fill_q == FillBeats || fill_q == FillDiscard;
  assign beat_o    = beat;

  // Line storage: one row is read at a lookup, beats are written as they come.
  logic [RowBits-1:0]      row;
  logic [IdxW+RowIdxW-1:0] raddr, waddr;
  logic [RowBeats-1:0]     wmask;
  logic                    re;

  assign re    = (state_q == StIdle && req_i) || state_q == StMiss;
  assign raddr = state_q == StIdle ? pc_i[2+IdxW-1-:IdxW+RowIdxW] : pc_q[2+IdxW-1-:IdxW+RowIdxW];
  assign waddr = {fill_index, beat_q[BeatW-1-:RowIdxW]};

  if (RowBeats == 1) begin : gen_whole
    assign wmask = 1'b1;
  end else begin : gen_part
    assign wmask = RowBeats'(1) << beat_q[$clog2(RowBeats)-1:0];
  end

  prim_ram_1r1w #(
      .Width    (RowBits),
      .Depth    (IcacheLines * Rows),
      .MaskWidth(AxiBits)
  ) u_lines (
      .clk_i,
      .we_i   (beat && fill_q == FillBeats),
      .waddr_i(waddr),
      .wmask_i(wmask),
      .wdata_i({RowBeats{rdata_i}}),
      .re_i   (re),
      .raddr_i(raddr),
      .rdata_o(row)
  );

  if (RowInsns == 1) begin : gen_insn
    assign insn_o = row;
  end else begin : gen_pick
    assign insn_o = pc_q[0] ? row[511:256] : row[255:0];
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) pc_q <= pc_i;
    if (valid_o) next_q <= pc_q[23:2] + 22'd1;
    if (start) begin
      fill_line_q <= look_line;
      demand_q    <= demand;
    end
    if (last && fill_q == FillBeats) tags[fill_index] <= fill_line_q[21:IdxW];
    if (fill_q == FillAddress) beat_q <= '0;
    else if (beat) beat_q <= beat_q + 1'b1;
  end

  // Lookup.
  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q    <= StIdle;
      failed_q   <= 1'b0;
      prefetch_q <= 1'b0;
    end else begin
      if (valid_o) prefetch_q <= 1'b1;
      else if (state_q == StIdle && (start || present)) prefetch_q <= 1'b0;
      if (flush_i) prefetch_q <= 1'b0;
      // Only the line that the lookup itself asked for fails it: a prefetch may end in no memory.
      if (state_q == StIdle) failed_q <= 1'b0;
      else if (last && fill_q == FillBeats && demand_q && !good) failed_q <= 1'b1;
      unique case (state_q)
        StIdle:   if (req_i && ready_o) state_q <= StLookup;
        StLookup: state_q <= hit ? StIdle : StMiss;
        default: begin
          if (failed_q) state_q <= StIdle;
          else if (hit) state_q <= StLookup;
        end
      endcase
    end
  end

  // Fill. A reset or flush does not stop a burst that the arbiter has taken, but forgets it.
  logic taken;
  assign taken = (fill_q == FillAddress && arready_i) ||
                 ((fill_q == FillBeats || fill_q == FillDiscard) && !last);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i || flush_i) begin
      fill_q    <= (rst_ni && taken) ? FillDiscard : FillIdle;
      present_q <= '0;
      bad_q     <= 1'b0;
    end else begin
      unique case (fill_q)
        FillIdle: begin
          bad_q <= 1'b0;
          if (start) begin
            fill_q                         <= FillAddress;
            present_q[look_line[IdxW-1:0]] <= 1'b0;
          end
        end
        FillAddress: if (arready_i) fill_q <= FillBeats;
        FillBeats: begin
          if (beat && rresp_i != 2'b00) bad_q <= 1'b1;
          if (last) begin
            present_q[fill_index] <= good;
            fill_q                <= FillIdle;
          end
        end
        default: if (last) fill_q <= FillIdle;
      endcase
    end
  end
endmodule

`default_nettype wire
