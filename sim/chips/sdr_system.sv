// Purpose: two AXI4 masters, the SDRAM controller and its chip, for simulation.
// Latency: those of the parts; ReadDelay cycles more between the chip's pins and the controller's.
// Throughput: a word a cycle.
// Back-pressure: AXI.
// Notes: refresh_o is set in the cycle in which a refresh is at the pins. The chip runs at the
//        controller's timing, whose cycles must come from its data sheet.

`default_nettype none

module sdr_system #(
    parameter int unsigned AxiBits         = 128,
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
    parameter int unsigned TRasMax         = 10000,
    parameter int unsigned RefreshWindow   = 6400000,
    parameter int unsigned RefreshCount    = 8192
) (
    input  wire logic                       clk_i,
    input  wire logic                       rst_ni,
    // Master 0
    input  wire logic                       s0_arvalid_i,
    output logic                            s0_arready_o,
    input  wire logic [39:0]                s0_araddr_i,
    input  wire logic                       s0_arid_i,
    input  wire logic [7:0]                 s0_arlen_i,
    input  wire logic [2:0]                 s0_arsize_i,
    input  wire logic [1:0]                 s0_arburst_i,
    output logic                            s0_rvalid_o,
    input  wire logic                       s0_rready_i,
    output logic      [AxiBits-1:0]         s0_rdata_o,
    output logic                            s0_rid_o,
    output logic      [1:0]                 s0_rresp_o,
    output logic                            s0_rlast_o,
    input  wire logic                       s0_awvalid_i,
    output logic                            s0_awready_o,
    input  wire logic [39:0]                s0_awaddr_i,
    input  wire logic                       s0_awid_i,
    input  wire logic [7:0]                 s0_awlen_i,
    input  wire logic [2:0]                 s0_awsize_i,
    input  wire logic [1:0]                 s0_awburst_i,
    input  wire logic                       s0_wvalid_i,
    output logic                            s0_wready_o,
    input  wire logic [AxiBits-1:0]         s0_wdata_i,
    input  wire logic [AxiBits/8-1:0]       s0_wstrb_i,
    input  wire logic                       s0_wlast_i,
    output logic                            s0_bvalid_o,
    input  wire logic                       s0_bready_i,
    output logic                            s0_bid_o,
    output logic      [1:0]                 s0_bresp_o,
    // Master 1
    input  wire logic                       s1_arvalid_i,
    output logic                            s1_arready_o,
    input  wire logic [39:0]                s1_araddr_i,
    input  wire logic                       s1_arid_i,
    input  wire logic [7:0]                 s1_arlen_i,
    input  wire logic [2:0]                 s1_arsize_i,
    input  wire logic [1:0]                 s1_arburst_i,
    output logic                            s1_rvalid_o,
    input  wire logic                       s1_rready_i,
    output logic      [AxiBits-1:0]         s1_rdata_o,
    output logic                            s1_rid_o,
    output logic      [1:0]                 s1_rresp_o,
    output logic                            s1_rlast_o,
    input  wire logic                       s1_awvalid_i,
    output logic                            s1_awready_o,
    input  wire logic [39:0]                s1_awaddr_i,
    input  wire logic                       s1_awid_i,
    input  wire logic [7:0]                 s1_awlen_i,
    input  wire logic [2:0]                 s1_awsize_i,
    input  wire logic [1:0]                 s1_awburst_i,
    input  wire logic                       s1_wvalid_i,
    output logic                            s1_wready_o,
    input  wire logic [AxiBits-1:0]         s1_wdata_i,
    input  wire logic [AxiBits/8-1:0]       s1_wstrb_i,
    input  wire logic                       s1_wlast_i,
    output logic                            s1_bvalid_o,
    input  wire logic                       s1_bready_i,
    output logic                            s1_bid_o,
    output logic      [1:0]                 s1_bresp_o,
    // What the chip saw
    output logic      [4:0]                 violation_o,
    output logic      [18:0]                violations_o,
    output logic                            refresh_o
);
  // ------------------------------------------------------------------ masters
  logic arvalid;
  logic arready;
  logic [39:0] araddr;
  logic [1:0] arid;
  logic [7:0] arlen;
  logic [2:0] arsize;
  logic [1:0] arburst;
  logic rvalid;
  logic rready;
  logic [AxiBits-1:0] rdata;
  logic [1:0] rid;
  logic [1:0] rresp;
  logic rlast;
  logic awvalid;
  logic awready;
  logic [39:0] awaddr;
  logic [1:0] awid;
  logic [7:0] awlen;
  logic [2:0] awsize;
  logic [1:0] awburst;
  logic wvalid;
  logic wready;
  logic [AxiBits-1:0] wdata;
  logic [AxiBits/8-1:0] wstrb;
  logic wlast;
  logic bvalid;
  logic bready;
  logic [1:0] bid;
  logic [1:0] bresp;

  assign s1_rdata_o = s0_rdata_o;
  assign s1_rresp_o = s0_rresp_o;
  assign s1_rlast_o = s0_rlast_o;
  assign s1_bresp_o = s0_bresp_o;
  assign s1_rid_o = s0_rid_o;
  assign s1_bid_o = s0_bid_o;

  axi_mux2 #(
      .AxiBits(AxiBits)
  ) u_mux (
      .clk_i,
      .rst_ni,
      .s_arvalid_i({s1_arvalid_i, s0_arvalid_i}),
      .s_arready_o({s1_arready_o, s0_arready_o}),
      .s_araddr_i ({s1_araddr_i, s0_araddr_i}),
      .s_arid_i   ({s1_arid_i, s0_arid_i}),
      .s_arlen_i  ({s1_arlen_i, s0_arlen_i}),
      .s_arsize_i ({s1_arsize_i, s0_arsize_i}),
      .s_arburst_i({s1_arburst_i, s0_arburst_i}),
      .s_rvalid_o ({s1_rvalid_o, s0_rvalid_o}),
      .s_rready_i ({s1_rready_i, s0_rready_i}),
      .s_rdata_o  (s0_rdata_o),
      .s_rid_o    (s0_rid_o),
      .s_rresp_o  (s0_rresp_o),
      .s_rlast_o  (s0_rlast_o),
      .s_awvalid_i({s1_awvalid_i, s0_awvalid_i}),
      .s_awready_o({s1_awready_o, s0_awready_o}),
      .s_awaddr_i ({s1_awaddr_i, s0_awaddr_i}),
      .s_awid_i   ({s1_awid_i, s0_awid_i}),
      .s_awlen_i  ({s1_awlen_i, s0_awlen_i}),
      .s_awsize_i ({s1_awsize_i, s0_awsize_i}),
      .s_awburst_i({s1_awburst_i, s0_awburst_i}),
      .s_wvalid_i ({s1_wvalid_i, s0_wvalid_i}),
      .s_wready_o ({s1_wready_o, s0_wready_o}),
      .s_wdata_i  ({s1_wdata_i, s0_wdata_i}),
      .s_wstrb_i  ({s1_wstrb_i, s0_wstrb_i}),
      .s_wlast_i  ({s1_wlast_i, s0_wlast_i}),
      .s_bvalid_o ({s1_bvalid_o, s0_bvalid_o}),
      .s_bready_i ({s1_bready_i, s0_bready_i}),
      .s_bid_o    (s0_bid_o),
      .s_bresp_o  (s0_bresp_o),
      .m_arvalid_o(arvalid),
      .m_arready_i(arready),
      .m_araddr_o (araddr),
      .m_arid_o   (arid),
      .m_arlen_o  (arlen),
      .m_arsize_o (arsize),
      .m_arburst_o(arburst),
      .m_rvalid_i (rvalid),
      .m_rready_o (rready),
      .m_rdata_i  (rdata),
      .m_rid_i    (rid),
      .m_rresp_i  (rresp),
      .m_rlast_i  (rlast),
      .m_awvalid_o(awvalid),
      .m_awready_i(awready),
      .m_awaddr_o (awaddr),
      .m_awid_o   (awid),
      .m_awlen_o  (awlen),
      .m_awsize_o (awsize),
      .m_awburst_o(awburst),
      .m_wvalid_o (wvalid),
      .m_wready_i (wready),
      .m_wdata_o  (wdata),
      .m_wstrb_o  (wstrb),
      .m_wlast_o  (wlast),
      .m_bvalid_i (bvalid),
      .m_bready_o (bready),
      .m_bid_i    (bid),
      .m_bresp_i  (bresp)
  );

  // ------------------------------------------------------------------ controller
  logic cke, cs_n, ras_n, cas_n, we_n, dq_oe;
  logic [BankBits-1:0] ba;
  logic [RowBits-1:0] a;
  logic [DqBits/8-1:0] dqm, unused_chip_oe;
  logic [DqBits-1:0] dq_out, dq_chip, dq_in;

  assign refresh_o = !cs_n && {ras_n, cas_n, we_n} == 3'b001;

  sdr_ctrl #(
      .AxiBits        (AxiBits),
      .DqBits         (DqBits),
      .RowBits        (RowBits),
      .ColBits        (ColBits),
      .BankBits       (BankBits),
      .TRcd           (TRcd),
      .TRp            (TRp),
      .TRas           (TRas),
      .TRc            (TRc),
      .TRrd           (TRrd),
      .TRfc           (TRfc),
      .TWr            (TWr),
      .TMrd           (TMrd),
      .CasLatency     (CasLatency),
      .RefreshInterval(RefreshInterval),
      .PowerUp        (PowerUp),
      .ReadDelay      (ReadDelay)
  ) u_ctrl (
      .clk_i,
      .rst_ni,
      .s_arvalid_i(arvalid),
      .s_arready_o(arready),
      .s_araddr_i (araddr),
      .s_arid_i   (arid),
      .s_arlen_i  (arlen),
      .s_arsize_i (arsize),
      .s_arburst_i(arburst),
      .s_rvalid_o (rvalid),
      .s_rready_i (rready),
      .s_rdata_o  (rdata),
      .s_rid_o    (rid),
      .s_rresp_o  (rresp),
      .s_rlast_o  (rlast),
      .s_awvalid_i(awvalid),
      .s_awready_o(awready),
      .s_awaddr_i (awaddr),
      .s_awid_i   (awid),
      .s_awlen_i  (awlen),
      .s_awsize_i (awsize),
      .s_awburst_i(awburst),
      .s_wvalid_i (wvalid),
      .s_wready_o (wready),
      .s_wdata_i  (wdata),
      .s_wstrb_i  (wstrb),
      .s_wlast_i  (wlast),
      .s_bvalid_o (bvalid),
      .s_bready_i (bready),
      .s_bid_o    (bid),
      .s_bresp_o  (bresp),
      .cke_o      (cke),
      .cs_no      (cs_n),
      .ras_no     (ras_n),
      .cas_no     (cas_n),
      .we_no      (we_n),
      .ba_o       (ba),
      .a_o        (a),
      .dqm_o      (dqm),
      .dq_o       (dq_out),
      .dq_oe_o    (dq_oe),
      .dq_i       (dq_in)
  );

  // ------------------------------------------------------------------ chip
  if (ReadDelay == 0) begin : g_direct
    assign dq_in = dq_chip;
  end else begin : g_delay
    logic [ReadDelay-1:0][DqBits-1:0] line_q;
    always_ff @(posedge clk_i) line_q <= (ReadDelay * DqBits)'({line_q, dq_chip});
    assign dq_in = line_q[ReadDelay-1];
  end

  sdr_sdram #(
      .DqBits       (DqBits),
      .RowBits      (RowBits),
      .ColBits      (ColBits),
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
      .PowerUp      (PowerUp),
      .RefreshWindow(RefreshWindow),
      .RefreshCount (RefreshCount),
      .CasMin       (CasLatency)
  ) u_chip (
      .clk_i,
      .rst_ni,
      .cke_i  (cke),
      .cs_ni  (cs_n),
      .ras_ni (ras_n),
      .cas_ni (cas_n),
      .we_ni  (we_n),
      .ba_i   (ba),
      .a_i    (a),
      .dqm_i  (dqm),
      .dq_i   (dq_out),
      .dq_oe_i(dq_oe),
      .dq_o   (dq_chip),
      .dq_oe_o(unused_chip_oe),
      .violation_o,
      .violations_o
  );
endmodule

`default_nettype wire
