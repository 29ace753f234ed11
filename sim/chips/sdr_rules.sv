// Purpose: watches the pins of an SDR SDRAM and says which rules of its data sheet were broken.
// Latency: a violation shows in the cycle after its clock edge.
// Throughput: every clock edge.
// Back-pressure: none.
// Notes: for simulation. Violations stay until reset. The rules, by bit of violations_o:
//   0 command within the initial pause          10 too few refreshes in a window
//   1 use before the start sequence is done     11 read or write of a closed row
//   2 tRCD                                      12 activation of an open bank
//   3 tRP                                       13 refresh or mode with open rows
//   4 tRAS                                      14 both sides drive the data pins, or without a pause
//   5 tRC                                       15 illegal mode
//   6 tRRD                                      16 row open longer than tRAS(max)
//   7 tRFC                                      17 unmasked write word that nobody drives
//   8 tWR                                       18 what the model lacks: auto precharge, CKE low
//   9 tMRD

`default_nettype none

module sdr_rules #(
    parameter int unsigned DqBits        = 16,
    parameter int unsigned RowBits       = 13,
    parameter int unsigned BankBits      = 2,
    parameter int unsigned TRcd          = 2,
    parameter int unsigned TRp           = 2,
    parameter int unsigned TRas          = 5,
    parameter int unsigned TRasMax       = 10000,
    parameter int unsigned TRc           = 7,
    parameter int unsigned TRrd          = 2,
    parameter int unsigned TRfc          = 7,
    parameter int unsigned TWr           = 2,
    parameter int unsigned TMrd          = 2,
    parameter int unsigned CasMin        = 2,
    parameter int unsigned PowerUp       = 20000,
    parameter int unsigned RefreshWindow = 6400000,
    parameter int unsigned RefreshCount  = 8192
) (
    input  wire logic                clk_i,
    input  wire logic                rst_ni,
    input  wire logic                cke_i,
    input  wire logic [2:0]          cmd_i,
    input  wire logic [BankBits-1:0] ba_i,
    input  wire logic [RowBits-1:0]  a_i,
    input  wire logic [DqBits/8-1:0] dqm_i,
    // Who drives the data pins
    input  wire logic                outer_oe_i,
    input  wire logic                chip_oe_i,
    // A word is stored at this clock edge
    input  wire logic                store_i,
    input  wire logic [BankBits-1:0] store_bank_i,
    output logic [4:0]               violation_o,
    output logic [18:0]              violations_o
);
  localparam int unsigned Banks = 1 << BankBits;
  // The clock at power-on: all that never happened is long ago.
  localparam logic [31:0] Start = 32'd1_000_000;

  logic act, pre, rd_wr, refresh, mode, any;
  assign any     = cmd_i != 3'b111;
  assign mode    = cmd_i == 3'b000;
  assign refresh = cmd_i == 3'b001;
  assign pre     = cmd_i == 3'b010;
  assign act     = cmd_i == 3'b011;
  assign rd_wr   = cmd_i == 3'b100 || cmd_i == 3'b101;

  // ------------------------------------------------------------------ what happened when
  logic [31:0] now_q, refresh_q, mode_q, usable_q;
  logic [Banks-1:0] open_q, closing;
  logic [Banks-1:0][31:0] act_q, pre_q, store_q;
  logic closed_all_q, moded_q, usable, chip_oe_q;
  logic [1:0] refreshes_q;  // of the start sequence, up to two

  assign closing = !pre ? '0 : a_i[10] ? '1 : Banks'(1) << ba_i;
  assign usable  = moded_q && refreshes_q == 2'd2;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      now_q        <= Start;
      refresh_q    <= '0;
      mode_q       <= '0;
      usable_q     <= '0;
      open_q       <= '0;
      act_q        <= '0;
      pre_q        <= '0;
      store_q      <= '0;
      closed_all_q <= 1'b0;
      moded_q      <= 1'b0;
      refreshes_q  <= '0;
      chip_oe_q    <= 1'b0;
    end else begin
      now_q     <= now_q + 1;
      chip_oe_q <= chip_oe_i;
      if (!usable) usable_q <= now_q;
      if (refresh) refresh_q <= now_q;
      if (mode) mode_q <= now_q;
      if (act) act_q[ba_i] <= now_q;
      if (store_i) store_q[store_bank_i] <= now_q;
      for (int unsigned b = 0; b < Banks; b++) begin
        // Closing a closed bank is no precharge.
        if (closing[b] && (open_q[b] || !closed_all_q)) pre_q[b] <= now_q;
      end
      open_q <= (open_q & ~closing) | (act ? Banks'(1) << ba_i : '0);
      if (pre && a_i[10]) closed_all_q <= 1'b1;
      if (mode && closed_all_q) moded_q <= 1'b1;
      if (refresh && closed_all_q && refreshes_q != 2'd2) refreshes_q <= refreshes_q + 1'b1;
    end
  end

  // ------------------------------------------------------------------ refresh
  // Times of the last RefreshCount refreshes, the oldest at slot_q.
  logic [31:0] times[RefreshCount];
  logic [31:0] oldest, slot_q;
  logic wrapped_q;

  // Until there were so many, the window starts when the chip is usable.
  assign oldest = wrapped_q ? times[slot_q[$clog2(RefreshCount)-1:0]] : usable_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slot_q    <= '0;
      wrapped_q <= 1'b0;
    end else if (usable && refresh) begin
      slot_q <= slot_q == RefreshCount - 1 ? '0 : slot_q + 1;
      if (slot_q == RefreshCount - 1) wrapped_q <= 1'b1;
    end
    if (usable && refresh) times[slot_q[$clog2(RefreshCount)-1:0]] <= now_q;
  end

  // ------------------------------------------------------------------ rules
  logic [18:0] broken;
  logic mode_legal, unused_a9;
  assign unused_a9 = a_i[9];  // single writes are legal

  function automatic logic early(logic [31:0] since, int unsigned distance);
    return now_q - since < distance;
  endfunction

  // Bursts of 1, 2, 4 and 8, or a whole row in order; the rest of the word is reserved.
  assign mode_legal = (a_i[2:0] <= 3'd3 || a_i[3:0] == 4'd7) && a_i[6:4] >= 3'(CasMin) && a_i[6:4] <= 3'd3
      && a_i[8:7] == '0 && a_i[RowBits-1:10] == '0 && ba_i == '0;

  always_comb begin
    broken     = '0;
    broken[0]  = any && early(Start, PowerUp);
    broken[1]  = ((act || rd_wr || cmd_i == 3'b110) && !usable) || ((mode || refresh) && !closed_all_q);
    broken[2]  = rd_wr && open_q[ba_i] && early(act_q[ba_i], TRcd);
    broken[3]  = act && early(pre_q[ba_i], TRp);
    broken[5]  = act && early(act_q[ba_i], TRc);
    broken[7]  = any && early(refresh_q, TRfc);
    broken[9]  = any && early(mode_q, TMrd);
    broken[10] = usable && now_q - oldest > RefreshWindow;
    broken[11] = rd_wr && !open_q[ba_i];
    broken[12] = act && open_q[ba_i];
    broken[13] = (refresh || mode) && open_q != 0;
    broken[14] = outer_oe_i && (chip_oe_i || chip_oe_q);
    broken[15] = mode && !mode_legal;
    broken[17] = store_i && !outer_oe_i && !(&dqm_i);
    broken[18] = (rd_wr && a_i[10]) || (!cke_i && (any || usable));
    for (int unsigned b = 0; b < Banks; b++) begin
      if ((refresh || mode) && early(pre_q[b], TRp)) broken[3] = 1'b1;
      if (closing[b] && open_q[b] && early(act_q[b], TRas)) broken[4] = 1'b1;
      if (act && ba_i != BankBits'(b) && early(act_q[b], TRrd)) broken[6] = 1'b1;
      if (closing[b] && open_q[b] && early(store_q[b], TWr)) broken[8] = 1'b1;
      if (open_q[b] && !early(act_q[b], TRasMax + 1)) broken[16] = 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      violation_o  <= '0;
      violations_o <= '0;
    end else begin
      violations_o <= violations_o | broken;
      if (violations_o == 0) begin
        for (int unsigned rule = 19; rule > 0; rule--) if (broken[rule-1]) violation_o <= 5'(rule);
      end
    end
  end
endmodule

`default_nettype wire
