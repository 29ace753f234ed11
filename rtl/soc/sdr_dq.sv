// Purpose: pins of the SDRAM: registers of the commands, write words out, read words in.
// Latency: one cycle from a command to its pins; 2 + CasLatency + ReadDelay + words of a beat from a
//        read command to its beat.
// Throughput: one word a cycle.
// Back-pressure: none; a write command comes only when its beat waits at beat_valid_i or before.
// Notes: rd_start_i and wr_start_i come with the command. DQM masks everything until ready_i.

`default_nettype none

module sdr_dq #(
    parameter int unsigned AxiBits    = 128,
    parameter int unsigned DqBits     = 16,
    parameter int unsigned RowBits    = 13,
    parameter int unsigned BankBits   = 2,
    parameter int unsigned CasLatency = 2,
    parameter int unsigned ReadDelay  = 0
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    // Scheduler
    input  wire logic                 ready_i,
    input  wire sdr_pkg::cmd_e        cmd_i,
    input  wire logic [BankBits-1:0]  ba_i,
    input  wire logic [RowBits-1:0]   a_i,
    input  wire logic                 rd_start_i,
    input  wire logic                 wr_start_i,
    // Write beats in, read beats out
    input  wire logic                 wbeat_valid_i,
    output logic                      wbeat_ready_o,
    input  wire logic [AxiBits-1:0]   wbeat_data_i,
    input  wire logic [AxiBits/8-1:0] wbeat_strb_i,
    output logic                      rbeat_valid_o,
    output logic [AxiBits-1:0]        rbeat_data_o,
    // Pins
    output logic                      cke_o,
    output logic                      cs_no,
    output logic                      ras_no,
    output logic                      cas_no,
    output logic                      we_no,
    output logic [BankBits-1:0]       ba_o,
    output logic [RowBits-1:0]        a_o,
    output logic [DqBits/8-1:0]       dqm_o,
    output logic [DqBits-1:0]         dq_o,
    output logic                      dq_oe_o,
    input  wire logic [DqBits-1:0]    dq_i
);
  localparam int unsigned Words = AxiBits / DqBits;
  localparam int unsigned Burst = sdr_pkg::burst_words(AxiBits, DqBits);
  localparam int unsigned IndexW = $clog2(Words);
  localparam int unsigned RunW = $clog2(Burst);
  localparam int unsigned StrbW = DqBits / 8;
  // From rd_start_i to the word in the input register: two registers out, the chip, one in.
  localparam int unsigned Delay = 2 + CasLatency + ReadDelay;

  // ------------------------------------------------------------------ commands
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      cke_o <= 1'b0;
      cs_no <= 1'b1;
    end else begin
      cke_o <= 1'b1;
      cs_no <= cmd_i == sdr_pkg::CmdNop;
    end
    {ras_no, cas_no, we_no} <= cmd_i;
    ba_o <= ba_i;
    a_o  <= a_i;
  end

  // ------------------------------------------------------------------ writes
  logic [AxiBits-1:0] wdata_q;
  logic [AxiBits/8-1:0] wstrb_q;
  logic [IndexW-1:0] windex_q;
  logic [RunW-1:0] wrun_q;
  logic wfull_q, wword, wend, wload;

  assign wword         = wr_start_i || wrun_q != 0;
  assign wend          = wword && windex_q == IndexW'(Words - 1);
  assign wbeat_ready_o = !wfull_q || wend;
  assign wload         = wbeat_valid_i && wbeat_ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wfull_q  <= 1'b0;
      windex_q <= '0;
      wrun_q   <= '0;
      dq_oe_o  <= 1'b0;
      dqm_o    <= '1;
    end else begin
      if (wbeat_ready_o) wfull_q <= wbeat_valid_i;
      if (wword) windex_q <= windex_q + 1'b1;
      if (wr_start_i) wrun_q <= RunW'(Burst - 1);
      else if (wrun_q != 0) wrun_q <= wrun_q - 1'b1;
      dq_oe_o <= wword;
      dqm_o   <= wword ? ~wstrb_q[StrbW-1:0] : {StrbW{!ready_i}};
    end
    if (wload) begin
      wdata_q <= wbeat_data_i;
      wstrb_q <= wbeat_strb_i;
    end else if (wword) begin
      wdata_q <= wdata_q >> DqBits;
      wstrb_q <= wstrb_q >> StrbW;
    end
    dq_o <= wdata_q[DqBits-1:0];
  end

  // ------------------------------------------------------------------ reads
  logic [DqBits-1:0] dq_q;
  logic [Delay-1:0] coming_q;
  logic [IndexW-1:0] rindex_q;
  logic [RunW-1:0] rrun_q;
  logic rword;

  assign rword = coming_q[Delay-1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      coming_q      <= '0;
      rrun_q        <= '0;
      rindex_q      <= '0;
      rbeat_valid_o <= 1'b0;
    end else begin
      coming_q <= {coming_q[Delay-2:0], rd_start_i || rrun_q != 0};
      if (rd_start_i) rrun_q <= RunW'(Burst - 1);
      else if (rrun_q != 0) rrun_q <= rrun_q - 1'b1;
      if (rword) rindex_q <= rindex_q + 1'b1;
      rbeat_valid_o <= rword && rindex_q == IndexW'(Words - 1);
    end
    dq_q <= dq_i;
    if (rword) rbeat_data_o <= {dq_q, rbeat_data_o[AxiBits-1:DqBits]};
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && wword && !wfull_q) $fatal(1, "sdr_dq: a write word is missing");
  end
`endif
endmodule

`default_nettype wire
