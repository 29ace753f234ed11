// Purpose: picks chunks of reads and writes and issues the commands that they need.
// Latency: three cycles from a chunk to its first CAS where the row is open.
// Throughput: one CAS burst after the other; the next chunk's row is opened meanwhile.
// Back-pressure: ready/valid on chunks; with hold_i a chunk under way is finished, no other begins.
// Notes: two slots, in order. The next chunk may close and open rows of other banks than the current
//        chunk's; only the current chunk issues CAS. Reads and writes alternate when both wait.

`default_nettype none

module sdr_sched
  import sdr_pkg::*;
#(
    parameter int unsigned AxiBits    = 128,
    parameter int unsigned DqBits     = 16,
    parameter int unsigned RowBits    = 13,
    parameter int unsigned ColBits    = 9,
    parameter int unsigned BankBits   = 2,
    parameter int unsigned TRcd       = 2,
    parameter int unsigned TRp        = 2,
    parameter int unsigned TRas       = 5,
    parameter int unsigned TRc        = 7,
    parameter int unsigned TRrd       = 2,
    parameter int unsigned TWr        = 2,
    parameter int unsigned CasLatency = 2,
    localparam int unsigned Burst     = burst_words(AxiBits, DqBits),
    localparam int unsigned ColW      = ColBits - $clog2(Burst),
    localparam int unsigned AddrW     = RowBits + BankBits + ColW
) (
    input  wire logic                clk_i,
    input  wire logic                rst_ni,
    // Chunks; *_may_i says that their data has room or is there
    input  wire logic                rd_valid_i,
    input  wire logic                rd_may_i,
    output logic                     rd_take_o,
    input  wire logic [AddrW-1:0]    rd_addr_i,
    input  wire logic [CountW-1:0]   rd_count_i,
    input  wire logic                wr_valid_i,
    input  wire logic                wr_may_i,
    output logic                     wr_take_o,
    input  wire logic [AddrW-1:0]    wr_addr_i,
    input  wire logic [CountW-1:0]   wr_count_i,
    input  wire logic                wr_last_i,
    output logic                     wr_done_o,
    // Start and refresh
    input  wire logic                hold_i,
    output logic                     quiet_o,
    output logic                     idle_o,
    input  wire logic                maint_active_i,
    input  wire cmd_e                maint_cmd_i,
    // Commands
    output cmd_e                     cmd_o,
    output logic [BankBits-1:0]      ba_o,
    output logic [RowBits-1:0]       a_o,
    output logic                     rd_start_o,
    output logic                     wr_start_o
);
  localparam int unsigned Banks = 1 << BankBits;
  // Sequential bursts, also for writes.
  localparam logic [RowBits-1:0] ModeWord = RowBits'((CasLatency << 4) | $clog2(Burst));
  localparam logic [RowBits-1:0] AllBanks = RowBits'(1 << 10);
  typedef logic [TimerW-1:0] timer_t;

  typedef enum logic [2:0] {SlotEmpty, SlotCheck, SlotClose, SlotOpen, SlotReady} state_e;

  typedef struct packed {
    logic [RowBits-1:0]  row;
    logic [BankBits-1:0] bank;
    logic [ColW-1:0]     col;
    logic [CountW-1:0]   left;
    logic                write;
    logic                last;
  } slot_t;

  state_e cur_state_q, cur_state, next_state_q, next_state;
  slot_t cur_q, next_q;

  // ------------------------------------------------------------------ banks
  logic [Banks-1:0] bank_open, activate_ok, cas_ok, precharge_ok;
  logic [Banks-1:0] activate, precharge, read, write;
  logic [Banks-1:0][RowBits-1:0] bank_row;
  logic [RowBits-1:0] row;

  for (genvar b = 0; b < Banks; b++) begin : g_bank
    sdr_bank #(
        .RowBits(RowBits),
        .Burst  (Burst),
        .TRcd   (TRcd),
        .TRp    (TRp),
        .TRas   (TRas),
        .TRc    (TRc),
        .TWr    (TWr)
    ) u_bank (
        .clk_i,
        .rst_ni,
        .activate_i    (activate[b]),
        .precharge_i   (precharge[b]),
        .read_i        (read[b]),
        .write_i       (write[b]),
        .row_i         (row),
        .open_o        (bank_open[b]),
        .row_o         (bank_row[b]),
        .activate_ok_o (activate_ok[b]),
        .cas_ok_o      (cas_ok[b]),
        .precharge_ok_o(precharge_ok[b])
    );
  end

  // ------------------------------------------------------------------ what may be issued
  logic started_q, block, same_bank, cas, cas_last, cur_close, cur_open, next_close, next_open, next_go;
  timer_t rd_wait_q, wr_wait_q, rrd_q;

  assign block     = hold_i && !started_q;
  assign same_bank = cur_state_q != SlotEmpty && cur_q.bank == next_q.bank;

  assign cas       = cur_state_q == SlotReady && !block && cas_ok[cur_q.bank]
      && (cur_q.write ? wr_wait_q == 0 : rd_wait_q == 0);
  assign cas_last  = cas && cur_q.left == CountW'(1);
  assign cur_close = cur_state_q == SlotClose && !block && precharge_ok[cur_q.bank];
  assign cur_open  = cur_state_q == SlotOpen && !block && activate_ok[cur_q.bank] && rrd_q == 0;

  assign next_go    = !hold_i && !same_bank && !cas && !cur_close && !cur_open;
  assign next_close = next_state_q == SlotClose && next_go && precharge_ok[next_q.bank];
  assign next_open  = next_state_q == SlotOpen && next_go && activate_ok[next_q.bank] && rrd_q == 0;

  assign quiet_o = block && &precharge_ok;
  assign idle_o  = cur_state_q == SlotEmpty && next_state_q == SlotEmpty;

  // ------------------------------------------------------------------ slots
  logic promote, next_may_check, want_rd, want_wr, pick_wr, was_wr_q;

  function automatic state_e checked(logic [BankBits-1:0] in_bank, logic [RowBits-1:0] want);
    if (!bank_open[in_bank]) return SlotOpen;
    return bank_row[in_bank] == want ? SlotReady : SlotClose;
  endfunction

  // A row is looked up when no command of the other slot can change its bank any more.
  assign next_may_check = !same_bank || cur_state_q == SlotReady;
  assign promote        = next_state_q != SlotEmpty && (cur_state_q == SlotEmpty || cas_last);

  always_comb begin
    cur_state = cur_state_q;
    if (cur_state_q == SlotCheck) cur_state = checked(cur_q.bank, cur_q.row);
    else if (cur_close) cur_state = SlotOpen;
    else if (cur_open) cur_state = SlotReady;
    else if (cas_last) cur_state = SlotEmpty;

    next_state = next_state_q;
    if (next_state_q == SlotCheck && next_may_check) next_state = checked(next_q.bank, next_q.row);
    else if (next_close) next_state = SlotOpen;
    else if (next_open) next_state = SlotReady;

    // All rows are closed now.
    if (maint_active_i && cur_state_q != SlotEmpty) cur_state = SlotCheck;
    if (maint_active_i && next_state_q != SlotEmpty) next_state = SlotCheck;
  end

  assign want_rd   = rd_valid_i && rd_may_i;
  assign want_wr   = wr_valid_i && wr_may_i;
  assign pick_wr   = want_wr && !(want_rd && was_wr_q);
  assign rd_take_o = next_state_q == SlotEmpty && want_rd && !pick_wr;
  assign wr_take_o = next_state_q == SlotEmpty && pick_wr;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      cur_state_q  <= SlotEmpty;
      next_state_q <= SlotEmpty;
      started_q    <= 1'b0;
      was_wr_q     <= 1'b0;
    end else begin
      cur_state_q <= promote ? next_state : cur_state;
      if (rd_take_o || wr_take_o) next_state_q <= SlotCheck;
      else next_state_q <= promote ? SlotEmpty : next_state;
      if (cas) started_q <= !cas_last;
      if (rd_take_o || wr_take_o) was_wr_q <= wr_take_o;
    end
    if (promote) cur_q <= next_q;
    else if (cas) begin
      cur_q.col  <= cur_q.col + 1'b1;
      cur_q.left <= cur_q.left - 1'b1;
    end
    if (rd_take_o || wr_take_o) begin
      {next_q.row, next_q.bank, next_q.col} <= pick_wr ? wr_addr_i : rd_addr_i;
      next_q.left  <= pick_wr ? wr_count_i : rd_count_i;
      next_q.write <= pick_wr;
      next_q.last  <= wr_last_i;
    end
  end

  // ------------------------------------------------------------------ timers between banks
  function automatic timer_t down(timer_t running);
    return running - timer_t'(running != 0);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rd_wait_q <= '0;
      wr_wait_q <= '0;
      rrd_q     <= '0;
    end else begin
      rd_wait_q <= cas ? timer_t'(Burst - 1) : down(rd_wait_q);
      // The chip drives its last word until then; one cycle lies between the drivers.
      if (cas) wr_wait_q <= cur_q.write ? timer_t'(Burst - 1) : timer_t'(Burst + CasLatency);
      else wr_wait_q <= down(wr_wait_q);
      rrd_q <= cur_open || next_open ? timer_t'(TRrd - 1) : down(rrd_q);
    end
  end

  // ------------------------------------------------------------------ commands
  logic use_next, close, open_row;
  logic [BankBits-1:0] bank;
  logic [Banks-1:0] at_bank;

  assign use_next  = next_close || next_open;
  assign close     = cur_close || next_close;
  assign open_row  = cur_open || next_open;
  assign bank      = use_next ? next_q.bank : cur_q.bank;
  assign row       = use_next ? next_q.row : cur_q.row;
  assign at_bank   = Banks'(1) << bank;
  assign activate  = open_row ? at_bank : '0;
  assign read      = cas && !cur_q.write ? at_bank : '0;
  assign write     = cas && cur_q.write ? at_bank : '0;
  assign precharge = (maint_active_i && maint_cmd_i == CmdPrecharge) ? '1 : close ? at_bank : '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      cmd_o      <= CmdNop;
      rd_start_o <= 1'b0;
      wr_start_o <= 1'b0;
      wr_done_o  <= 1'b0;
    end else begin
      if (maint_active_i) cmd_o <= maint_cmd_i;
      else if (cas) cmd_o <= cur_q.write ? CmdWrite : CmdRead;
      else if (open_row) cmd_o <= CmdActivate;
      else if (close) cmd_o <= CmdPrecharge;
      else cmd_o <= CmdNop;
      rd_start_o <= cas && !cur_q.write;
      wr_start_o <= cas && cur_q.write;
      wr_done_o  <= cas_last && cur_q.write && cur_q.last;
    end
    ba_o <= maint_active_i ? '0 : bank;
    if (maint_active_i) a_o <= maint_cmd_i == CmdMode ? ModeWord : AllBanks;
    else if (cas) a_o <= RowBits'(cur_q.col) << $clog2(Burst);
    else if (open_row) a_o <= row;
    else a_o <= '0;  // precharge of one bank
  end
endmodule

`default_nettype wire
