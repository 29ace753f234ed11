// Purpose: one AXI4-Lite access of 32 bits at a time.
// Latency: the access is offered in the clock after start_i; done_o follows the response by one clock.
// Throughput: one access at a time.
// Back-pressure: start_i only while busy_o is low; a response is taken at once.
// Notes: who started may stop listening: busy_o stays until the bus has answered. clr_i gives up
//        the access, which is safe only when the other side is reset as well.

`default_nettype none

module link_csr (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    input  wire logic        clr_i,
    input  wire logic        start_i,
    input  wire logic        write_i,
    input  wire logic [11:0] addr_i,
    input  wire logic [31:0] wdata_i,
    output logic             busy_o,
    output logic             done_o,
    output logic             err_o,
    output logic [31:0]      rdata_o,
    // AXI4-Lite
    output logic             awvalid_o,
    input  wire logic        awready_i,
    output logic [11:0]      awaddr_o,
    output logic             wvalid_o,
    input  wire logic        wready_i,
    output logic [31:0]      wdata_o,
    input  wire logic        bvalid_i,
    output logic             bready_o,
    input  wire logic [1:0]  bresp_i,
    output logic             arvalid_o,
    input  wire logic        arready_i,
    output logic [11:0]      araddr_o,
    input  wire logic        rvalid_i,
    output logic             rready_o,
    input  wire logic [31:0] rdata_i,
    input  wire logic [1:0]  rresp_i
);
  logic b_take, r_take;

  assign busy_o = bready_o || rready_o;
  assign b_take = bvalid_i && bready_o;
  assign r_take = rvalid_i && rready_o;

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    if (!rst_ni || clr_i) begin
      awvalid_o <= 1'b0;
      wvalid_o  <= 1'b0;
      arvalid_o <= 1'b0;
      bready_o  <= 1'b0;
      rready_o  <= 1'b0;
    end else if (start_i) begin
      awvalid_o <= write_i;
      wvalid_o  <= write_i;
      bready_o  <= write_i;
      arvalid_o <= !write_i;
      rready_o  <= !write_i;
    end else begin
      if (awready_i) awvalid_o <= 1'b0;
      if (wready_i) wvalid_o <= 1'b0;
      if (arready_i) arvalid_o <= 1'b0;
      if (b_take) bready_o <= 1'b0;
      if (r_take) rready_o <= 1'b0;
      done_o <= b_take || r_take;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      awaddr_o <= addr_i;
      araddr_o <= addr_i;
      wdata_o  <= wdata_i;
    end
    if (b_take) err_o <= bresp_i != '0;
    if (r_take) err_o <= rresp_i != '0;
    if (r_take) rdata_o <= rdata_i;
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && !clr_i && start_i && busy_o) $fatal(1, "link_csr: a start while busy");
  end
`endif
endmodule

`default_nettype wire
