// Purpose: a board with an SDR SDRAM as a whole: the top level of its bitstream and the memory chip.
// Latency, throughput: those of the parts.
// Back-pressure: none at the serial pins.
// Notes: for simulation. power_ni is low until the power is on. clk_i runs at the accelerator's clock.

`default_nettype none

module sim_sdr #(
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
    parameter int unsigned ReadDelay       = 0,
    parameter int unsigned TRasMax         = 5000,
    parameter int unsigned CasMin          = 2,
    parameter int unsigned RefreshWindow   = 3200000,
    parameter int unsigned RefreshCount    = 8192
) (
    input  wire logic       clk_i,
    input  wire logic       power_ni,
    input  wire logic       uart_rx_i,
    output logic            uart_tx_o,
    output logic [7:0]      led_o,
    output logic [4:0]      violation_o
);
  logic clk, cke, cs_n, ras_n, cas_n, we_n;
  logic [BankBits-1:0] ba;
  logic [RowBits-1:0] a;
  logic [DqBits/8-1:0] dqm, chip_oe;
  logic [DqBits-1:0] chip_dq;
  wire [DqBits-1:0] dq;
  logic [18:0] unused_violations;

  top_sdr #(
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
  ) u_top (
      .clk_i,
      .uart_rx_i,
      .uart_tx_o,
      .led_o,
      .sdram_clk_o (clk),
      .sdram_cke_o (cke),
      .sdram_cs_no (cs_n),
      .sdram_ras_no(ras_n),
      .sdram_cas_no(cas_n),
      .sdram_we_no (we_n),
      .sdram_ba_o  (ba),
      .sdram_a_o   (a),
      .sdram_dqm_o (dqm),
      .sdram_dq_io (dq)
  );

  for (genvar i = 0; i < int'(DqBits / 8); i++) begin : g_byte
    assign dq[8*i+:8] = chip_oe[i] ? chip_dq[8*i+:8] : 'z;
  end

  // The chip knows whether the other side drives the pins by looking into it: wires do not tell.
  sdr_sdram #(
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
      .PowerUp(PowerUp),
      .TRasMax(TRasMax),
      .CasMin(CasMin),
      .RefreshWindow(RefreshWindow),
      .RefreshCount(RefreshCount)
  ) u_chip (
      .clk_i       (clk),
      .rst_ni      (power_ni),
      .cke_i       (cke),
      .cs_ni       (cs_n),
      .ras_ni      (ras_n),
      .cas_ni      (cas_n),
      .we_ni       (we_n),
      .ba_i        (ba),
      .a_i         (a),
      .dqm_i       (dqm),
      .dq_i        (dq),
      .dq_oe_i     (u_top.dq_oe),
      .dq_o        (chip_dq),
      .dq_oe_o     (chip_oe),
      .violation_o,
      .violations_o(unused_violations)
  );
endmodule

`default_nettype wire
