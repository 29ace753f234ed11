// Purpose: top level of a board with an SDR SDRAM and a serial port: clock, reset, pins.
// Latency, throughput: see soc_sdr.
// Back-pressure: none.
// Notes: soc_pll is generated for each board from its file, or for simulation sim/chips/soc_pll.sv.
//        Reset ends some clocks after the clock is stable. LEDs: 0 blinks, 1 clock stable, 2 host
//        sends, 3 board sends, 4 memory moves.

`default_nettype none

module top_sdr #(
    parameter int unsigned AxiBits         = 128,
    parameter int unsigned AxiPorts        = 1,
    parameter int unsigned MacRows         = 1,
    parameter int unsigned SfuLanes        = 2,
    parameter int unsigned MaxTokens       = 2,
    parameter int unsigned VmemWords       = 16384,
    parameter int unsigned XbufBlocks      = 128,
    parameter int unsigned StreamBeats     = 128,
    parameter int unsigned IcacheLines     = 32,
    parameter int unsigned QueueDepth      = 4,
    parameter int unsigned WeightBits      = 272,
    parameter int unsigned Sparsity        = 0,
    parameter int unsigned MulPack         = 0,
    parameter int unsigned Channels        = 1,
    parameter int unsigned ConfigHash      = 0,
    parameter int unsigned ClockKhz        = 50000,
    parameter int unsigned ClocksPerBit    = 4267,
    parameter int unsigned DqBits          = 16,
    parameter int unsigned RowBits         = 13,
    parameter int unsigned ColBits         = 9,
    parameter int unsigned BankBits        = 2,
    parameter int unsigned TRcd            = 2,
    parameter int unsigned TRp             = 2,
    parameter int unsigned TRas            = 3,
    parameter int unsigned TRc             = 5,
    parameter int unsigned TRrd            = 1,
    parameter int unsigned TRfc            = 5,
    parameter int unsigned TWr             = 2,
    parameter int unsigned TMrd            = 2,
    parameter int unsigned CasLatency      = 2,
    parameter int unsigned RefreshInterval = 507,
    parameter int unsigned PowerUp         = 13000,
    parameter int unsigned ReadDelay       = 0
) (
    input  wire logic             clk_i,
    input  wire logic             uart_rx_i,
    output logic                  uart_tx_o,
    output logic [7:0]            led_o,
    output logic                  sdram_clk_o,
    output logic                  sdram_cke_o,
    output logic                  sdram_cs_no,
    output logic                  sdram_ras_no,
    output logic                  sdram_cas_no,
    output logic                  sdram_we_no,
    output logic [BankBits-1:0]   sdram_ba_o,
    output logic [RowBits-1:0]    sdram_a_o,
    output logic [DqBits/8-1:0]   sdram_dqm_o,
    inout  wire [DqBits-1:0]      sdram_dq_io
);
  logic clk, locked, rst_nq, busy;
  logic [1:0] locked_q;
  logic [4:0] reset_q;
  logic [DqBits-1:0] dq_out;
  logic dq_oe;

  soc_pll u_pll (
      .clk_i,
      .clk_o    (clk),
      .clk_mem_o(sdram_clk_o),
      .locked_o (locked)
  );

  // locked comes from outside this clock: two registers, then some clocks of reset.
  always_ff @(posedge clk) begin
    locked_q <= {locked_q[0], locked};
    if (!locked_q[1]) begin
      reset_q <= '0;
      rst_nq  <= 1'b0;
    end else if (reset_q != '1) begin
      reset_q <= reset_q + 1'b1;
      rst_nq  <= 1'b0;
    end else begin
      rst_nq <= 1'b1;
    end
  end

  soc_sdr #(
      .AxiBits(AxiBits),
      .AxiPorts(AxiPorts),
      .MacRows(MacRows),
      .SfuLanes(SfuLanes),
      .MaxTokens(MaxTokens),
      .VmemWords(VmemWords),
      .XbufBlocks(XbufBlocks),
      .StreamBeats(StreamBeats),
      .IcacheLines(IcacheLines),
      .QueueDepth(QueueDepth),
      .WeightBits(WeightBits),
      .Sparsity(Sparsity),
      .MulPack(MulPack),
      .Channels(Channels),
      .ConfigHash(ConfigHash),
      .ClockKhz(ClockKhz),
      .ClocksPerBit(ClocksPerBit),
      .DqBits(DqBits),
      .RowBits(RowBits),
      .ColBits(ColBits),
      .BankBits(BankBits),
      .TRcd(TRcd),
      .TRp(TRp),
      .TRas(TRas),
      .TRc(TRc),
      .TRrd(TRrd),
      .TRfc(TRfc),
      .TWr(TWr),
      .TMrd(TMrd),
      .CasLatency(CasLatency),
      .RefreshInterval(RefreshInterval),
      .PowerUp(PowerUp),
      .ReadDelay(ReadDelay)
  ) u_soc (
      .clk_i        (clk),
      .rst_ni       (rst_nq),
      .uart_rx_i,
      .uart_tx_o,
      .busy_o       (busy),
      .sdram_cke_o,
      .sdram_cs_no,
      .sdram_ras_no,
      .sdram_cas_no,
      .sdram_we_no,
      .sdram_ba_o,
      .sdram_a_o,
      .sdram_dqm_o,
      .sdram_dq_o   (dq_out),
      .sdram_dq_oe_o(dq_oe),
      .sdram_dq_i   (sdram_dq_io)
  );

  assign sdram_dq_io = dq_oe ? dq_out : 'z;

  // ---- LEDs --------------------------------------------------------------------------------
  logic [24:0] beat_q;
  logic [2:0]  seen_q;

  always_ff @(posedge clk) begin
    if (!rst_nq) begin
      beat_q <= '0;
      seen_q <= '0;
    end else begin
      beat_q <= beat_q + 1'b1;
      seen_q <= {busy, !uart_tx_o, !uart_rx_i};
    end
  end

  assign led_o = {3'b000, seen_q, rst_nq, beat_q[24]};
endmodule

`default_nettype wire
