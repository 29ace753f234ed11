// Purpose: merges the read channels of LD (ARID 0) and the instruction cache (ARID 1).
// Latency: one cycle on AR, none on R.
// Throughput: one address and one beat per cycle; the instruction cache goes first.
// Back-pressure: ready/valid; an address that is offered to the port is never withdrawn.
// Notes: not touched by the soft reset, because the port's transfers must be completed.

`default_nettype none

module axi_rd_arb #(
    parameter int unsigned AxiBits = 256
) (
    input  wire logic               clk_i,
    input  wire logic               rst_ni,
    // LD
    input  wire logic               ld_arvalid_i,
    output logic                    ld_arready_o,
    input  wire logic [39:0]        ld_araddr_i,
    input  wire logic [7:0]         ld_arlen_i,
    output logic                    ld_rvalid_o,
    input  wire logic               ld_rready_i,
    output logic [AxiBits-1:0]      ld_rdata_o,
    output logic [1:0]              ld_rresp_o,
    output logic                    ld_rlast_o,
    // Instruction cache
    input  wire logic               ic_arvalid_i,
    output logic                    ic_arready_o,
    input  wire logic [39:0]        ic_araddr_i,
    input  wire logic [7:0]         ic_arlen_i,
    output logic                    ic_rvalid_o,
    input  wire logic               ic_rready_i,
    output logic [AxiBits-1:0]      ic_rdata_o,
    output logic [1:0]              ic_rresp_o,
    output logic                    ic_rlast_o,
    // Port
    output logic                    m_arvalid_o,
    input  wire logic               m_arready_i,
    output logic [39:0]             m_araddr_o,
    output logic [7:0]              m_arlen_o,
    output logic                    m_arid_o,
    input  wire logic               m_rvalid_i,
    output logic                    m_rready_o,
    input  wire logic [AxiBits-1:0] m_rdata_i,
    input  wire logic [1:0]         m_rresp_i,
    input  wire logic               m_rlast_i,
    input  wire logic               m_rid_i
);
  logic arvalid_q, arid_q;
  logic [39:0] araddr_q;
  logic [7:0] arlen_q;
  logic open;

  assign open         = !arvalid_q || m_arready_i;
  assign ic_arready_o = open;
  assign ld_arready_o = open && !ic_arvalid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) arvalid_q <= 1'b0;
    else if (open) arvalid_q <= ic_arvalid_i || ld_arvalid_i;
  end

  always_ff @(posedge clk_i) begin
    if (open) begin
      arid_q   <= ic_arvalid_i;
      araddr_q <= ic_arvalid_i ? ic_araddr_i : ld_araddr_i;
      arlen_q  <= ic_arvalid_i ? ic_arlen_i : ld_arlen_i;
    end
  end

  assign m_arvalid_o = arvalid_q;
  assign m_araddr_o  = araddr_q;
  assign m_arlen_o   = arlen_q;
  assign m_arid_o    = arid_q;

  assign m_rready_o  = m_rid_i ? ic_rready_i : ld_rready_i;
  assign ld_rvalid_o = m_rvalid_i && !m_rid_i;
  assign ic_rvalid_o = m_rvalid_i && m_rid_i;
  assign ld_rdata_o  = m_rdata_i;
  assign ic_rdata_o  = m_rdata_i;
  assign ld_rresp_o  = m_rresp_i;
  assign ic_rresp_o  = m_rresp_i;
  assign ld_rlast_o  = m_rlast_i;
  assign ic_rlast_o  = m_rlast_i;
endmodule

`default_nettype wire
