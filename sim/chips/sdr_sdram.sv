// Purpose: behavioural SDR SDRAM for simulation: array, bursts, CAS latency, DQM, and its rules.
// Latency: CAS latency of the mode register, 2 or 3; DQM two cycles on reads, none on writes.
// Throughput: a word a cycle.
// Back-pressure: none.
// Notes: rst_ni is the moment of power-on. The bidirectional data pins are dq_i with dq_oe_i and dq_o
//        with dq_oe_o, a bit a byte; bytes that nobody drives are noise. violations_o has a bit for
//        each rule of sdr_rules that was broken, violation_o the number of the first plus one.

`default_nettype none

module sdr_sdram #(
    parameter int unsigned DqBits        = 16,
    parameter int unsigned RowBits       = 13,
    parameter int unsigned ColBits       = 9,
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
    // Smallest CAS latency at this clock
    parameter int unsigned CasMin        = 2,
    parameter int unsigned PowerUp       = 20000,
    // Refreshes that every window of cycles must hold
    parameter int unsigned RefreshWindow = 6400000,
    parameter int unsigned RefreshCount  = 8192
) (
    input  wire logic                clk_i,
    input  wire logic                rst_ni,
    input  wire logic                cke_i,
    input  wire logic                cs_ni,
    input  wire logic                ras_ni,
    input  wire logic                cas_ni,
    input  wire logic                we_ni,
    input  wire logic [BankBits-1:0] ba_i,
    input  wire logic [RowBits-1:0]  a_i,
    input  wire logic [DqBits/8-1:0] dqm_i,
    input  wire logic [DqBits-1:0]   dq_i,
    input  wire logic                dq_oe_i,
    output logic [DqBits-1:0]        dq_o,
    output logic [DqBits/8-1:0]      dq_oe_o,
    output logic [4:0]               violation_o,
    output logic [18:0]              violations_o
);
  localparam int unsigned Bytes = DqBits / 8;
  localparam logic [2:0] Mode = 3'b000, Precharge = 3'b010, Activate = 3'b011, Write = 3'b100, Read = 3'b101,
      Stop = 3'b110, Nop = 3'b111;
  typedef logic [ColBits-1:0] col_t;

  logic [2:0] cmd;
  assign cmd = cs_ni || !cke_i ? Nop : {ras_ni, cas_ni, we_ni};

  // ------------------------------------------------------------------ mode
  logic [2:0] length_q;  // log2 of the burst, 7 is a whole row
  logic interleaved_q, slow_q, single_q;

  always_ff @(posedge clk_i) begin
    if (cmd == Mode) begin
      length_q      <= a_i[2:0];
      interleaved_q <= a_i[3];
      slow_q        <= a_i[6:4] == 3'd3;
      single_q      <= a_i[9];
    end
  end

  // ------------------------------------------------------------------ bursts
  logic [DqBits-1:0] cells[1 << (RowBits + BankBits + ColBits)];
  logic [(1<<BankBits)-1:0][RowBits-1:0] row_q;
  logic start, stop, word, word_write, write_q;
  logic [BankBits-1:0] bank, bank_q;
  col_t first, first_q, index, index_q, mask, col, left_q;
  logic [RowBits+BankBits+ColBits-1:0] at;

  assign start      = cmd == Read || cmd == Write;
  assign stop       = cmd == Stop || (cmd == Precharge && (a_i[10] || ba_i == bank_q));
  assign word       = start || (left_q != 0 && !stop);
  assign word_write = start ? cmd == Write : write_q;
  assign bank       = start ? ba_i : bank_q;
  assign first      = start ? a_i[ColBits-1:0] : first_q;
  assign index      = start ? '0 : index_q;
  assign mask       = length_q == 3'd7 ? '1 : (col_t'(1) << length_q) - 1'b1;
  assign col        = interleaved_q ? first ^ index : (first & ~mask) | ((first + index) & mask);
  assign at         = {row_q[bank], bank, col};

  always_ff @(posedge clk_i) begin
    if (cmd == Activate) row_q[ba_i] <= a_i;
    if (!rst_ni) left_q <= '0;
    else if (start) left_q <= cmd == Write && single_q ? '0 : mask;
    else if (word) left_q <= left_q - 1'b1;
    else left_q <= '0;
    write_q <= word_write;
    bank_q  <= bank;
    first_q <= first;
    index_q <= index + 1'b1;
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned b = 0; b < Bytes; b++) begin
      if (word && word_write && !dqm_i[b]) cells[at][8*b+:8] <= dq_i[8*b+:8];
    end
  end

  // ------------------------------------------------------------------ read data
  logic [2:1] coming_q;  // words by the clock edges until they are in the output register
  logic [2:1][DqBits-1:0] words_q;
  logic [Bytes-1:0] masked_q;
  logic [DqBits-1:0] noise_q;
  logic out;
  logic [DqBits-1:0] out_word;

  assign out      = coming_q[1];
  assign out_word = words_q[1];

  always_ff @(posedge clk_i) begin
    masked_q    <= dqm_i;
    coming_q[2] <= rst_ni && word && !word_write && slow_q;
    words_q[2]  <= cells[at];
    coming_q[1] <= rst_ni && (slow_q ? coming_q[2] : word && !word_write);
    words_q[1]  <= slow_q ? words_q[2] : cells[at];
    // Any sequence does that differs from the data.
    noise_q     <= noise_q * DqBits'(25173) + DqBits'(13849);
    for (int unsigned b = 0; b < Bytes; b++) begin
      dq_oe_o[b]    <= out && !masked_q[b];
      dq_o[8*b+:8] <= out && !masked_q[b] ? out_word[8*b+:8] : noise_q[8*b+:8];
    end
  end

  sdr_rules #(
      .DqBits       (DqBits),
      .RowBits      (RowBits),
      .BankBits     (BankBits),
      .TRcd         (TRcd),
      .TRp          (TRp),
      .TRas         (TRas),
      .TRasMax      (TRasMax),
      .TRc          (TRc),
      .TRrd         (TRrd),
      .TRfc         (TRfc),
      .TWr          (TWr),
      .TMrd         (TMrd),
      .CasMin       (CasMin),
      .PowerUp      (PowerUp),
      .RefreshWindow(RefreshWindow),
      .RefreshCount (RefreshCount)
  ) u_rules (
      .clk_i,
      .rst_ni,
      .cke_i,
      .cmd_i       (cs_ni ? Nop : {ras_ni, cas_ni, we_ni}),
      .ba_i,
      .a_i,
      .dqm_i,
      .outer_oe_i  (dq_oe_i),
      .chip_oe_i   (|dq_oe_o),
      .store_i     (word && word_write),
      .store_bank_i(bank),
      .violation_o,
      .violations_o
  );
endmodule

`default_nettype wire
