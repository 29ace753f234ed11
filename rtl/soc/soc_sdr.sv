// Purpose: accelerator, host link and SDR SDRAM controller on one clock: all of a board but its pins.
// Latency, throughput: those of the parts; the link and the accelerator share the memory.
// Back-pressure: AXI inside; none at the pins.
// Notes: the host's reset reaches the accelerator alone, so that the memory keeps its contents. The
//        accelerator's trace ports and second memory port are unused.

`default_nettype none

module soc_sdr #(
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
    input  wire logic             rst_ni,
    input  wire logic             uart_rx_i,
    output logic                  uart_tx_o,
    output logic                  busy_o,  // a byte moves to or from memory
    output logic                  sdram_cke_o,
    output logic                  sdram_cs_no,
    output logic                  sdram_ras_no,
    output logic                  sdram_cas_no,
    output logic                  sdram_we_no,
    output logic [BankBits-1:0]   sdram_ba_o,
    output logic [RowBits-1:0]    sdram_a_o,
    output logic [DqBits/8-1:0]   sdram_dqm_o,
    output logic [DqBits-1:0]     sdram_dq_o,
    output logic                  sdram_dq_oe_o,
    input  wire logic [DqBits-1:0] sdram_dq_i
);
  // ---- Host registers ----------------------------------------------------------------------
  logic csr_awvalid;
  logic csr_awready;
  logic [11:0] csr_awaddr;
  logic csr_wvalid;
  logic csr_wready;
  logic [31:0] csr_wdata;
  logic [3:0] csr_wstrb;
  logic csr_bvalid;
  logic csr_bready;
  logic [1:0] csr_bresp;
  logic csr_arvalid;
  logic csr_arready;
  logic [11:0] csr_araddr;
  logic csr_rvalid;
  logic csr_rready;
  logic [31:0] csr_rdata;
  logic [1:0] csr_rresp;

  // ---- Memory: index 0 is the accelerator, 1 the link -------------------------------------
  logic [1:0] mem_arvalid;
  logic [1:0] mem_arready;
  logic [1:0][39:0] mem_araddr;
  logic [1:0] mem_arid;
  logic [1:0][7:0] mem_arlen;
  logic [1:0][2:0] mem_arsize;
  logic [1:0][1:0] mem_arburst;
  logic [1:0] mem_rvalid;
  logic [1:0] mem_rready;
  logic [AxiBits-1:0] mem_rdata;
  logic mem_rid;
  logic mem_rlast;
  logic [1:0] mem_rresp;
  logic [1:0] mem_awvalid;
  logic [1:0] mem_awready;
  logic [1:0][39:0] mem_awaddr;
  logic [1:0] mem_awid;
  logic [1:0][7:0] mem_awlen;
  logic [1:0][2:0] mem_awsize;
  logic [1:0][1:0] mem_awburst;
  logic [1:0] mem_wvalid;
  logic [1:0] mem_wready;
  logic [1:0][AxiBits-1:0] mem_wdata;
  logic [1:0][AxiBits/8-1:0] mem_wstrb;
  logic [1:0] mem_wlast;
  logic [1:0] mem_bvalid;
  logic [1:0] mem_bready;
  logic mem_bid;
  logic [1:0] mem_bresp;

  logic host_reset, accel_rst_n, hold;
  logic accel_csr_awready, accel_csr_wready, accel_csr_arready;
  logic accel_arvalid, accel_arready, accel_awvalid, accel_awready;

  assign csr_awready = accel_csr_awready && !hold;
  assign csr_wready  = accel_csr_wready && !hold;
  assign csr_arready = accel_csr_arready && !hold;

  soc_reset u_reset (
      .clk_i,
      .rst_ni,
      .request_i   (host_reset),
      .accel_rst_no(accel_rst_n),
      .hold_o      (hold),
      .arvalid_i   (accel_arvalid),
      .arready_o   (accel_arready),
      .arlen_i     (mem_arlen[0]),
      .arvalid_o   (mem_arvalid[0]),
      .arready_i   (mem_arready[0]),
      .awvalid_i   (accel_awvalid),
      .awready_o   (accel_awready),
      .awvalid_o   (mem_awvalid[0]),
      .awready_i   (mem_awready[0]),
      .read_i      (mem_rvalid[0] && mem_rready[0]),
      .written_i   (mem_bvalid[0] && mem_bready[0])
  );

  assign busy_o = (mem_rvalid != 2'b00) || (mem_wvalid != 2'b00);

  link_top #(
      .AxiBits     (AxiBits),
      .ConfigHash  (ConfigHash),
      .ClockKhz    (ClockKhz),
      .ClocksPerBit(ClocksPerBit)
  ) u_link (
      .clk_i,
      .rst_ni,
      .uart_rx_i,
      .uart_tx_o,
      .host_reset_o(host_reset),
      .m_axi_control_awvalid(csr_awvalid),
      .m_axi_control_awready(csr_awready),
      .m_axi_control_awaddr(csr_awaddr),
      .m_axi_control_wvalid(csr_wvalid),
      .m_axi_control_wready(csr_wready),
      .m_axi_control_wdata(csr_wdata),
      .m_axi_control_wstrb(csr_wstrb),
      .m_axi_control_bvalid(csr_bvalid),
      .m_axi_control_bready(csr_bready),
      .m_axi_control_bresp(csr_bresp),
      .m_axi_control_arvalid(csr_arvalid),
      .m_axi_control_arready(csr_arready),
      .m_axi_control_araddr(csr_araddr),
      .m_axi_control_rvalid(csr_rvalid),
      .m_axi_control_rready(csr_rready),
      .m_axi_control_rdata(csr_rdata),
      .m_axi_control_rresp(csr_rresp),
      .m_axi_gmem_arvalid(mem_arvalid[1]),
      .m_axi_gmem_arready(mem_arready[1]),
      .m_axi_gmem_araddr(mem_araddr[1]),
      .m_axi_gmem_arid(mem_arid[1]),
      .m_axi_gmem_arlen(mem_arlen[1]),
      .m_axi_gmem_arsize(mem_arsize[1]),
      .m_axi_gmem_arburst(mem_arburst[1]),
      .m_axi_gmem_rvalid(mem_rvalid[1]),
      .m_axi_gmem_rready(mem_rready[1]),
      .m_axi_gmem_rdata(mem_rdata),
      .m_axi_gmem_rid(mem_rid),
      .m_axi_gmem_rlast(mem_rlast),
      .m_axi_gmem_rresp(mem_rresp),
      .m_axi_gmem_awvalid(mem_awvalid[1]),
      .m_axi_gmem_awready(mem_awready[1]),
      .m_axi_gmem_awaddr(mem_awaddr[1]),
      .m_axi_gmem_awid(mem_awid[1]),
      .m_axi_gmem_awlen(mem_awlen[1]),
      .m_axi_gmem_awsize(mem_awsize[1]),
      .m_axi_gmem_awburst(mem_awburst[1]),
      .m_axi_gmem_wvalid(mem_wvalid[1]),
      .m_axi_gmem_wready(mem_wready[1]),
      .m_axi_gmem_wdata(mem_wdata[1]),
      .m_axi_gmem_wstrb(mem_wstrb[1]),
      .m_axi_gmem_wlast(mem_wlast[1]),
      .m_axi_gmem_bvalid(mem_bvalid[1]),
      .m_axi_gmem_bready(mem_bready[1]),
      .m_axi_gmem_bid(mem_bid),
      .m_axi_gmem_bresp(mem_bresp)
  );

  lampyris #(
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
      .ConfigHash(ConfigHash)
  ) u_accel (
      .ap_clk  (clk_i),
      .ap_rst_n(accel_rst_n),
      .s_axi_control_awvalid(csr_awvalid && !hold),
      .s_axi_control_awready(accel_csr_awready),
      .s_axi_control_awaddr(csr_awaddr),
      .s_axi_control_wvalid(csr_wvalid && !hold),
      .s_axi_control_wready(accel_csr_wready),
      .s_axi_control_wdata(csr_wdata),
      .s_axi_control_wstrb(csr_wstrb),
      .s_axi_control_bvalid(csr_bvalid),
      .s_axi_control_bready(csr_bready),
      .s_axi_control_bresp(csr_bresp),
      .s_axi_control_arvalid(csr_arvalid && !hold),
      .s_axi_control_arready(accel_csr_arready),
      .s_axi_control_araddr(csr_araddr),
      .s_axi_control_rvalid(csr_rvalid),
      .s_axi_control_rready(csr_rready),
      .s_axi_control_rdata(csr_rdata),
      .s_axi_control_rresp(csr_rresp),
      .m_axi_gmem0_arvalid(accel_arvalid),
      .m_axi_gmem0_arready(accel_arready),
      .m_axi_gmem0_araddr(mem_araddr[0]),
      .m_axi_gmem0_arid(mem_arid[0]),
      .m_axi_gmem0_arlen(mem_arlen[0]),
      .m_axi_gmem0_arsize(mem_arsize[0]),
      .m_axi_gmem0_arburst(mem_arburst[0]),
      .m_axi_gmem0_rvalid(mem_rvalid[0]),
      .m_axi_gmem0_rready(mem_rready[0]),
      .m_axi_gmem0_rdata(mem_rdata),
      .m_axi_gmem0_rid(mem_rid),
      .m_axi_gmem0_rlast(mem_rlast),
      .m_axi_gmem0_rresp(mem_rresp),
      .m_axi_gmem0_awvalid(accel_awvalid),
      .m_axi_gmem0_awready(accel_awready),
      .m_axi_gmem0_awaddr(mem_awaddr[0]),
      .m_axi_gmem0_awid(mem_awid[0]),
      .m_axi_gmem0_awlen(mem_awlen[0]),
      .m_axi_gmem0_awsize(mem_awsize[0]),
      .m_axi_gmem0_awburst(mem_awburst[0]),
      .m_axi_gmem0_wvalid(mem_wvalid[0]),
      .m_axi_gmem0_wready(mem_wready[0]),
      .m_axi_gmem0_wdata(mem_wdata[0]),
      .m_axi_gmem0_wstrb(mem_wstrb[0]),
      .m_axi_gmem0_wlast(mem_wlast[0]),
      .m_axi_gmem0_bvalid(mem_bvalid[0]),
      .m_axi_gmem0_bready(mem_bready[0]),
      .m_axi_gmem0_bid(mem_bid),
      .m_axi_gmem0_bresp(mem_bresp),
      // Nothing hangs at the second port and at the trace.
      /* verilator lint_off PINCONNECTEMPTY */
      .m_axi_gmem1_arvalid(),
      .m_axi_gmem1_arready('0),
      .m_axi_gmem1_araddr(),
      .m_axi_gmem1_arid(),
      .m_axi_gmem1_arlen(),
      .m_axi_gmem1_arsize(),
      .m_axi_gmem1_arburst(),
      .m_axi_gmem1_rvalid('0),
      .m_axi_gmem1_rready(),
      .m_axi_gmem1_rdata('0),
      .m_axi_gmem1_rid('0),
      .m_axi_gmem1_rlast('0),
      .m_axi_gmem1_rresp('0),
      .m_axi_gmem1_awvalid(),
      .m_axi_gmem1_awready('0),
      .m_axi_gmem1_awaddr(),
      .m_axi_gmem1_awid(),
      .m_axi_gmem1_awlen(),
      .m_axi_gmem1_awsize(),
      .m_axi_gmem1_awburst(),
      .m_axi_gmem1_wvalid(),
      .m_axi_gmem1_wready('0),
      .m_axi_gmem1_wdata(),
      .m_axi_gmem1_wstrb(),
      .m_axi_gmem1_wlast(),
      .m_axi_gmem1_bvalid('0),
      .m_axi_gmem1_bready(),
      .m_axi_gmem1_bid('0),
      .m_axi_gmem1_bresp('0),
      .trace_retire_valid(),
      .trace_retire_seq(),
      .trace_sys_valid(),
      .trace_sys_seq(),
      .trace_sys_pc(),
      .trace_sys_we(),
      .trace_sys_rd(),
      .trace_sys_value(),
      .trace_vwr_valid(),
      .trace_vwr_unit(),
      .trace_vwr_line(),
      .trace_vwr_mask(),
      .trace_vwr_data(),
      .trace_xwr_valid(),
      .trace_xwr_addr(),
      .trace_xwr_data()
      /* verilator lint_on PINCONNECTEMPTY */
  );

  logic chip_arvalid;
  logic chip_arready;
  logic [39:0] chip_araddr;
  logic [1:0] chip_arid;
  logic [7:0] chip_arlen;
  logic [2:0] chip_arsize;
  logic [1:0] chip_arburst;
  logic chip_rvalid;
  logic chip_rready;
  logic [AxiBits-1:0] chip_rdata;
  logic [1:0] chip_rid;
  logic chip_rlast;
  logic [1:0] chip_rresp;
  logic chip_awvalid;
  logic chip_awready;
  logic [39:0] chip_awaddr;
  logic [1:0] chip_awid;
  logic [7:0] chip_awlen;
  logic [2:0] chip_awsize;
  logic [1:0] chip_awburst;
  logic chip_wvalid;
  logic chip_wready;
  logic [AxiBits-1:0] chip_wdata;
  logic [AxiBits/8-1:0] chip_wstrb;
  logic chip_wlast;
  logic chip_bvalid;
  logic chip_bready;
  logic [1:0] chip_bid;
  logic [1:0] chip_bresp;

  axi_mux2 #(
      .AxiBits(AxiBits)
  ) u_mux (
      .clk_i,
      .rst_ni,
      .s_arvalid_i(mem_arvalid),
      .s_arready_o(mem_arready),
      .s_araddr_i(mem_araddr),
      .s_arid_i(mem_arid),
      .s_arlen_i(mem_arlen),
      .s_arsize_i(mem_arsize),
      .s_arburst_i(mem_arburst),
      .s_rvalid_o(mem_rvalid),
      .s_rready_i(mem_rready),
      .s_rdata_o(mem_rdata),
      .s_rid_o(mem_rid),
      .s_rlast_o(mem_rlast),
      .s_rresp_o(mem_rresp),
      .s_awvalid_i(mem_awvalid),
      .s_awready_o(mem_awready),
      .s_awaddr_i(mem_awaddr),
      .s_awid_i(mem_awid),
      .s_awlen_i(mem_awlen),
      .s_awsize_i(mem_awsize),
      .s_awburst_i(mem_awburst),
      .s_wvalid_i(mem_wvalid),
      .s_wready_o(mem_wready),
      .s_wdata_i(mem_wdata),
      .s_wstrb_i(mem_wstrb),
      .s_wlast_i(mem_wlast),
      .s_bvalid_o(mem_bvalid),
      .s_bready_i(mem_bready),
      .s_bid_o(mem_bid),
      .s_bresp_o(mem_bresp),
      .m_arvalid_o(chip_arvalid),
      .m_arready_i(chip_arready),
      .m_araddr_o(chip_araddr),
      .m_arid_o(chip_arid),
      .m_arlen_o(chip_arlen),
      .m_arsize_o(chip_arsize),
      .m_arburst_o(chip_arburst),
      .m_rvalid_i(chip_rvalid),
      .m_rready_o(chip_rready),
      .m_rdata_i(chip_rdata),
      .m_rid_i(chip_rid),
      .m_rlast_i(chip_rlast),
      .m_rresp_i(chip_rresp),
      .m_awvalid_o(chip_awvalid),
      .m_awready_i(chip_awready),
      .m_awaddr_o(chip_awaddr),
      .m_awid_o(chip_awid),
      .m_awlen_o(chip_awlen),
      .m_awsize_o(chip_awsize),
      .m_awburst_o(chip_awburst),
      .m_wvalid_o(chip_wvalid),
      .m_wready_i(chip_wready),
      .m_wdata_o(chip_wdata),
      .m_wstrb_o(chip_wstrb),
      .m_wlast_o(chip_wlast),
      .m_bvalid_i(chip_bvalid),
      .m_bready_o(chip_bready),
      .m_bid_i(chip_bid),
      .m_bresp_i(chip_bresp)
  );

  sdr_ctrl #(
      .AxiBits(AxiBits),
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
  ) u_sdram (
      .clk_i,
      .rst_ni,
      .s_arvalid_i(chip_arvalid),
      .s_arready_o(chip_arready),
      .s_araddr_i(chip_araddr),
      .s_arid_i(chip_arid),
      .s_arlen_i(chip_arlen),
      .s_arsize_i(chip_arsize),
      .s_arburst_i(chip_arburst),
      .s_rvalid_o(chip_rvalid),
      .s_rready_i(chip_rready),
      .s_rdata_o(chip_rdata),
      .s_rid_o(chip_rid),
      .s_rlast_o(chip_rlast),
      .s_rresp_o(chip_rresp),
      .s_awvalid_i(chip_awvalid),
      .s_awready_o(chip_awready),
      .s_awaddr_i(chip_awaddr),
      .s_awid_i(chip_awid),
      .s_awlen_i(chip_awlen),
      .s_awsize_i(chip_awsize),
      .s_awburst_i(chip_awburst),
      .s_wvalid_i(chip_wvalid),
      .s_wready_o(chip_wready),
      .s_wdata_i(chip_wdata),
      .s_wstrb_i(chip_wstrb),
      .s_wlast_i(chip_wlast),
      .s_bvalid_o(chip_bvalid),
      .s_bready_i(chip_bready),
      .s_bid_o(chip_bid),
      .s_bresp_o(chip_bresp),
      .cke_o(sdram_cke_o),
      .cs_no(sdram_cs_no),
      .ras_no(sdram_ras_no),
      .cas_no(sdram_cas_no),
      .we_no(sdram_we_no),
      .ba_o(sdram_ba_o),
      .a_o(sdram_a_o),
      .dqm_o(sdram_dqm_o),
      .dq_o(sdram_dq_o),
      .dq_oe_o(sdram_dq_oe_o),
      .dq_i(sdram_dq_i)
  );
endmodule

`default_nettype wire
