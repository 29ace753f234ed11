// Purpose: direct-mapped instruction cache, IcacheLines lines of 4 instructions (128 bytes).
// Latency: 1 cycle on a hit; a miss costs the burst of one line and 2 cycles.
// Throughput: one instruction every 2 cycles.
// Back-pressure: req_i is taken when ready_o; the answer (valid_o or err_o) is a pulse.
// Notes: lines are numbered relative to base_i; flush_i forgets all lines. After an error response
//        the burst is drained before err_o is raised; clr_i discards a burst under way.

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

  typedef enum logic [2:0] {
    StIdle,
    StLookup,
    StAddress,
    StFill,
    StRead,
    StDiscard
  } state_e;

  state_e                 state_q;
  logic [IcacheLines-1:0] present_q;
  logic [TagW-1:0]        tags[IcacheLines];
  logic [23:0]            pc_q;
  logic [BeatW-1:0]       beat_q;
  logic                   failed_q, beat, last, hit;
  logic [IdxW-1:0]        index;

  assign index = pc_q[2+:IdxW];
  assign hit   = present_q[index] && tags[index] == pc_q[23:2+IdxW];
  assign beat  = rvalid_i && rready_o;
  assign last  = beat && rlast_i;

  assign ready_o   = state_q == StIdle && !flush_i;
  assign valid_o   = state_q == StLookup && hit;
  assign err_o     = state_q == StLookup && !hit && failed_q;
  assign arvalid_o = state_q == StAddress;
  assign araddr_o  = base_i + {11'd0, pc_q[23:2], 7'd0};
  assign arlen_o   = 8'(Beats - 1);
  assign rready_o  = state_q == StFill || state_q == StDiscard;
  assign beat_o    = beat;

  // Line storage: one row is read at a lookup, beats are written as they come.
  logic [RowBits-1:0]      row;
  logic [IdxW+RowIdxW-1:0] raddr, waddr;
  logic [RowBeats-1:0]     wmask;
  logic                    re;

  assign re    = (state_q == StIdle && req_i) || state_q == StRead;
  assign raddr = state_q == StIdle ? pc_i[2+IdxW-1-:IdxW+RowIdxW] : pc_q[2+IdxW-1-:IdxW+RowIdxW];
  assign waddr = {index, beat_q[BeatW-1-:RowIdxW]};

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
      .we_i   (beat),
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
    if (last) tags[index] <= pc_q[23:2+IdxW];
    if (state_q == StAddress) beat_q <= '0;
    else if (beat) beat_q <= beat_q + 1'b1;
  end

  // Is a burst under way that a soft reset has to wait for?
  logic pending;
  assign pending = (state_q == StAddress && arready_i) ||
                   ((state_q == StFill || state_q == StDiscard) && !last);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q   <= (rst_ni && pending) ? StDiscard : StIdle;
      present_q <= '0;
      failed_q  <= 1'b0;
    end else begin
      if (flush_i) present_q <= '0;
      unique case (state_q)
        StIdle: begin
          failed_q <= 1'b0;
          if (req_i && ready_o) state_q <= StLookup;
        end
        StLookup: state_q <= (hit || failed_q) ? StIdle : StAddress;
        StAddress: begin
          present_q[index] <= 1'b0;
          if (arready_i) state_q <= StFill;
        end
        StFill: begin
          if (beat && rresp_i != 2'b00) failed_q <= 1'b1;
          if (last) begin
            present_q[index] <= !failed_q && rresp_i == 2'b00;
            state_q          <= StRead;
          end
        end
        StDiscard: if (last) state_q <= StIdle;
        default: state_q <= StLookup;
      endcase
    end
  end
endmodule

`default_nettype wire
