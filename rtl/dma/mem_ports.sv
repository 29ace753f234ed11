// Purpose: the memory ports: one for all, or a first for LD and a second for the others.
// Latency: one cycle on AR, none on the other channels.
// Throughput: one beat per cycle, channel and port.
// Back-pressure: ready/valid; an address that is offered to a port is never withdrawn.
// Notes: with one port, the outputs of the second are constant zero. The first port may be several
//        channels side by side (ld_channels).

`default_nettype none

module mem_ports #(
    parameter int unsigned AxiBits  = 256,
    parameter int unsigned AxiPorts = 1,
    parameter int unsigned Channels = 1
) (
    input  wire logic                   clk_i,
    input  wire logic                   rst_ni,
    // LD
    input  wire logic                   ld_arvalid_i,
    output logic                        ld_arready_o,
    input  wire logic [39:0]            ld_araddr_i,
    input  wire logic [7:0]             ld_arlen_i,
    output logic                        ld_rvalid_o,
    input  wire logic                   ld_rready_i,
    output logic [Channels*AxiBits-1:0] ld_rdata_o,
    output logic                        ld_rlast_o,
    output logic [1:0]                  ld_rresp_o,
    // Instruction cache
    input  wire logic                   ic_arvalid_i,
    output logic                        ic_arready_o,
    input  wire logic [39:0]            ic_araddr_i,
    input  wire logic [7:0]             ic_arlen_i,
    output logic                        ic_rvalid_o,
    input  wire logic                   ic_rready_i,
    output logic [AxiBits-1:0]          ic_rdata_o,
    output logic                        ic_rlast_o,
    output logic [1:0]                  ic_rresp_o,
    // ST
    input  wire logic                   st_awvalid_i,
    output logic                        st_awready_o,
    input  wire logic [39:0]            st_awaddr_i,
    input  wire logic [7:0]             st_awlen_i,
    input  wire logic                   st_wvalid_i,
    output logic                        st_wready_o,
    input  wire logic [AxiBits-1:0]     st_wdata_i,
    input  wire logic [AxiBits/8-1:0]   st_wstrb_i,
    input  wire logic                   st_wlast_i,
    output logic                        st_bvalid_o,
    input  wire logic                   st_bready_i,
    output logic [1:0]                  st_bresp_o,
    // Ports. With one, the inputs of the second are not used; all writes have the same ID.
    /* verilator lint_off UNUSEDSIGNAL */
    output logic [Channels-1:0]         m0_arvalid_o,
    input  wire logic [Channels-1:0]    m0_arready_i,
    output logic [39:0]                 m0_araddr_o,
    output logic                        m0_arid_o,
    output logic [7:0]                  m0_arlen_o,
    output logic [2:0]                  m0_arsize_o,
    output logic [1:0]                  m0_arburst_o,
    input  wire logic [Channels-1:0]    m0_rvalid_i,
    output logic [Channels-1:0]         m0_rready_o,
    input  wire logic [Channels*AxiBits-1:0] m0_rdata_i,
    input  wire logic [Channels-1:0]    m0_rid_i,
    input  wire logic [Channels-1:0]    m0_rlast_i,
    input  wire logic [2*Channels-1:0]  m0_rresp_i,
    output logic                        m0_awvalid_o,
    input  wire logic                   m0_awready_i,
    output logic [39:0]                 m0_awaddr_o,
    output logic                        m0_awid_o,
    output logic [7:0]                  m0_awlen_o,
    output logic [2:0]                  m0_awsize_o,
    output logic [1:0]                  m0_awburst_o,
    output logic                        m0_wvalid_o,
    input  wire logic                   m0_wready_i,
    output logic [AxiBits-1:0]          m0_wdata_o,
    output logic [AxiBits/8-1:0]        m0_wstrb_o,
    output logic                        m0_wlast_o,
    input  wire logic                   m0_bvalid_i,
    output logic                        m0_bready_o,
    input  wire logic                   m0_bid_i,
    input  wire logic [1:0]             m0_bresp_i,
    output logic                        m1_arvalid_o,
    input  wire logic                   m1_arready_i,
    output logic [39:0]                 m1_araddr_o,
    output logic                        m1_arid_o,
    output logic [7:0]                  m1_arlen_o,
    output logic [2:0]                  m1_arsize_o,
    output logic [1:0]                  m1_arburst_o,
    input  wire logic                   m1_rvalid_i,
    output logic                        m1_rready_o,
    input  wire logic [AxiBits-1:0]     m1_rdata_i,
    input  wire logic                   m1_rid_i,
    input  wire logic                   m1_rlast_i,
    input  wire logic [1:0]             m1_rresp_i,
    output logic                        m1_awvalid_o,
    input  wire logic                   m1_awready_i,
    output logic [39:0]                 m1_awaddr_o,
    output logic                        m1_awid_o,
    output logic [7:0]                  m1_awlen_o,
    output logic [2:0]                  m1_awsize_o,
    output logic [1:0]                  m1_awburst_o,
    output logic                        m1_wvalid_o,
    input  wire logic                   m1_wready_i,
    output logic [AxiBits-1:0]          m1_wdata_o,
    output logic [AxiBits/8-1:0]        m1_wstrb_o,
    output logic                        m1_wlast_o,
    input  wire logic                   m1_bvalid_i,
    output logic                        m1_bready_o,
    input  wire logic                   m1_bid_i,
    input  wire logic [1:0]             m1_bresp_i,
    /* verilator lint_on UNUSEDSIGNAL */
    // Beats, for the counters.
    output logic                        read_beat_o,
    output logic                        write_beat_o,
    output logic [1:0]                  port_beat_o
);
  localparam logic [2:0] Size = 3'($clog2(AxiBits / 8));
  localparam logic [1:0] Incr = 2'b01;

  if (Channels > 1 && (AxiPorts != 2 || AxiBits != 512)) begin : gen_refused
    $error("Channels > 1 needs AxiPorts = 2 and AxiBits = 512");
  end

  assign m0_arsize_o  = Size;
  assign m0_arburst_o = Incr;

  if (AxiPorts == 1) begin : gen_one
    axi_rd_arb #(
        .AxiBits(AxiBits)
    ) u_rd_arb (
        .clk_i,
        .rst_ni,
        .ld_arvalid_i,
        .ld_arready_o,
        .ld_araddr_i,
        .ld_arlen_i,
        .ld_rvalid_o,
        .ld_rready_i,
        .ld_rdata_o,
        .ld_rlast_o,
        .ld_rresp_o,
        .ic_arvalid_i,
        .ic_arready_o,
        .ic_araddr_i,
        .ic_arlen_i,
        .ic_rvalid_o,
        .ic_rready_i,
        .ic_rdata_o,
        .ic_rlast_o,
        .ic_rresp_o,
        .m_arvalid_o (m0_arvalid_o),
        .m_arready_i (m0_arready_i),
        .m_araddr_o  (m0_araddr_o),
        .m_arid_o    (m0_arid_o),
        .m_arlen_o   (m0_arlen_o),
        .m_rvalid_i  (m0_rvalid_i),
        .m_rready_o  (m0_rready_o),
        .m_rdata_i   (m0_rdata_i),
        .m_rid_i     (m0_rid_i),
        .m_rlast_i   (m0_rlast_i),
        .m_rresp_i   (m0_rresp_i)
    );

    assign m0_awvalid_o = st_awvalid_i;
    assign st_awready_o = m0_awready_i;
    assign m0_awaddr_o  = st_awaddr_i;
    assign m0_awlen_o   = st_awlen_i;
    assign m0_wvalid_o  = st_wvalid_i;
    assign st_wready_o  = m0_wready_i;
    assign m0_wdata_o   = st_wdata_i;
    assign m0_wstrb_o   = st_wstrb_i;
    assign m0_wlast_o   = st_wlast_i;
    assign st_bvalid_o  = m0_bvalid_i;
    assign m0_bready_o  = st_bready_i;
    assign st_bresp_o   = m0_bresp_i;
    assign m0_awid_o    = 1'b0;
    assign m0_awsize_o  = Size;
    assign m0_awburst_o = Incr;

    assign m1_arvalid_o = '0;
    assign m1_araddr_o  = '0;
    assign m1_arid_o    = '0;
    assign m1_arlen_o   = '0;
    assign m1_arsize_o  = '0;
    assign m1_arburst_o = '0;
    assign m1_rready_o  = '0;
    assign m1_awvalid_o = '0;
    assign m1_awaddr_o  = '0;
    assign m1_awid_o    = '0;
    assign m1_awlen_o   = '0;
    assign m1_awsize_o  = '0;
    assign m1_awburst_o = '0;
    assign m1_wvalid_o  = '0;
    assign m1_wdata_o   = '0;
    assign m1_wstrb_o   = '0;
    assign m1_wlast_o   = '0;
    assign m1_bready_o  = '0;
  end else begin : gen_two
    // The same arbiter with one side idle registers the address and sets the ID.
    /* verilator lint_off UNUSEDSIGNAL */
    logic               ld_idle_arready, ld_idle_rvalid, ld_idle_rlast;
    logic [AxiBits-1:0] ld_idle_rdata;
    logic [1:0]         ld_idle_rresp;
    /* verilator lint_on UNUSEDSIGNAL */

    if (Channels == 1) begin : gen_channel
      /* verilator lint_off UNUSEDSIGNAL */
      logic               ic_idle_arready, ic_idle_rvalid, ic_idle_rlast;
      logic [AxiBits-1:0] ic_idle_rdata;
      logic [1:0]         ic_idle_rresp;
      /* verilator lint_on UNUSEDSIGNAL */

      axi_rd_arb #(
          .AxiBits(AxiBits)
      ) u_rd_port0 (
          .clk_i,
          .rst_ni,
          .ld_arvalid_i,
          .ld_arready_o,
          .ld_araddr_i,
          .ld_arlen_i,
          .ld_rvalid_o,
          .ld_rready_i,
          .ld_rdata_o,
          .ld_rlast_o,
          .ld_rresp_o,
          .ic_arvalid_i(1'b0),
          .ic_arready_o(ic_idle_arready),
          .ic_araddr_i ('0),
          .ic_arlen_i  ('0),
          .ic_rvalid_o (ic_idle_rvalid),
          .ic_rready_i (1'b1),
          .ic_rdata_o  (ic_idle_rdata),
          .ic_rlast_o  (ic_idle_rlast),
          .ic_rresp_o  (ic_idle_rresp),
          .m_arvalid_o (m0_arvalid_o),
          .m_arready_i (m0_arready_i),
          .m_araddr_o  (m0_araddr_o),
          .m_arid_o    (m0_arid_o),
          .m_arlen_o   (m0_arlen_o),
          .m_rvalid_i  (m0_rvalid_i),
          .m_rready_o  (m0_rready_o),
          .m_rdata_i   (m0_rdata_i),
          .m_rid_i     (m0_rid_i),
          .m_rlast_i   (m0_rlast_i),
          .m_rresp_i   (m0_rresp_i)
      );
    end else begin : gen_channels
      ld_channels #(
          .AxiBits(AxiBits),
          .Channels(Channels)
      ) u_channels (
          .clk_i,
          .rst_ni,
          .ld_arvalid_i,
          .ld_arready_o,
          .ld_araddr_i,
          .ld_arlen_i,
          .ld_rvalid_o,
          .ld_rready_i,
          .ld_rdata_o,
          .ld_rresp_o,
          .ld_rlast_o,
          .m_arvalid_o(m0_arvalid_o),
          .m_arready_i(m0_arready_i),
          .m_araddr_o (m0_araddr_o),
          .m_arlen_o  (m0_arlen_o),
          .m_rvalid_i (m0_rvalid_i),
          .m_rready_o (m0_rready_o),
          .m_rdata_i  (m0_rdata_i),
          .m_rresp_i  (m0_rresp_i),
          .m_rlast_i  (m0_rlast_i)
      );
      assign m0_arid_o = 1'b0;
    end

    axi_rd_arb #(
        .AxiBits(AxiBits)
    ) u_rd_port1 (
        .clk_i,
        .rst_ni,
        .ld_arvalid_i(1'b0),
        .ld_arready_o(ld_idle_arready),
        .ld_araddr_i ('0),
        .ld_arlen_i  ('0),
        .ld_rvalid_o (ld_idle_rvalid),
        .ld_rready_i (1'b1),
        .ld_rdata_o  (ld_idle_rdata),
        .ld_rlast_o  (ld_idle_rlast),
        .ld_rresp_o  (ld_idle_rresp),
        .ic_arvalid_i,
        .ic_arready_o,
        .ic_araddr_i,
        .ic_arlen_i,
        .ic_rvalid_o,
        .ic_rready_i,
        .ic_rdata_o,
        .ic_rlast_o,
        .ic_rresp_o,
        .m_arvalid_o (m1_arvalid_o),
        .m_arready_i (m1_arready_i),
        .m_araddr_o  (m1_araddr_o),
        .m_arid_o    (m1_arid_o),
        .m_arlen_o   (m1_arlen_o),
        .m_rvalid_i  (m1_rvalid_i),
        .m_rready_o  (m1_rready_o),
        .m_rdata_i   (m1_rdata_i),
        .m_rid_i     (m1_rid_i),
        .m_rlast_i   (m1_rlast_i),
        .m_rresp_i   (m1_rresp_i)
    );

    assign m1_arsize_o  = Size;
    assign m1_arburst_o = Incr;

    assign m0_awvalid_o = '0;
    assign m0_awaddr_o  = '0;
    assign m0_awid_o    = '0;
    assign m0_awlen_o   = '0;
    assign m0_awsize_o  = '0;
    assign m0_awburst_o = '0;
    assign m0_wvalid_o  = '0;
    assign m0_wdata_o   = '0;
    assign m0_wstrb_o   = '0;
    assign m0_wlast_o   = '0;
    assign m0_bready_o  = '0;

    assign m1_awvalid_o = st_awvalid_i;
    assign st_awready_o = m1_awready_i;
    assign m1_awaddr_o  = st_awaddr_i;
    assign m1_awlen_o   = st_awlen_i;
    assign m1_wvalid_o  = st_wvalid_i;
    assign st_wready_o  = m1_wready_i;
    assign m1_wdata_o   = st_wdata_i;
    assign m1_wstrb_o   = st_wstrb_i;
    assign m1_wlast_o   = st_wlast_i;
    assign st_bvalid_o  = m1_bvalid_i;
    assign m1_bready_o  = st_bready_i;
    assign st_bresp_o   = m1_bresp_i;
    assign m1_awid_o    = 1'b0;
    assign m1_awsize_o  = Size;
    assign m1_awburst_o = Incr;
  end

  // ---- Beats -------------------------------------------------------------------------------
  logic write0, write1, read1;
  if (Channels == 1) begin : gen_read_beat
    assign read_beat_o = m0_rvalid_i && m0_rready_o;
  end else begin : gen_read_beats
    assign read_beat_o = ld_rvalid_o && ld_rready_i;
  end
  assign read1        = m1_rvalid_i && m1_rready_o;
  assign write0       = m0_wvalid_o && m0_wready_i;
  assign write1       = m1_wvalid_o && m1_wready_i;
  assign write_beat_o = write0 || write1;
  assign port_beat_o  = {read1 || write1, read_beat_o || write0};
endmodule

`default_nettype wire
